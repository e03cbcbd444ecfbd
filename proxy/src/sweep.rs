//! Whose time is up? The one clockwork for everything that ends a live session by the passing of time.
//!
//! Four times a second it looks at every session: manifest or certificate expired, nothing moved for too long, too old.
//! Tunnels therefore hold no timers, and an expiry takes effect within a second. It also ends sessions when the policy
//! feed has been silent for longer than `policy.cut_after`, and lets long sessions report.
//!
//! Revocations never wait for a sweep: they are pushed ([`crate::revoke`]).

use std::time::{Duration, Instant};

use audit::{Event, EventType};
use config::settings::Deadlines;
use config::{GatewaySettings, Reason};

use crate::gateway::Gateway;
use crate::record::describe;
use crate::registry::{Kind, Session, Stage};

/// How often sessions are looked at.
pub const EVERY: Duration = Duration::from_millis(250);

/// What one sweep remembers for the next.
#[derive(Debug, Default)]
pub struct Sweep {
    stale: bool,
}

/// When a sweep looks, and by what it judges.
struct Look<'a> {
    deadlines: &'a Deadlines,
    at: Instant,
    /// Unix seconds.
    now: i64,
    /// The policy feed has been silent for longer than sessions may outlive it.
    feed_lost: bool,
}

impl Sweep {
    /// Looks once at everything.
    ///
    /// Nearly every session is left alone nearly every time, so the first look is at what lies in the session itself:
    /// no lock, no count of references, one clock reading for all.
    pub fn run(&mut self, gateway: &Gateway) {
        let settings = gateway.settings.load_full();
        self.watch_feed(gateway, &settings);
        let look = Look {
            deadlines: &settings.deadlines,
            at: Instant::now(),
            now: gateway.clock.now(),
            feed_lost: gateway.policy_age() > settings.policy.cut_after,
        };
        let overdue = gateway.registry.those(|session| look.may_be_overdue(session));
        gateway.registry.trip(&overdue, |session| look.overdue(session));
        for session in gateway.registry.those(|session| look.is_to_be_told_of(session)) {
            session.tell(look.at);
            report(gateway, &session);
        }
        gateway.metrics.ready.set(i64::from(gateway.unavailable().is_none()));
    }

    fn watch_feed(&mut self, gateway: &Gateway, settings: &GatewaySettings) {
        // A feed that was never heard of is older than anything, and has no age to tell.
        let heard = gateway.feed.age();
        let age = heard.unwrap_or(Duration::MAX);
        gateway.metrics.policy_age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let stale = age > settings.policy.max_staleness;
        if stale != self.stale {
            self.stale = stale;
            let event_type = if stale { EventType::PolicyStale } else { EventType::PolicyFresh };
            tracing::warn!(stale, age_seconds = heard.map(|age| age.as_secs()), "policy feed");
            let event = Event::new(event_type);
            gateway.recorder.record(match heard {
                Some(age) => event.duration(age),
                None => event,
            });
        }
    }
}

fn report(gateway: &Gateway, session: &Session) {
    gateway.fold_bytes(session);
    let event = describe(Event::new(EventType::SessionProgress), session);
    gateway.recorder.record(event.bytes(session.uploaded(), session.downloaded()).duration(session.age()));
}

/// Whether bytes may be moving: earlier stages have deadlines of their own. A first flight does too where TLS is demanded;
/// where it is optional the destination may be speaking meanwhile, for as long as it does.
fn carries(stage: Stage) -> bool {
    matches!(stage, Stage::Inspecting | Stage::Open)
}

