//! Whom a change touches: whoever is decided differently afterwards, and of the innocent as few as can be told.

use proptest::prelude::*;

use super::*;
use crate::decide::Asking;
use crate::snapshot::{LiveManifest, PolicyBounds};
use crate::testing::{Draft, destination, device, revocation};

const NOW: i64 = 1000;

fn snapshot(revision: u64, manifests: Vec<LiveManifest>, revoked: &[Target]) -> Snapshot {
    Snapshot::build(revision, PolicyBounds::default(), manifests, revoked.iter().cloned().map(revocation))
}

/// The next snapshot of the same lineage.
fn next(from: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut next = from.clone();
    next.revision += 1;
    change(&mut next);
    next
}

fn revoke(snapshot: &mut Snapshot, target: &Target) {
    assert!(snapshot.revocations.insert(Arc::new(revocation(target.clone()))));
}

#[test]
fn each_revocation_touches_its_own_kind() {
    let before = snapshot(1, vec![Draft::default().live(NOW)], &[]);
    let fingerprint = CertificateTarget::Fingerprint([1; 32]);
    let none = Subjects::default();
    for (target, expected) in [
        (Target::Device(device("d")), Subjects { devices: vec![device("d")], ..none.clone() }),
        (Target::User("u".parse().unwrap()), Subjects { users: vec!["u".parse().unwrap()], ..none.clone() }),
        (
            Target::Agent("a".parse().unwrap()),
            Subjects { agents: vec!["a".parse().unwrap()], ..none.clone() },
        ),
        (
            Target::Manifest("m".parse().unwrap()),
            Subjects { manifests: vec!["m".parse().unwrap()], ..none.clone() },
        ),
        (
            Target::Certificate(fingerprint.clone()),
            Subjects { certificates: vec![fingerprint], ..none.clone() },
        ),
    ] {
        let after = next(&before, |next| revoke(next, &target));
        let expected = Change { revision: 2, touched: Touched::Some(expected) };
        assert_eq!(Change::between(&before, &after), expected);
        assert_eq!(Change::between(&after, &before).touched, expected.touched, "lifting touches the same");
    }
    let all = next(&before, |next| revoke(next, &Target::All));
    assert_eq!(Change::between(&before, &all).touched, Touched::All);
    let nothing = next(&before, |_| ());
    assert_eq!(Change::between(&before, &nothing).touched, Touched::Some(none));
}

#[test]
fn other_bounds_touch_everybody() {
    let before = snapshot(1, vec![], &[]);
    let after = next(&before, |next| next.bounds = Arc::new(PolicyBounds::default()));
    assert_eq!(Change::between(&before, &after).touched, Touched::All);
}

#[test]
fn a_superseded_manifest_is_touched_as_well_as_the_one_that_supersedes_it() {
    let before = snapshot(1, vec![Draft::default().live(NOW)], &[]);
    let after = snapshot(2, vec![Draft { id: "cm-2", ..Draft::default() }.live(NOW + 1)], &[]);
    for (old, new) in [(&before, &after), (&after, &before)] {
        // Snapshots that were built apart have bounds of their own; what is asked here is about the manifests.
        let new = Snapshot { bounds: old.bounds.clone(), ..new.clone() };
        let Touched::Some(mut subjects) = Change::between(old, &new).touched else { panic!("not everybody") };
        subjects.manifests.sort();
        assert_eq!(subjects.manifests, ["cm-1".parse().unwrap(), "cm-2".parse().unwrap()]);
    }
}

/// Few names, so that manifests, revocations and sessions meet often.
fn a_name(kind: &'static str) -> impl Strategy<Value = String> {
    (1..3_u8).prop_map(move |number| format!("{kind}-{number}"))
}

fn a_manifest() -> impl Strategy<Value = LiveManifest> {
    let hosts = prop::sample::subsequence(vec!["a.example.com", "b.example.com", "c.example.com"], 0..=3);
    (a_name("cm"), a_name("agent"), a_name("user"), a_name("device"), hosts, 0..3_i64).prop_map(
        |(id, agent, user, device, hosts, issued)| {
            let allow: Vec<_> = hosts.iter().map(|host| format!("{host:?}")).collect();
            let allow = allow.join(",");
            let draft = Draft {
                id: &id,
                agent: &agent,
                user: &user,
                device: &device,
                allow: &allow,
                ..Draft::default()
            };
            draft.live(NOW + issued)
        },
    )
}

