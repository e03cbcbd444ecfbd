//! Did you mean: the known word closest to one that is not known.

/// The closest of `known`, if it is close enough to be what was meant.
pub(super) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word: Vec<char> = word.chars().take(LONGEST).map(fold).collect();
    let near_enough = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(&word, &known.chars().map(fold).collect::<Vec<_>>()), known))
        .filter(|(distance, _)| *distance <= near_enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// No field name is this long; longer words are compared by their beginning.
const LONGEST: usize = 64;

fn fold(letter: char) -> char {
    if letter == '-' { '_' } else { letter.to_ascii_lowercase() }
}

/// How many letters must be changed, added, left out or swapped with their neighbour (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&row, column) + usize::from(letter != other);
            best = best.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let swapped = line > 0
                && column > 0
                && from.get(line - 1) == Some(other)
                && to.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(at(&above, column - 1) + 1);
            }
            next.push(best);
        }
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_known_word_is_suggested_if_it_is_close() {
        let known = ["upload_bytes", "upload_bytes_per_session", "sessions", "mode", "tls"];
        for (word, meant) in [
            ("upload_byte", Some("upload_bytes")),
            ("Upload-Bytes", Some("upload_bytes")),
            ("upload_bytes_per_sesion", Some("upload_bytes_per_session")),
            ("sessoins", Some("sessions")),
            ("mdoe", Some("mode")),
            ("tsl", Some("tls")),
            ("__proto__", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), meant, "{word}");
        }
    }
}