impl Look<'_> {
    /// Whether [`Self::overdue`] may have something to say. Says so in every case in which it has.
    fn may_be_overdue(&self, session: &Session) -> bool {
        let carries = session.kind != Kind::Connection;
        self.feed_lost
            || session.ends_at() <= self.now
            || (carries && session.age_at(self.at) > self.deadlines.session)
            || (carries && session.idle_at(self.at) > self.deadlines.idle)
    }

    /// Why a session's time is up, if it is.
    fn overdue(&self, session: &Session) -> Option<Reason> {
        let manifest_ends = session.authority().map(|authority| authority.manifest.expires_at);
        if session.device.not_after < self.now {
            Some(Reason::CertificateExpired)
        } else if manifest_ends.is_some_and(|ends| ends <= self.now) {
            Some(Reason::ManifestExpired)
        } else if self.feed_lost {
            Some(Reason::PolicyStale)
        } else if session.kind == Kind::Connection {
            None
        } else if session.age_at(self.at) > self.deadlines.session {
            Some(Reason::SessionLifetime)
        } else if carries(session.stage()) && session.idle_at(self.at) > self.deadlines.idle {
            Some(Reason::IdleTimeout)
        } else {
            None
        }
    }

    fn is_to_be_told_of(&self, session: &Session) -> bool {
        session.kind != Kind::Connection && session.untold_at(self.at) >= self.deadlines.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::{gateway, session};

    /// The two bounds as the settings default to them.
    const MAX_STALENESS: Duration = Duration::from_secs(60);
    const CUT_AFTER: Duration = Duration::from_secs(15 * 60);

    #[test]
    fn over_a_day_without_a_control_plane_each_tier_begins_at_its_bound_and_ends_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = gateway(directory.path());
        let (mut sweep, tunnel) = (Sweep::default(), session(&gateway, "device-1"));
        let second = Duration::from_secs(1);
        let day = Duration::from_secs(24 * 60 * 60);
        for (age, opens, lives) in [
            (Duration::ZERO, true, true),
            (MAX_STALENESS - second, true, true),
            (MAX_STALENESS + second, false, true),
            (CUT_AFTER - second, false, true),
            (CUT_AFTER + second, false, false),
            (day, false, false),
        ] {
            gateway.feed.set_age(age);
            sweep.run(&gateway);
            assert_eq!(gateway.unavailable(), (!opens).then_some(Reason::PolicyStale), "{age:?}");
            assert_eq!(tunnel.session().cut(), (!lives).then_some(Reason::PolicyStale), "{age:?}");
        }
        // The control plane is heard again: nobody has to do anything.
        gateway.feed.set_age(Duration::ZERO);
        let next = session(&gateway, "device-1");
        sweep.run(&gateway);
        assert_eq!((gateway.unavailable(), next.session().cut()), (None, None));
        assert_eq!(tunnel.session().cut(), Some(Reason::PolicyStale), "what was cut stays cut");
    }

    #[test]
    fn a_feed_that_was_never_heard_of_is_stale_without_an_age() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = gateway(directory.path());
        let told = || {
            gateway.recorder.flush(Duration::from_secs(10)).unwrap();
            let lines = std::fs::read_to_string(directory.path().join("events.jsonl")).unwrap();
            let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
            (last["event_type"].as_str().unwrap().to_owned(), last["duration_ms"].clone())
        };
        let mut sweep = Sweep::default();
        sweep.run(&gateway);
        assert_eq!(told(), ("system.policy_stale".to_owned(), serde_json::Value::Null));
        gateway.feed.stamp_fresh();
        sweep.run(&gateway);
        assert_eq!(told().0, "system.policy_fresh");
        gateway.feed.set_age(MAX_STALENESS * 2);
        sweep.run(&gateway);
        let (event, age) = told();
        assert_eq!(event, "system.policy_stale");
        assert!(age.as_f64().unwrap() >= 120_000.0, "{age}");
    }

    #[test]
    fn a_day_of_outage_minute_by_minute_never_lets_anybody_in_between() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = gateway(directory.path());
        let mut sweep = Sweep::default();
        for minute in 2..24 * 60 {
            gateway.feed.set_age(Duration::from_secs(minute * 60));
            let late = session(&gateway, "device-1");
            sweep.run(&gateway);
            assert_eq!(gateway.unavailable(), Some(Reason::PolicyStale), "minute {minute}");
            assert_eq!(late.session().cut().is_some(), minute >= 15, "minute {minute}");
        }
    }
}
