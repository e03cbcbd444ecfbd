//! Who gets past the handshake: certificates that prove a device, and all that only look like one.

use std::time::Duration;

use certs::authority::{Authority, Profile, Standing, SubjectKey, Usage};
use lab::pki::{Credentials, DAY};
use lab::{Behaviour, Capture, Draft, Lab};

async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    (origin, lab)
}

#[tokio::test]
async fn certificates_that_do_not_prove_a_device_are_refused() {
    let (origin, lab) = setup().await;
    let now = jiff::Timestamp::now().as_second();
    let odd = |change: &dyn Fn(&mut Profile)| {
        let mut profile = lab.pki.profile("device-1");
        change(&mut profile);
        lab.pki.odd(&profile)
    };
    let uri = |text: &str| {
        let text = text.to_owned();
        odd(&move |profile| profile.uris = vec![text.clone()])
    };
    let table = [
        ("expired", odd(&|profile| (profile.not_before, profile.not_after) = (now - 1_000, now - 10))),
        (
            "not yet valid",
            odd(&|profile| (profile.not_before, profile.not_after) = (now + 1_000, now + 2_000)),
        ),
        ("for servers", odd(&|profile| profile.usages = vec![Usage::ServerAuth])),
        ("for no use", odd(&|profile| profile.usages = vec![])),
        ("for any use", odd(&|profile| profile.usages = vec![Usage::Any])),
        (
            "of an authority",
            odd(&|profile| {
                profile.standing = Standing::Authority { path_length: None, signs_crls: true };
            }),
        ),
        ("without a name", odd(&|profile| profile.uris = vec![])),
        (
            "named by CN only",
            odd(&|profile| {
                profile.uris = vec![];
                profile.common_name = Some("device-1".into());
            }),
        ),
        (
            "named by DNS only",
            odd(&|profile| {
                profile.uris = vec![];
                profile.dns = vec!["device-1".into(), "device-1.example.org".into()];
            }),
        ),
        ("of two devices", odd(&|profile| profile.uris.push("spiffe://example.org/device/device-2".into()))),
        (
            "of the same device twice, with an agent",
            odd(&|profile| {
                profile.uris.push("spiffe://example.org/device/device-1/agent/other".into());
            }),
        ),
        ("of another trust domain", uri("spiffe://example.com/device/device-1")),
        ("of a domain below", uri("spiffe://a.example.org/device/device-1")),
        ("of a gateway", uri("spiffe://example.org/gateway/gw-lab")),
        ("with an empty device", uri("spiffe://example.org/device/")),
        ("with a path behind", uri("spiffe://example.org/device/device-1/agent")),
        ("with more behind", uri("spiffe://example.org/device/device-1/agent/a/b")),
        ("with an escape", uri("spiffe://example.org/device/device%2D1")),
        ("with dots", uri("spiffe://example.org/device/../device-1")),
        ("with a query", uri("spiffe://example.org/device/device-1?x")),
        ("with a user", uri("spiffe://u@example.org/device/device-1")),
        ("with a port", uri("spiffe://example.org:443/device/device-1")),
        ("with a blank", uri("spiffe://example.org/device/device 1")),
        ("with a wildcard", uri("spiffe://example.org/device/*")),
    ];
    for (what, credentials) in table {
        let device = lab.device_with(credentials);
        assert!(!device.is_admitted().await, "a certificate {what} was taken");
        assert!(
            device.try_http2().await.is_err() || device.http2().await.connect("a.test:443").await.is_err()
        );
    }
    assert!(!lab.device("device-1").anonymous().is_admitted().await, "no certificate at all");
    assert!(lab.device("device-1").is_admitted().await, "an ordinary one is taken");
    assert_eq!(origin.connections().len(), 0);
    lab.happened("system.handshake_refused", 20).await;
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_even_with_the_same_name() {
    let (_origin, lab) = setup().await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = Authority::init(elsewhere.path(), "example.org", DAY).expect("an authority");
    let foreign = other.issue_device(&"device-1".parse().expect("an id"), None, DAY).expect("a certificate");
    assert!(!lab.device_with(Credentials::from(foreign)).is_admitted().await);
    let twin = Authority::init(&elsewhere.path().join("twin"), "example.org", DAY).expect("an authority");
    let foreign = twin.issue_device(&"device-1".parse().expect("an id"), None, DAY).expect("a certificate");
    let mut mixed = Credentials::from(foreign);
    mixed.chain.extend(lab.pki.device("device-1").chain);
    assert!(
        !lab.device_with(mixed).is_admitted().await,
        "a good certificate behind a bad one proves nothing"
    );
}

#[tokio::test]
async fn good_certificates_in_unusual_dress_are_taken() {
    let (origin, lab) = setup().await;
    let odd = |change: &dyn Fn(&mut Profile)| {
        let mut profile = lab.pki.profile("device-1");
        change(&mut profile);
        lab.pki.odd(&profile)
    };
    let mut crowded = lab.pki.device("device-1");
    crowded.chain.extend(lab.pki.device("device-2").chain);
    for (what, credentials) in [
        ("another URI", odd(&|profile| profile.uris.push("https://example.org/device/device-2".into()))),
        ("DNS names beside", odd(&|profile| profile.dns = vec!["device-2.example.org".into()])),
        ("another common name", odd(&|profile| profile.common_name = Some("device-2".into()))),
        ("no common name", odd(&|profile| profile.common_name = None)),
        ("more usages", odd(&|profile| profile.usages = vec![Usage::ClientAuth, Usage::ServerAuth])),
        ("an RSA key", odd(&|profile| profile.key = SubjectKey::Rsa2048)),
        ("an Ed25519 key", odd(&|profile| profile.key = SubjectKey::Ed25519)),
        ("certificates of others behind", crowded),
    ] {
        let device = lab.device_with(credentials);
        let mut tunnel =
            device.connect(&origin.destination()).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        tunnel.as_mut().unwrap_or_else(|answer| panic!("{what}: {answer:?}")).echoes(b"hi").await;
    }
    for allowed in lab.events().of("agent.session_allowed") {
        assert_eq!(allowed["agent_id"], "cowork-v1.0:device-1");
    }
}

#[tokio::test]
async fn every_device_listener_asks_for_a_certificate() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.device", vec!["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]);
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    for address in lab.gateway().addresses.device.clone() {
        let mut device = lab.device("device-1");
        device.gateway = address;
        assert!(device.is_admitted().await, "{address}");
        assert!(!device.anonymous().is_admitted().await, "{address}");
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_where_the_settings_say_so() {
    for (versions, taken) in [("1.3", false), ("1.2+1.3", true)] {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("tls.versions", versions);
            })
            .manifest(Draft::of("device-1"))
            .start()
            .await;
        let mut device = lab.device("device-1");
        device.versions = &lab::device::TLS12;
        assert_eq!(device.is_admitted().await, taken, "{versions}");
        device.versions = &lab::device::TLS13;
        assert!(device.is_admitted().await);
    }
}

