//! By how much does something rise? A straight line through the readings, by least squares.

/// What the line gains from the first reading to the last; nothing with fewer than two.
pub(super) fn rise(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return 0.0 };
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    if spread > 0.0 { together / spread * (last - first) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_by_what_it_rises_and_noise_does_not() {
        for (points, expected) in [
            (&[][..], 0.0),
            (&[(1.0, 5.0)][..], 0.0),
            (&[(0.0, 1.0), (10.0, 21.0)][..], 20.0),
            (&[(0.0, 5.0), (1.0, 9.0), (2.0, 5.0)][..], 0.0),
            (&[(0.0, 8.0), (1.0, 6.0), (2.0, 4.0)][..], -4.0),
        ] {
            assert!((rise(points) - expected).abs() < 1e-9, "{points:?}: {}", rise(points));
        }
    }
}