fn a_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        a_name("cm").prop_map(|id| Target::Manifest(id.parse().unwrap())),
        a_name("agent").prop_map(|name| Target::Agent(name.parse().unwrap())),
        a_name("user").prop_map(|name| Target::User(name.parse().unwrap())),
        a_name("device").prop_map(|id| Target::Device(id.parse().unwrap())),
        (0..2_u8).prop_map(|number| Target::Certificate(CertificateTarget::Fingerprint([number; 32]))),
    ]
}

fn a_policy() -> impl Strategy<Value = (Vec<LiveManifest>, Vec<Target>)> {
    (prop::collection::vec(a_manifest(), 0..5), prop::collection::vec(a_target(), 0..3))
}

proptest! {
    #[test]
    fn whoever_loses_authority_is_touched(
        (manifests, revoked) in a_policy(),
        (later, then_revoked) in a_policy(),
        device in a_name("device"),
        agent in a_name("agent"),
        host in prop::sample::select(vec!["a.example.com", "b.example.com", "c.example.com"]),
        number in 0..2_u8,
    ) {
        let old = snapshot(1, manifests, &revoked);
        let new = Snapshot { bounds: old.bounds.clone(), ..snapshot(2, later, &then_revoked) };
        let certificates =
            [certs::CertificateId { fingerprint: [number; 32], issuer: [1].into(), serial: [number].into() }];
        let (device, agent) = (device.parse().unwrap(), agent.parse().unwrap());
        let destination = destination(&format!("{host}:443"));
        let asking = Asking {
            device: &device,
            certificate_agent: None,
            requested_agent: Some(&agent),
            certificates: &certificates,
            destination: &destination,
            now: NOW + 5,
        };
        // A live session: it was let through once.
        let Ok(grant) = old.decide(&asking) else { return Ok(()) };
        let touched = match Change::between(&old, &new).touched {
            Touched::All => true,
            Touched::Some(subjects) => {
                let named = &grant.manifest.manifest;
                subjects.devices.contains(&device)
                    || subjects.manifests.contains(&named.id)
                    || subjects.users.contains(&named.user)
                    || subjects.agents.contains(&named.agent)
                    || subjects.certificates.contains(&CertificateTarget::Fingerprint([number; 32]))
            }
        };
        let still = new.decide(&asking);
        prop_assert!(still.is_ok() || touched, "{:?}", still.map(|_| ()).map_err(|denial| denial.reason));
    }

    #[test]
    fn narrowing_cuts_and_never_widens(
        hosts in prop::sample::subsequence(vec!["a.example.com", "b.example.com", "*.example.com", "c.test"], 0..=4),
        kept in prop::sample::subsequence(vec![0_usize, 1, 2, 3], 0..=4),
        deny in prop::sample::subsequence(vec!["a.example.com", "*", "*.b.example.com"], 0..=3),
        asked in prop::sample::select(vec!["a.example.com", "b.example.com", "x.b.example.com", "c.test", "d.test"]),
    ) {
        let list = |hosts: &[&str]| hosts.iter().map(|host| format!("{host:?}")).collect::<Vec<_>>().join(",");
        let narrowed: Vec<_> =
            hosts.iter().enumerate().filter(|(index, _)| kept.contains(index)).map(|(_, host)| *host).collect();
        let (wide, narrow, deny) = (list(&hosts), list(&narrowed), list(&deny));
        let decide = |allow: &str, deny: &str| {
            let manifest = Draft { allow, deny, ..Draft::default() }.live(NOW);
            let snapshot = snapshot(1, vec![manifest], &[]);
            let (device, destination) = (device("device-1"), destination(&format!("{asked}:443")));
            let asking = Asking {
                device: &device,
                certificate_agent: None,
                requested_agent: None,
                certificates: &[],
                destination: &destination,
                now: NOW,
            };
            snapshot.decide(&asking).is_ok()
        };
        // Fewer entries in `allow`, or more in `deny`, never allow more.
        prop_assert!(decide(&wide, &deny) || !decide(&narrow, &deny));
        prop_assert!(decide(&wide, "") || !decide(&wide, &deny));
    }
}
