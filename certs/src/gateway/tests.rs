use std::sync::Arc;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::authority::{Authority, Profile, Revocable, Usage};
use crate::lab::{DAY, Lab, Presents, client, handshake, now, pem};
use crate::{
    DeviceVerifier, HighWater, IdentityRule, ServerCertificate, Trust, TrustSettings, client_config,
    gateway_server_config,
};

fn trust(lab: &Lab, crls: Vec<Document>) -> GatewayTrust {
    GatewayTrust { authorities: vec![pem("ca.pem", lab.root.certificate_pem())], crls, domain: lab.domain() }
}

fn verifier(lab: &Lab) -> Arc<GatewayVerifier> {
    Arc::new(GatewayVerifier::new(&trust(lab, vec![])).unwrap())
}

fn gateway(authority: &Authority) -> Presents {
    authority.issue_gateway("gw-1", &["gw-1.example"], &[], DAY).unwrap().into()
}

/// What the listener for gateways says: a name or a refusal.
fn attempt(verifier: &Arc<GatewayVerifier>, lab: &Lab, peer: Option<Presents>) -> String {
    let config = gateway_server_config(&lab.gateway(), Arc::clone(verifier), &[b"h2"]).unwrap();
    match handshake(&config, &client(peer, &TLS13)).server {
        Ok(chain) => verifier.identify(&chain, now()).unwrap().to_string(),
        Err(error) => Refusal::of(&error).map_or_else(|| error.to_string(), |why| why.as_str().to_owned()),
    }
}

#[test]
fn a_gateway_is_who_its_certificate_says() {
    let lab = Lab::new();
    let verifier = verifier(&lab);
    assert_eq!(attempt(&verifier, &lab, Some(gateway(&lab.root))), "gw-1");
    let below = lab.root.issue_intermediate("emea", DAY).unwrap();
    assert_eq!(attempt(&verifier, &lab, Some(gateway(&below))), "gw-1");
    assert_eq!(attempt(&verifier, &lab, None), "no_certificate");
    assert_eq!(attempt(&verifier, &lab, Some(gateway(&lab.other_root("other")))), "unknown_issuer");
}

type Spoil = fn(&mut Profile);

#[test]
fn nobody_else_passes_as_a_gateway() {
    let rows: &[(&str, &str, Spoil)] = &[
        ("as issued", "gw-1", |_| {}),
        ("for servers alone", "wrong_usage", |p| p.usages = vec![Usage::ServerAuth]),
        ("for nothing in particular", "wrong_usage", |p| p.usages = vec![]),
        ("a control plane", "wrong_usage", |p| {
            p.uris = vec!["spiffe://example.org/control/gw-1".into()];
            p.usages = vec![Usage::ServerAuth];
        }),
        ("nameless", "identity_missing", |p| p.uris = vec![]),
        ("a device", "wrong_usage", |p| p.uris = vec!["spiffe://example.org/device/gw-1".into()]),
        ("a device besides", "wrong_usage", |p| p.uris.push("spiffe://example.org/device/d-1".into())),
        ("of two names", "identity_ambiguous", |p| p.uris.push("spiffe://example.org/gateway/gw-2".into())),
        ("of another trust domain", "identity_missing", |p| {
            p.uris = vec!["spiffe://example.com/gateway/gw-1".into()]
        }),
        ("with more path", "identity_malformed", |p| {
            p.uris = vec!["spiffe://example.org/gateway/gw-1/x".into()]
        }),
        ("in another case", "identity_malformed", |p| {
            p.uris = vec!["spiffe://example.org/Gateway/gw-1".into()]
        }),
        ("with an escape", "identity_malformed", |p| {
            p.uris = vec!["spiffe://example.org/gateway/gw%2d1".into()]
        }),
        ("expired", "certificate_expired", |p| p.not_after = now() - 1),
        ("from tomorrow", "certificate_not_yet_valid", |p| p.not_before = now() + 86_400),
    ];
    let lab = Lab::new();
    let verifier = verifier(&lab);
    for (name, expected, spoil) in rows {
        let mut profile = Profile::gateway(&lab.domain(), "gw-1", &["gw-1.example"], &[], 2 * DAY);
        spoil(&mut profile);
        let issued = lab.root.issue(&profile).unwrap();
        assert_eq!(attempt(&verifier, &lab, Some(issued.into())), *expected, "{name}");
    }
}

#[test]
fn a_device_never_passes_as_a_gateway_nor_a_gateway_as_a_device() {
    let lab = Lab::new();
    assert_eq!(attempt(&verifier(&lab), &lab, Some(lab.device("gw-1").into())), "wrong_usage");
    let spiffe = IdentityRule::Spiffe(lab.domain());
    for rule in [spiffe, IdentityRule::Dns, IdentityRule::CommonName] {
        let settings = TrustSettings { rule: rule.clone(), ..lab.settings() };
        let trust = Trust::load(&settings, &HighWater::default(), now()).unwrap();
        let devices = DeviceVerifier::new(trust, None);
        let mut control = Profile::control(&lab.domain(), "c-1", &["c-1.example"], &[], DAY);
        control.usages.push(Usage::ClientAuth);
        let control = lab.root.issue(&control).unwrap();
        for chain in [gateway(&lab.root).chain, control.chain()] {
            assert_eq!(devices.identify(&chain, now()), Err(Refusal::WrongUsage), "{rule:?}");
        }
    }
}

