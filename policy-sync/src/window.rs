//! Which window of time a manifest's upload budget is counted in. A gateway and a control plane decide it by the same code.
//!
//! A budget belongs to a device and an agent for one window of time. A window opens with a manifest, at its `issued_at`
//! or where the window before it ended, and ends with that manifest's expiry. Whatever manifest comes meanwhile, the
//! same one pushed again, a renamed one, a superseding one, spends from the open window.
//!
//! Pure: times come in as numbers (Unix seconds), see [`Clock`] for where they come from.

mod clock;

pub use clock::Clock;

/// When budgets are counted from and until: Unix seconds, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When the window opened.
    pub opened_at: i64,
    /// When it ends, and the next may open with a full budget.
    pub ends_at: i64,
}

/// What is known of the time, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What both the wall clock and the steady clock have reached.
    pub proven: i64,
    /// The latest time that a signed manifest proves to have come, on whatever machine it was signed.
    pub witnessed: i64,
}

/// Where a manifest's uploads are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the window that is open.
    Inside,
    /// In a window that it opens.
    Opens(Window),
    /// Nowhere: its own time is over, whatever the clock now says.
    Over,
}

/// Decides where the manifest issued and expiring at these times spends from, `open` being the latest window of its
/// device and agent, if any is remembered.
#[must_use]
pub fn standing(open: Option<Window>, issued_at: i64, expires_at: i64, moment: Moment) -> Standing {
    let reached = moment.proven.max(moment.witnessed);
    let begins = match open {
        // A manifest signed after the end is not inside, however slow this machine's clock.
        Some(window) if reached < window.ends_at && issued_at < window.ends_at => return Standing::Inside,
        Some(window) => issued_at.max(window.ends_at),
        None => issued_at,
    };
    // A window must end later than the one before it: a clock set back reopens nothing.
    if expires_at <= begins || expires_at <= reached {
        return Standing::Over;
    }
    Standing::Opens(Window { opened_at: begins, ends_at: expires_at })
}

#[cfg(test)]
mod tests {
    use super::{Moment, Standing, Window, standing};

    const HOUR: i64 = 3600;
    const FIRST: Window = Window { opened_at: 0, ends_at: HOUR };

    fn at(now: i64) -> Moment {
        Moment { proven: now, witnessed: 0 }
    }

    fn opens(opened_at: i64, ends_at: i64) -> Standing {
        Standing::Opens(Window { opened_at, ends_at })
    }

    #[test]
    fn a_manifest_spends_from_the_window_it_finds_or_opens() {
        for (what, open, issued_at, expires_at, moment, expected) in [
            ("the first manifest", None, 0, HOUR, at(10), opens(0, HOUR)),
            ("the same one again", Some(FIRST), 0, HOUR, at(10), Standing::Inside),
            ("a superseding one", Some(FIRST), 1800, 5400, at(1801), Standing::Inside),
            ("a superseding one, just before the end", Some(FIRST), 1800, 5400, at(3599), Standing::Inside),
            ("a superseding one, at the end", Some(FIRST), 1800, 5400, at(3600), opens(HOUR, 5400)),
            ("one that was issued after the end", Some(FIRST), 4000, 7600, at(4001), opens(4000, 7600)),
            ("an expired one", Some(FIRST), 0, HOUR, at(3600), Standing::Over),
            ("an expired one nobody remembers", None, 0, HOUR, at(3600), Standing::Over),
            ("one with no time at all", None, HOUR, HOUR, at(10), Standing::Over),
        ] {
            assert_eq!(standing(open, issued_at, expires_at, moment), expected, "{what}");
        }
    }

    #[test]
    fn a_clock_set_back_reopens_no_window() {
        let second = Window { opened_at: HOUR, ends_at: 2 * HOUR };
        assert_eq!(standing(Some(second), 0, HOUR, at(10)), Standing::Inside);
        let forgotten = Moment { proven: 10, witnessed: HOUR };
        assert_eq!(standing(None, 0, HOUR, forgotten), Standing::Over);
    }

    #[test]
    fn a_slow_clock_does_not_keep_a_later_manifest_in_an_ended_window() {
        assert_eq!(standing(Some(FIRST), HOUR, 2 * HOUR, at(10)), opens(HOUR, 2 * HOUR));
    }
}
