//! X.509 CRLs: a revoked certificate never gets in or stays in, and a list that cannot be trusted opens nothing.

use lab::pki::DAY;
use lab::{Behaviour, Capture, Draft, End, Lab, Over};

/// A gateway for two devices that may reach the same origin.
pub(super) async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    (origin, lab)
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_sessions_and_never_gets_back_in() {
    let (origin, mut lab) = setup().await;
    let destination = origin.destination();
    let (revoked, other) = (lab.device("device-1"), lab.device("device-2"));
    let mut http1 = revoked.tunnel(&destination).await;
    let mut connection = revoked.http2().await;
    let mut stream = connection.connect(&destination).await.expect("an answer").expect("allowed");
    let mut untouched = other.tunnel(&destination).await;
    http1.echoes(b"before").await;
    stream.echoes(b"before").await;

    lab.pki.revoke(revoked.credentials.as_ref().expect("credentials"));
    lab.crl().await;

    assert_eq!(http1.rest().await.1, End::Broken);
    assert_eq!(stream.rest().await.1, End::Broken);
    assert!(connection.connect(&destination).await.is_err(), "the old HTTP/2 connection opens no new stream");
    lab::eventually(lab::wait::PATIENCE, "the HTTP/2 connection is closed", async || connection.ending())
        .await;
    assert!(!revoked.is_admitted().await, "a new handshake");
    untouched.echoes(b"untouched").await;
    // The same device with a certificate that is not revoked is welcome.
    lab.device("device-1").tunnel(&destination).await.echoes(b"a new certificate").await;

    lab.crash_and_restart().await;
    assert!(!lab.again(&revoked).is_admitted().await, "after a crash");
    assert!(lab.again(&other).is_admitted().await);
    lab.restart().await;
    assert!(!lab.again(&revoked).is_admitted().await, "after a restart");
    let reasons: Vec<_> =
        lab.events().of("agent.session_ended").iter().map(|e| e["reason"].clone()).collect();
    assert!(reasons.iter().filter(|reason| *reason == "certificate_revoked").count() >= 2, "{reasons:?}");
}

#[tokio::test]
async fn an_older_list_is_not_taken_back_now_or_after_a_restart() {
    let (_origin, mut lab) = setup().await;
    let revoked = lab.device("device-1");
    let before = lab.pki.crl();
    lab.pki.revoke(revoked.credentials.as_ref().expect("credentials"));
    lab.crl().await;
    assert!(!revoked.is_admitted().await);
    lab.policy.crl(&before);
    lab.event("the older list is refused", |event| event["event_type"] == "control.crl_refused").await;
    assert!(!revoked.is_admitted().await, "after the rollback");
    lab.crash();
    // Everything on disk is rolled back, but for the gateway's own state.
    lab::policy::replace(&lab.dir().join("device-ca.crl"), before.as_bytes());
    lab.policy.crl(&before);
    lab.start_again().await;
    assert!(!lab.again(&revoked).is_admitted().await, "after the rollback and a restart");
    // Without the newest list nobody's standing is known; with it, it is again.
    lab.crl().await;
    assert!(!lab.again(&revoked).is_admitted().await);
    assert!(lab.device("device-2").is_admitted().await);
}

#[tokio::test]
async fn a_list_that_cannot_be_trusted_changes_nothing() {
    let (_origin, lab) = setup().await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other =
        certs::authority::Authority::init(elsewhere.path(), "example.org", DAY).expect("an authority");
    let now = jiff::Timestamp::now().as_second();
    let foreign = other.crl(DAY).expect("a CRL");
    let future = lab.pki.authority.crl_between(now + 5_000, now + 10_000).expect("a CRL");
    let broken = lab.pki.crl().replace("MII", "MIJ");
    for (what, pem) in [
        ("of another authority", foreign),
        ("of the future", future),
        ("that is broken", broken),
        ("of nothing", String::new()),
    ] {
        // A list of an authority that this gateway does not know concerns nobody here, and is no fault of the directory.
        let judged = || {
            let events = lab.events();
            events.of("control.crl_refused").len() + events.of("control.crl_updated").len()
        };
        let seen = judged();
        lab.policy.crl(&pem);
        lab::eventually(lab::wait::PATIENCE, &format!("a list {what} is judged"), async || {
            (judged() > seen).then_some(())
        })
        .await;
        assert!(lab.device("device-1").is_admitted().await, "the last good list stays: {what}");
    }
}

