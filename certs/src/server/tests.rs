use rustls::version::{TLS12, TLS13};

use super::*;
use crate::lab::{DAY, Lab, Presents, client, handshake};
use crate::{DeviceVerifier, HighWater, Trust};

fn verifier(lab: &Lab) -> Arc<DeviceVerifier> {
    let trust = Trust::load(&lab.settings(), &HighWater::default(), crate::lab::now()).unwrap();
    Arc::new(DeviceVerifier::new(trust, None))
}

#[test]
fn a_chain_and_key_load_or_the_faulty_file_is_named() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let issued = lab.root.issue_gateway("gw-1", &["localhost"], &[], DAY).unwrap();
    let (chain, key) = (dir.path().join("gw.pem"), dir.path().join("gw.key"));
    issued.write(&chain, &key).unwrap();
    let loaded = ServerCertificate::load(&chain, &key).unwrap();
    assert!(loaded.not_after() > crate::lab::now());
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let empty = write("empty.pem", "");
    let junk = write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let other = write("other.key", lab.device("d-1").key_pem().unwrap());
    let missing = dir.path().join("missing");
    let rows = [
        (&missing, &key, "missing: cannot be read"),
        (&empty, &key, "empty.pem: holds no certificate"),
        (&key, &key, "gw.key: holds no certificate"),
        (&junk, &key, "junk.pem"),
        (&chain, &missing, "missing: cannot be read"),
        (&chain, &empty, "empty.pem: holds no private key"),
        (&chain, &chain, "gw.pem: holds no private key"),
        (&chain, &other, "other.key do not go together"),
    ];
    for (chain, key, expected) in rows {
        let fault = ServerCertificate::load(chain, key).unwrap_err().to_string();
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
}

#[test]
fn a_key_never_shows_in_debug_output() {
    let lab = Lab::new();
    let config = server_config(&lab.gateway(), verifier(&lab), TlsVersions::Tls13, &[], None, None).unwrap();
    for text in [format!("{:?}", lab.gateway()), format!("{config:?}")] {
        assert!(!text.to_lowercase().contains("private"), "{text}");
    }
}

#[test]
fn tls_1_2_is_spoken_only_when_asked_for() {
    let lab = Lab::new();
    let device: Presents = lab.device("d-1").into();
    for (versions, version, good) in [
        (TlsVersions::Tls13, &TLS13, true),
        (TlsVersions::Tls13, &TLS12, false),
        (TlsVersions::Tls12And13, &TLS13, true),
        (TlsVersions::Tls12And13, &TLS12, true),
    ] {
        let config = server_config(&lab.gateway(), verifier(&lab), versions, &[b"h2"], None, None).unwrap();
        let outcome = handshake(&config, &client(Some(device.clone()), version));
        assert_eq!(outcome.server.is_ok(), good, "{versions:?} {version:?}");
    }
    assert_eq!(TlsVersions::default(), TlsVersions::Tls13);
}

#[test]
fn no_listener_takes_early_data_or_logs_keys_and_only_tickets_resume() {
    let lab = Lab::new();
    let versions = TlsVersions::Tls12And13;
    let configs = [
        server_config(&lab.gateway(), verifier(&lab), versions, &[b"h2", b"http/1.1"], None, None).unwrap(),
        server_config_without_device_authentication(&lab.gateway(), versions, &[b"h2", b"http/1.1"]).unwrap(),
    ];
    for config in configs {
        assert!(!config.session_storage.can_cache());
        assert!(!config.ticketer.enabled());
        assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
        assert!(!config.send_half_rtt_data && config.require_ems && !config.enable_secret_extraction);
        assert!(!config.key_log.will_log("CLIENT_RANDOM"));
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }
}

#[test]
fn a_protocol_that_is_not_offered_is_refused() {
    let lab = Lab::new();
    let config =
        server_config(&lab.gateway(), verifier(&lab), TlsVersions::Tls13, &[b"http/1.1"], None, None)
            .unwrap();
    let outcome = handshake(&config, &client(Some(lab.device("d-1").into()), &TLS13)); // offers h2
    assert_eq!(outcome.server, Err(rustls::Error::NoApplicationProtocol));
}

#[test]
fn the_listener_without_authentication_asks_nobody() {
    let lab = Lab::new();
    let config =
        server_config_without_device_authentication(&lab.gateway(), TlsVersions::Tls13, &[b"h2"]).unwrap();
    let outcome = handshake(&config, &client(Some(lab.device("d-1").into()), &TLS13));
    assert_eq!(outcome.server, Ok(vec![]));
    assert_eq!(handshake(&config, &client(None, &TLS13)).server, Ok(vec![]));
}

#[test]
fn the_given_clock_is_what_the_verifier_believes() {
    #[derive(Debug)]
    struct Late;
    impl TimeProvider for Late {
        fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
            let late = u64::try_from(crate::lab::now()).unwrap() + 2 * 86_400;
            Some(rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(late)))
        }
    }
    let lab = Lab::new();
    let clock: Arc<dyn TimeProvider> = Arc::new(Late);
    let config =
        server_config(&lab.gateway(), verifier(&lab), TlsVersions::Tls13, &[b"h2"], Some(clock), None)
            .unwrap();
    let outcome = handshake(&config, &client(Some(lab.device("d-1").into()), &TLS13));
    assert_eq!(crate::Refusal::of(&outcome.server.unwrap_err()), Some(crate::Refusal::Expired));
}
