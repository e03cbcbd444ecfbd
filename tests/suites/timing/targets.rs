//! Whom a revocation means: exactly those it names.

use lab::pki::DAY;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab, Tunnel};
use policy_sync::{CertificateTarget, Target};

/// Three devices: two of alice, two with the same agent.
async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = |device: &str, user: &str, agent: &str| {
        Draft::of(device).user(user).agent(agent).raw(&origin.destination())
    };
    let lab = Lab::builder()
        .manifest(draft("device-1", "alice", "writer"))
        .manifest(draft("device-2", "alice", "reader"))
        .manifest(draft("device-3", "bob", "writer"))
        .start()
        .await;
    (origin, lab)
}

#[tokio::test]
async fn a_revocation_cuts_those_it_names_and_nobody_else() {
    let (_, probe) = setup().await;
    let fingerprint = probe.pki.device("x").fingerprint;
    drop(probe);
    let rows: [(Target, &str, &[usize]); 5] = [
        (Target::Manifest("cm-device-1".parse().expect("an id")), "manifest_revoked", &[0]),
        (Target::Device("device-2".parse().expect("an id")), "device_revoked", &[1]),
        (Target::User("alice".parse().expect("a user")), "user_revoked", &[0, 1]),
        (Target::Agent("writer".parse().expect("an agent")), "agent_revoked", &[0, 2]),
        (Target::All, "all_revoked", &[0, 1, 2]),
    ];
    for (target, reason, meant) in rows {
        let (origin, mut lab) = setup().await;
        let devices: Vec<_> = ["device-1", "device-2", "device-3"].map(|device| lab.device(device)).into();
        let mut tunnels: Vec<Tunnel> = Vec::new();
        for device in &devices {
            let mut tunnel = device.tunnel(&origin.destination()).await;
            tunnel.echoes(b"before").await;
            tunnels.push(tunnel);
        }
        lab.revoke(target.clone()).await;
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            if meant.contains(&number) {
                assert_eq!(tunnel.rest().await.1, End::Broken, "{target:?} means device {number}");
                let outcome = devices[number].connect(&origin.destination()).await;
                assert!(!matches!(outcome, Ok(Ok(_))), "{target:?} shuts device {number} out");
            } else {
                tunnel.echoes(b"after").await;
                devices[number].tunnel(&origin.destination()).await.echoes(b"and anew").await;
            }
        }
        eventually(PATIENCE, "the endings name the reason", async || {
            (lab.events().endings(reason).len() == meant.len()).then_some(())
        })
        .await;
        lab.crash_and_restart().await;
        for (number, device) in devices.iter().enumerate() {
            let outcome = lab.again(device).connect(&origin.destination()).await;
            assert_eq!(matches!(outcome, Ok(Ok(_))), !meant.contains(&number), "{target:?} after a restart");
        }
    }
    assert_eq!(fingerprint.len(), 32);
}

#[tokio::test]
async fn a_certificate_can_be_named_by_its_fingerprint() {
    let (origin, lab) = setup().await;
    let (old, new) = (lab.device("device-1"), lab.device("device-1"));
    let mut cut = old.tunnel(&origin.destination()).await;
    let mut kept = new.tunnel(&origin.destination()).await;
    let fingerprint = old.credentials.as_ref().expect("credentials").fingerprint;
    lab.revoke(Target::Certificate(CertificateTarget::Fingerprint(fingerprint))).await;
    assert_eq!(cut.rest().await.1, End::Broken);
    kept.echoes(b"the same device, another certificate").await;
    assert!(!matches!(old.connect(&origin.destination()).await, Ok(Ok(_))));
}