#[test]
fn a_revoked_gateway_is_refused_from_the_reload_on() {
    let lab = Lab::new();
    let verifier = verifier(&lab);
    let revoked = lab.root.issue_gateway("gw-1", &[], &[], DAY).unwrap();
    let other: Presents = lab.root.issue_gateway("gw-2", &[], &[], DAY).unwrap().into();
    lab.root.revoke(Revocable::Serial(revoked.serial())).unwrap();
    assert_eq!(verifier.identify(&revoked.chain(), now()).unwrap().as_str(), "gw-1");
    verifier.adopt(
        &GatewayVerifier::new(&trust(&lab, vec![pem("ca.crl", &lab.root.crl(DAY).unwrap())])).unwrap(),
    );
    assert_eq!(verifier.identify(&revoked.chain(), now()), Err(Refusal::Revoked));
    assert_eq!(attempt(&verifier, &lab, Some(revoked.into())), "certificate_revoked");
    assert_eq!(attempt(&verifier, &lab, Some(other.clone())), "gw-2");
    let stale = lab.root.crl_between(now() - 100, now() - 50).unwrap();
    verifier.adopt(&GatewayVerifier::new(&trust(&lab, vec![pem("ca.crl", &stale)])).unwrap());
    assert_eq!(attempt(&verifier, &lab, Some(other.clone())), "crl_stale");
    let foreign = lab.other_root("other").crl(DAY).unwrap();
    verifier.adopt(&GatewayVerifier::new(&trust(&lab, vec![pem("other.crl", &foreign)])).unwrap());
    assert_eq!(attempt(&verifier, &lab, Some(other)), "gw-2");
}

#[test]
fn trust_that_cannot_be_read_is_refused_by_the_name_of_its_file() {
    let lab = Lab::new();
    let good = trust(&lab, vec![]);
    for (spoilt, named) in [
        (GatewayTrust { authorities: vec![], ..good.clone() }, "no"),
        (GatewayTrust { authorities: vec![pem("empty.pem", "")], ..good.clone() }, "empty.pem"),
        (GatewayTrust { crls: vec![pem("empty.crl", "")], ..good.clone() }, "empty.crl"),
    ] {
        let fault = GatewayVerifier::new(&spoilt).unwrap_err().to_string();
        assert!(fault.contains(named), "{fault}");
    }
}

#[test]
fn a_gateway_and_its_control_plane_prove_themselves_to_each_other() {
    let lab = Lab::new();
    let control = lab.root.issue_control("control-1", &["localhost"], &[], DAY).unwrap();
    let control = ServerCertificate::new(control.chain(), control.key().unwrap()).unwrap();
    let server = gateway_server_config(&control, verifier(&lab), &[b"h2"]).unwrap();
    let own = lab.root.issue_gateway("gw-1", &[], &[], DAY).unwrap();
    let own = ServerCertificate::new(own.chain(), own.key().unwrap()).unwrap();
    assert_eq!(own.gateway(&lab.domain()).unwrap().as_str(), "gw-1");
    assert_eq!(control.gateway(&lab.domain()), Err(Refusal::WrongUsage));
    let roots = pem("ca.pem", lab.root.certificate_pem());
    let outcome = handshake(&server, &client_config(&roots, Some(&own), &[b"h2"]).unwrap());
    assert_eq!((outcome.server.is_ok(), outcome.client, outcome.tickets), (true, Ok(()), 0));
    let without = handshake(&server, &client_config(&roots, None, &[b"h2"]).unwrap());
    assert_eq!(without.server, Err(Error::NoCertificatesPresented));
    let foreign = pem("other.pem", lab.other_root("other").certificate_pem());
    let outcome = handshake(&server, &client_config(&foreign, Some(&own), &[b"h2"]).unwrap());
    assert!(outcome.client.is_err(), "a control plane of another authority is not believed");
    let elsewhere = lab.root.issue_control("control-2", &["control.example"], &[], DAY).unwrap();
    let elsewhere = ServerCertificate::new(elsewhere.chain(), elsewhere.key().unwrap()).unwrap();
    let server = gateway_server_config(&elsewhere, verifier(&lab), &[b"h2"]).unwrap();
    let outcome = handshake(&server, &client_config(&roots, Some(&own), &[b"h2"]).unwrap());
    assert!(outcome.client.is_err(), "a control plane of another name is not believed");
}

#[test]
fn gateways_speak_tls_1_3_alone_and_nothing_is_resumed() {
    let lab = Lab::new();
    let config = gateway_server_config(&lab.gateway(), verifier(&lab), &[b"h2"]).unwrap();
    assert!(handshake(&config, &client(Some(gateway(&lab.root)), &TLS12)).server.is_err());
    assert!(!config.session_storage.can_cache() && !config.ticketer.enabled());
    assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
}