#[tokio::test]
async fn a_stale_list_lets_nobody_in() {
    let now = jiff::Timestamp::now().as_second();
    let (origin, lab) = setup().await;
    let stale = lab.pki.authority.crl_between(now - 2_000, now + 3).expect("a CRL");
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"before").await;
    let seen = lab.events().of("control.crl_updated").len();
    lab.policy.crl(&stale);
    lab::eventually(lab::wait::PATIENCE, "the short-lived list is taken", async || {
        (lab.events().of("control.crl_updated").len() > seen).then_some(())
    })
    .await;
    lab::eventually(lab::wait::PATIENCE, "the stale list lets nobody in", async || {
        (!lab.device("device-1").is_admitted().await).then_some(())
    })
    .await;
    lab.crl().await;
    assert!(lab.device("device-1").is_admitted().await, "a fresh list opens again");
}

#[tokio::test]
async fn an_authority_without_a_list_lets_nobody_in() {
    let (mut lab, outcome) = Lab::builder()
        .settings(|settings| {
            settings.set("trust.crls", Vec::<String>::new());
        })
        .manifest(Draft::of("device-1"))
        .unready()
        .try_start(|_| ())
        .await;
    if outcome.is_ok() {
        assert!(!lab.device("device-1").is_admitted().await, "unknown status is refused");
        lab.crl().await;
        assert!(lab.device("device-1").is_admitted().await, "the list opens");
        lab.crash();
    }
}

#[tokio::test]
async fn a_revoked_intermediate_takes_everything_below_it_along() {
    let (origin, lab) = setup().await;
    let below = lab.pki.authority.issue_intermediate("emea", DAY).expect("an intermediate");
    let list = below.crl(DAY).expect("a CRL");
    lab::policy::replace(&lab.policy.path().join("crls/emea.pem"), list.as_bytes());
    let issued = below.issue_device(&"device-1".parse().expect("an id"), None, DAY).expect("a certificate");
    let device = lab.device_with(issued.into());
    lab::eventually(lab::wait::PATIENCE, "the intermediate's list is taken", async || {
        device.is_admitted().await.then_some(())
    })
    .await;
    let mut tunnel = device.tunnel_over(Over::Http2, &origin.destination()).await;
    tunnel.echoes(b"before").await;
    let direct = lab.device("device-2");
    let mut untouched = direct.tunnel(&origin.destination()).await;
    lab.pki
        .authority
        .revoke(certs::authority::Revocable::Certificate(below.certificate_pem()))
        .expect("the intermediate is revoked");
    lab.crl().await;
    assert_eq!(tunnel.rest().await.1, End::Broken);
    assert!(!device.is_admitted().await);
    untouched.echoes(b"untouched").await;
}

#[tokio::test]
async fn another_authoritys_certificate_with_the_same_serial_is_not_meant() {
    let (_origin, lab) = setup().await;
    let below = lab.pki.authority.issue_intermediate("apac", DAY).expect("an intermediate");
    lab::policy::replace(&lab.policy.path().join("crls/apac.pem"), below.crl(DAY).expect("a CRL").as_bytes());
    let serial = vec![0x42; 16];
    let mut direct = lab.pki.profile("device-1");
    direct.serial = Some(serial.clone());
    let direct = lab.pki.odd(&direct);
    let mut indirect = lab.pki.profile("device-2");
    indirect.serial = Some(serial);
    let indirect = lab.device_with(below.issue(&indirect).expect("a certificate").into());
    lab.pki.revoke(&direct);
    lab.crl().await;
    assert!(!lab.device_with(direct).is_admitted().await);
    lab::eventually(lab::wait::PATIENCE, "the other one with this serial gets in", async || {
        indirect.is_admitted().await.then_some(())
    })
    .await;
}
