//! The directory source against real directories: what takes effect, what is refused, and what survives a restart.

mod effect;
mod oddities;
mod order;
mod outages;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use audit::{MemoryLog, RecorderOptions, Sink};
use config::{ManifestDraft, Reason, Source};
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::change::Change;
use crate::decide::Asking;
use crate::envelope::Envelope;
use crate::feed::{Enforcer, Receipt};
use crate::keys::{KeyId, Role, SigningKey, TrustedKey};
use crate::signed::{sign_lift, sign_manifest, sign_revocation};
use crate::snapshot::Snapshot;
use crate::target::Target;

const BOUND: Duration = Duration::from_secs(10);
/// So long that what a test waits for can only have been reported by the system.
const NEVER: Duration = Duration::from_secs(3600);

/// Wakes the test whenever a snapshot is published.
#[derive(Default)]
struct Signal {
    revision: Mutex<u64>,
    published: Condvar,
}

impl Enforcer for Signal {
    fn enforce(&self, snapshot: &Arc<Snapshot>, _: &Change) -> Receipt {
        *self.revision.lock().unwrap() = snapshot.revision;
        self.published.notify_all();
        Receipt { sessions_cut: 3, upload_bytes: 81_234, latency: Duration::ZERO }
    }
}

struct Place {
    directory: TempDir,
    author: SigningKey,
    approver: SigningKey,
    revoker: SigningKey,
    now: i64,
}

struct Running {
    feed: Arc<Feed>,
    log: MemoryLog,
    signal: Arc<Signal>,
    crls: Arc<Mutex<Vec<Vec<Document>>>>,
    source: DirSource,
}

fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            author: key("author"),
            approver: key("approver"),
            revoker: key("revoker"),
            now: Timestamp::now().as_second(),
        };
        for kind in ["manifests", "revocations", "crls"] {
            fs::create_dir_all(place.policy().join(kind)).unwrap();
        }
        place
    }

    fn policy(&self) -> PathBuf {
        self.directory.path().join("policy")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn ring(&self) -> KeyRing {
        let mut ring = KeyRing::default();
        for (key, role) in
            [(&self.author, Role::Author), (&self.approver, Role::Approver), (&self.revoker, Role::Revoker)]
        {
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
        }
        ring
    }

    fn manifest(&self, id: &str, agent: &str, host: &str, later: i64) -> Envelope {
        sign_manifest(draft(id, agent, host), self.now - 100 + later, &self.author)
    }

    fn put(&self, envelope: &Envelope) -> PathBuf {
        write_manifest(&self.policy(), envelope).unwrap()
    }

    fn revoke(&self, target: Target) -> PathBuf {
        let (envelope, _) = sign_revocation(target, "test", Timestamp::now(), &self.revoker).unwrap();
        write_revocation(&self.policy(), &envelope).unwrap()
    }

    fn start(&self, rescan: Duration) -> Running {
        self.start_on(&self.policy(), rescan)
    }

    fn start_on(&self, directory: &Path, rescan: Duration) -> Running {
        let registry = Registry::new();
        let log = MemoryLog::new();
        let recorder =
            Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &registry).unwrap();
        let feed = Arc::new(Feed::new(PolicyBounds::default()));
        let signal = Arc::new(Signal::default());
        feed.subscribe(signal.clone());
        let crls: Arc<Mutex<Vec<Vec<Document>>>> = Arc::default();
        let sink = crls.clone();
        let options = DirOptions {
            rescan,
            ..DirOptions::new(directory, self.state(), self.ring(), PolicyBounds::default())
        };
        let source = DirSource::start(
            options,
            feed.clone(),
            recorder,
            &registry,
            Box::new(move |documents| sink.lock().unwrap().push(documents)),
        );
        Running { feed, log, signal, crls, source: source.unwrap() }
    }
}

fn draft(id: &str, agent: &str, host: &str) -> ManifestDraft {
    let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
    let text = format!(
        r#"{{{id}"agent":"{agent}","identity":{{"user":"alice@example.com","device":"device-1"}},
        "capabilities":{{"network":{{"allow":["{host}"]}}}},"ttl_seconds":3600}}"#
    );
    ManifestDraft::read(&Source::new("m.json", text)).unwrap()
}

impl Running {
    /// What is answered to the agent `a` on `device-1`.
    fn ask(&self, host: &str) -> Result<String, Reason> {
        ask(&self.feed.current(), host)
    }

    /// Waits until the policy satisfies `done`.
    fn until(&self, what: &str, done: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + BOUND;
        let mut revision = self.signal.revision.lock().unwrap();
        while !done(&self.feed.current()) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not come: {what}; events: {:#?}", self.log.events());
            revision =
                self.signal.published.wait_timeout(revision, left.min(Duration::from_millis(50))).unwrap().0;
        }
    }

    fn until_answer(&self, host: &str, expected: &Result<&str, Reason>) {
        let expected = expected.map(str::to_owned);
        self.until(&format!("{host} is answered {expected:?}"), |snapshot| ask(snapshot, host) == expected);
    }

    fn until_event(&self, event_type: &str, detail: &str) {
        let found = self.log.wait_until(BOUND, |events| {
            events.iter().any(|event| {
                event["event_type"] == event_type && event["detail"].as_str().unwrap_or("").contains(detail)
            })
        });
        assert!(found, "no {event_type} with {detail:?}: {:#?}", self.log.events());
    }

    fn count(&self, event_type: &str) -> usize {
        self.log.events().iter().filter(|event| event["event_type"] == event_type).count()
    }
}

fn ask(snapshot: &Snapshot, host: &str) -> Result<String, Reason> {
    let destination = config::Destination::parse_authority(format!("{host}:443").as_bytes()).unwrap();
    let device = "device-1".parse().unwrap();
    let agent = "a".parse().unwrap();
    let asking = Asking {
        device: &device,
        certificate_agent: None,
        requested_agent: Some(&agent),
        certificates: &[],
        destination: &destination,
        now: Timestamp::now().as_second(),
    };
    let decision = snapshot.decide(&asking);
    decision.map(|grant| grant.manifest.manifest.id.to_string()).map_err(|denial| denial.reason)
}

fn device() -> Target {
    Target::Device("device-1".parse().unwrap())
}

const A: &str = "a.example.com";
const B: &str = "b.example.com";
