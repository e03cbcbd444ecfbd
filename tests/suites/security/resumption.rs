//! Resumed handshakes: a ticket spares a device signatures and never spares it a check.

use std::sync::Arc;

use certs::authority::{Authority, Revocable};
use lab::device::{Device, connect_head, dial};
use lab::pki::DAY;
use lab::{Behaviour, Capture, Draft, Lab, Wire};
use policy_sync::{CertificateTarget, Target};
use rustls::HandshakeKind::{self, Full, Resumed};
use rustls::client::Resumption;
use tokio_rustls::TlsConnector;

use super::revocation_lists::setup;

/// A device that keeps its tickets.
struct Returning {
    device: Device,
    tls: Arc<rustls::ClientConfig>,
    destination: String,
}

impl Returning {
    fn new(mut device: Device, origin: &Capture) -> Self {
        device.resumption = Resumption::in_memory_sessions(64);
        let tls = Arc::new(device.tls(&["http/1.1"]));
        Self { device, tls, destination: origin.destination() }
    }

    /// Shakes hands and asks for a tunnel: how the hands were shaken, and the status of the answer if there was one.
    async fn visit(&self) -> (Option<HandshakeKind>, Option<u16>) {
        let tcp = dial(self.device.gateway).await.expect("a connection");
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let Ok(stream) = connector.connect("localhost".try_into().expect("a name"), tcp).await else {
            return (None, None);
        };
        let kind = stream.get_ref().1.handshake_kind();
        let answer = Wire::new(stream).ask(connect_head(&self.destination, "")).await;
        (kind, answer.ok().map(|answer| answer.status))
    }

    /// Visits twice: the second time by a ticket of the first.
    async fn settle(&self) {
        assert_eq!(self.visit().await, (Some(Full), Some(200)));
        assert_eq!(self.visit().await, (Some(Resumed), Some(200)));
    }
}

#[tokio::test]
async fn a_resumed_session_is_decided_like_any_other_and_is_counted() {
    let (origin, lab) = setup().await;
    let one = Returning::new(lab.device("device-1"), &origin);
    one.settle().await;
    let elsewhere = Returning { destination: "elsewhere.test:443".into(), ..one };
    assert_eq!(elsewhere.visit().await, (Some(Resumed), Some(403)));
    let metrics = lab.metrics().await;
    assert!(metrics.sum("portcullis_handshakes_completed_total", &["kind=\"resumed\""]) >= 2.0);
    assert!(metrics.sum("portcullis_handshakes_completed_total", &["kind=\"full\""]) >= 1.0);
    for event in lab.events().of("agent.session_allowed") {
        assert_eq!(event["agent_id"], "cowork-v1.0:device-1");
    }
}

#[tokio::test]
async fn no_revocation_of_a_device_or_its_certificate_is_survived_by_a_ticket() {
    let (origin, lab) = setup().await;
    let other = Returning::new(lab.device("device-2"), &origin);
    for what in ["its certificate by a list", "its certificate by a statement", "the device"] {
        let device = lab.device("device-1");
        let credentials = Arc::clone(device.credentials.as_ref().expect("credentials"));
        let returning = Returning::new(device, &origin);
        returning.settle().await;
        other.visit().await;
        assert_eq!(other.visit().await, (Some(Resumed), Some(200)));
        match what {
            "the device" => lab.revoke(Target::Device("device-1".parse().expect("an id"))).await,
            "its certificate by a statement" => {
                let fingerprint = CertificateTarget::Fingerprint(credentials.fingerprint);
                lab.revoke(Target::Certificate(fingerprint)).await;
            }
            _ => {
                lab.pki.revoke(&credentials);
                lab.crl().await;
            }
        }
        assert_eq!(returning.visit().await, (Some(Full), None), "{what}: a ticket of before is void");
        for _ in 0..3 {
            // A handshake that is refused for its device's standing may leave a ticket behind: it opens the same refusal.
            assert_eq!(returning.visit().await.1, None, "{what}");
        }
        assert_eq!(
            other.visit().await,
            (Some(Full), Some(200)),
            "{what}: a ticket of before is void for all"
        );
        assert_eq!(other.visit().await, (Some(Resumed), Some(200)));
    }
}

#[tokio::test]
async fn a_revoked_intermediate_takes_the_tickets_of_its_devices_along() {
    let (origin, lab) = setup().await;
    let below = lab.pki.authority.issue_intermediate("emea", DAY).expect("an intermediate");
    lab::policy::replace(&lab.policy.path().join("crls/emea.pem"), below.crl(DAY).expect("a CRL").as_bytes());
    let issued = below.issue_device(&"device-1".parse().expect("an id"), None, DAY).expect("a certificate");
    let device = lab.device_with(issued.into());
    lab::eventually(lab::wait::PATIENCE, "the intermediate's list is taken", async || {
        device.is_admitted().await.then_some(())
    })
    .await;
    let returning = Returning::new(device, &origin);
    returning.settle().await;
    let revocable = Revocable::Certificate(below.certificate_pem());
    lab.pki.authority.revoke(revocable).expect("the intermediate is revoked");
    lab.crl().await;
    assert_eq!(returning.visit().await, (Some(Full), None));
}