#[tokio::test]
async fn a_protocol_that_is_not_served_is_not_negotiated() {
    let (_origin, lab) = setup().await;
    let device = lab.device("device-1");
    assert!(device.handshake(&["h3"]).await.is_err());
    assert!(device.handshake(&["spdy/3", "ftp"]).await.is_err());
    let stream = device.handshake(&["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let stream = device.handshake(&[]).await.expect("without ALPN it is HTTP/1.1");
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
}

#[tokio::test]
async fn an_identity_can_be_a_dns_name_or_a_common_name_where_the_settings_say_so() {
    for identity in ["dns", "cn"] {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("trust.identity", identity);
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()))
            .start()
            .await;
        let mut profile = lab.pki.profile("unused");
        profile.uris = vec![];
        profile.common_name = (identity == "cn").then(|| "device-1".into());
        profile.dns = if identity == "dns" { vec!["device-1".into()] } else { vec![] };
        lab.device_with(lab.pki.odd(&profile))
            .tunnel(&origin.destination())
            .await
            .echoes(identity.as_bytes())
            .await;
        profile.common_name = None;
        profile.dns = vec!["device-1".into(), "device-2".into()];
        assert!(
            !lab.device_with(lab.pki.odd(&profile)).is_admitted().await,
            "{identity}: ambiguous or missing"
        );
    }
}

#[tokio::test]
async fn a_gateway_without_usable_trust_does_not_start() {
    for (what, name, text) in [
        ("no device CA", "ca/ca.pem", ""),
        (
            "a device CA of nonsense",
            "ca/ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        ("a CRL of nonsense", "device-ca.crl", "nonsense"),
        ("no key", "gateway.key", ""),
        ("no ring of keys", "keys.toml", ""),
    ] {
        let (mut lab, outcome) = Lab::builder()
            .manifest(Draft::of("device-1"))
            .unready()
            .try_start(|dir| std::fs::write(dir.join(name), text).expect("spoilt"))
            .await;
        match outcome {
            Err(status) => {
                assert!(matches!(status.code(), Some(1 | 64)), "{what}: {status:?}\n{}", lab.log())
            }
            // Up, but closed: nobody gets in.
            Ok(()) => {
                let device = lab.device("device-1");
                let admitted = device.connect("origin.test:443").await;
                assert!(!matches!(admitted, Ok(Ok(_))), "{what}");
                lab.crash();
            }
        }
        assert!(!lab.log().is_empty(), "{what} is said in the log");
    }
}

#[tokio::test]
async fn a_long_chain_is_refused_quickly() {
    let (_origin, lab) = setup().await;
    let mut padded = lab.pki.device("device-1");
    for number in 0..60 {
        padded.chain.extend(lab.pki.device(&format!("filler-{number}")).chain);
    }
    let begun = lab.gateway().cpu();
    assert!(!lab.device_with(padded).is_admitted().await);
    assert!(lab.gateway().cpu() - begun < Duration::from_secs(1));
    assert!(lab.device("device-1").is_admitted().await);
}