#[tokio::test]
async fn one_agent_of_a_device_is_cut_while_the_other_goes_on_over_the_same_connection() {
    let (one, two) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").id("cm-one").agent("one").raw(&one.destination()))
        .manifest(Draft::of("device-1").id("cm-two").agent("two").raw(&two.destination()))
        .start()
        .await;
    let mut connection = lab.device("device-1").http2().await;
    let named = |user: &str| {
        use base64::Engine;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:")))
    };
    let (as_one, as_two) = (named("one"), named("two"));
    let fields_one = [("proxy-authorization", as_one.as_str())];
    let fields_two = [("proxy-authorization", as_two.as_str())];
    let mut first =
        connection.connect_with(&one.destination(), &fields_one).await.expect("an answer").expect("ok");
    let mut second =
        connection.connect_with(&two.destination(), &fields_two).await.expect("an answer").expect("ok");
    first.echoes(b"one").await;
    second.echoes(b"two").await;
    lab.revoke(Target::Manifest("cm-one".parse().expect("an id"))).await;
    assert_eq!(first.rest().await.1, End::Broken);
    second.echoes(b"goes on").await;
    let refused = connection.connect_with(&one.destination(), &fields_one).await.expect("an answer");
    assert_eq!(refused.expect_err("revoked").reason(), "manifest_revoked");
    let mut third =
        connection.connect_with(&two.destination(), &fields_two).await.expect("an answer").expect("ok");
    third.echoes(b"a new stream of the other").await;
}

#[tokio::test]
async fn an_agent_in_the_certificate_is_revoked_with_its_name() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").agent("writer").raw(&origin.destination())).await;
    let device = lab.device_with(lab.pki.device_for("device-1", Some("writer"), DAY));
    let mut tunnel = device.tunnel(&origin.destination()).await;
    lab.revoke(Target::Agent("writer".parse().expect("an agent"))).await;
    assert_eq!(tunnel.rest().await.1, End::Broken);
}

#[tokio::test]
async fn the_command_revokes_through_the_policy_directory() {
    let (origin, lab) = setup().await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let key = lab.dir().join("revoker.key");
    lab.policy.revoker().write(&key).expect("the key is written");
    let output = lab.command(&[
        "revoke",
        "--device",
        "device-1",
        "--reason",
        "suspicious exfil",
        "--policy",
        "policy",
        "--key",
        "revoker.key",
        "--key-id",
        "revoker-1",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tunnel.rest().await.1, End::Broken);
    let noted = lab.event("the revocation", |event| event["event_type"] == "control.revoked").await;
    assert_eq!(noted["target"], "device:device-1");
}

#[tokio::test]
async fn a_device_can_be_taken_back_and_a_manifest_cannot() {
    let (origin, mut lab) = setup().await;
    let device = || Target::Device("device-1".parse().expect("an id"));
    let envelope = lab::policy::signed_revocation(device(), lab.policy.revoker());
    let policy_sync::Statement::Revoke(revocation) =
        policy_sync::verify_statement(&envelope, &ring_of(&lab)).expect("the lab's own revocation holds")
    else {
        unreachable!("a revocation is one");
    };
    lab.policy.put_statement(&envelope.to_json());
    lab.happened("control.revoked", 1).await;
    assert!(!matches!(lab.device("device-1").connect(&origin.destination()).await, Ok(Ok(_))));
    let now = jiff::Timestamp::now();
    let by_revoker = policy_sync::sign_lift(&revocation, "not mine to lift", now, lab.policy.revoker());
    lab.policy.put_statement(&by_revoker.expect("a nonce").to_json());
    lab.happened("control.revocation_refused", 1).await;
    let by_approver = policy_sync::sign_lift(&revocation, "found again", now, lab.policy.approver());
    lab.policy.put_statement(&by_approver.expect("a nonce").to_json());
    lab.happened("control.lifted", 1).await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"back").await;
    lab.crash_and_restart().await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"still back").await;

    lab.revoke(Target::Manifest("cm-device-1".parse().expect("an id"))).await;
    lab.push(&Draft::of("device-1").user("alice").agent("writer").raw(&origin.destination())).await;
    assert!(
        !matches!(lab.device("device-1").connect(&origin.destination()).await, Ok(Ok(_))),
        "a revoked id is used up, however it is signed"
    );
}

fn ring_of(lab: &Lab) -> policy_sync::KeyRing {
    let text = std::fs::read_to_string(lab.dir().join("keys.toml")).expect("the ring");
    policy_sync::KeyRing::parse("keys.toml", &text).expect("the ring holds")
}