#[tokio::test]
async fn a_revoked_user_returns_by_a_ticket_and_reaches_nothing() {
    let (origin, lab) = setup().await;
    let returning = Returning::new(lab.device("device-1"), &origin);
    returning.settle().await;
    lab.revoke(Target::User("alice@example.com".parse().expect("a user"))).await;
    assert_eq!(returning.visit().await, (Some(Resumed), Some(403)));
}

#[tokio::test]
async fn a_certificate_that_expires_is_not_outlived_by_its_tickets() {
    let (origin, lab) = setup().await;
    let mut profile = lab.pki.profile("device-1");
    profile.not_after = jiff::Timestamp::now().as_second() + 6;
    let returning = Returning::new(lab.device_with(lab.pki.odd(&profile)), &origin);
    returning.settle().await;
    lab::eventually(lab::wait::PATIENCE, "the certificate expires", async || {
        let (_, status) = returning.visit().await;
        status.is_none().then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(returning.visit().await.1, None, "by none of the tickets that are left");
    }
}

#[tokio::test]
async fn a_reload_or_a_restart_voids_every_ticket() {
    let (origin, mut lab) = setup().await;
    let mut returning = Returning::new(lab.device("device-1"), &origin);
    returning.settle().await;
    assert!(lab.hang_up().await);
    assert_eq!(returning.visit().await, (Some(Full), Some(200)));
    assert_eq!(returning.visit().await, (Some(Resumed), Some(200)));
    lab.restart().await;
    returning.device = lab.again(&returning.device);
    assert_eq!(returning.visit().await, (Some(Full), Some(200)));
}

#[tokio::test]
async fn an_authority_that_is_no_longer_believed_takes_its_tickets_along() {
    let (origin, mut lab) = setup().await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = Authority::init(elsewhere.path(), "example.org", DAY).expect("an authority");
    let file = |name: &str, text: &str| {
        let path = elsewhere.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let pem = file("other.pem", other.certificate_pem());
    let crl = file("other.crl", &other.crl(DAY).expect("a CRL"));
    let both = lab.reload(|settings| {
        settings.set("trust.device_ca", vec!["ca/ca.pem".to_owned(), pem]);
        settings.set("trust.crls", vec!["device-ca.crl".to_owned(), crl]);
    });
    assert!(both.await, "{}", lab.log());
    let issued = other.issue_device(&"device-1".parse().expect("an id"), None, DAY).expect("a certificate");
    let returning = Returning::new(lab.device_with(issued.into()), &origin);
    returning.settle().await;
    let one = lab.reload(|settings| {
        settings.set("trust.device_ca", vec!["ca/ca.pem"]);
        settings.set("trust.crls", vec!["device-ca.crl"]);
    });
    assert!(one.await, "{}", lab.log());
    assert_eq!(returning.visit().await, (Some(Full), None));
}

#[tokio::test]
async fn a_ticket_of_one_gateway_is_nothing_to_another() {
    let (origin, lab) = setup().await;
    let (_, another) = setup().await;
    let mut returning = Returning::new(lab.device("device-1"), &origin);
    returning.settle().await;
    returning.device.gateway = another.device("device-1").gateway;
    let (kind, status) = returning.visit().await;
    assert_ne!(kind, Some(Resumed));
    assert_eq!(status, None, "the other one believes another authority");
}

#[tokio::test]
async fn tickets_live_as_long_as_is_set_and_not_at_all_when_off() {
    for (resumption, versions) in [("off", "1.3"), ("1h", "1.2+1.3")] {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("tls.resumption", resumption);
                settings.set("tls.versions", versions);
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()))
            .start()
            .await;
        let returning = Returning::new(lab.device("device-1"), &origin);
        for _ in 0..3 {
            assert_eq!(returning.visit().await, (Some(Full), Some(200)), "{resumption} {versions}");
        }
    }
    let (origin, mut lab) = setup().await;
    let reloaded = lab.reload(|settings| {
        settings.set("tls.resumption", "4s");
    });
    assert!(reloaded.await, "{}", lab.log());
    let returning = Returning::new(lab.device("device-1"), &origin);
    returning.settle().await;
    // Each visit is given new tickets; none of them is older than the last full handshake says.
    lab::eventually(lab::wait::PATIENCE, "the key has to be proved again", async || {
        (returning.visit().await == (Some(Full), Some(200))).then_some(())
    })
    .await;
    assert_eq!(returning.visit().await, (Some(Resumed), Some(200)));
}
