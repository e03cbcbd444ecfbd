use std::sync::atomic::{AtomicI64, Ordering};

use rustls::HandshakeKind::{Full, Resumed};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;

use super::*;
use crate::authority::Revocable;
use crate::lab::{DAY, Lab, Outcome, client, handshake, id, now, pem};
use crate::{Refusal, TlsVersions, server_config};

#[derive(Debug)]
struct Hands(AtomicI64);

impl TimeProvider for Hands {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The one handshake that is under way, if there is one.
#[derive(Default)]
struct Scope(Mutex<Option<Option<i64>>>);

impl Possession for Scope {
    fn resumed(&self, since: i64) {
        *self.0.lock().unwrap() = Some(Some(since));
    }

    fn since(&self, now: i64) -> Option<i64> {
        self.0.lock().unwrap().map(|since| since.unwrap_or(now))
    }
}

struct Port {
    lab: Lab,
    verifier: Arc<DeviceVerifier>,
    scope: Arc<Scope>,
    clock: Arc<Hands>,
    config: Arc<ServerConfig>,
}

const LIFETIME: i64 = 100;

fn port_of(versions: TlsVersions) -> Port {
    let lab = Lab::new();
    let verifier = lab.server(&lab.settings()).verifier;
    let (scope, clock) = (Arc::new(Scope::default()), Arc::new(Hands(AtomicI64::new(now()))));
    let config = config(&lab, &verifier, &scope, &clock, versions);
    Port { lab, verifier, scope, clock, config }
}

fn port() -> Port {
    port_of(TlsVersions::Tls13)
}

fn tickets(verifier: &Arc<DeviceVerifier>, scope: &Arc<Scope>, clock: &Arc<Hands>) -> Tickets {
    let lifetime = Duration::from_secs(LIFETIME.unsigned_abs());
    Tickets::new(Arc::clone(verifier), Arc::clone(scope) as _, Arc::clone(clock) as _, lifetime)
}

fn config(
    lab: &Lab,
    verifier: &Arc<DeviceVerifier>,
    scope: &Arc<Scope>,
    clock: &Arc<Hands>,
    versions: TlsVersions,
) -> Arc<ServerConfig> {
    let tickets = Arc::new(tickets(verifier, scope, clock));
    let clock: Arc<dyn TimeProvider> = Arc::clone(clock) as _;
    server_config(&lab.gateway(), Arc::clone(verifier), versions, &[b"h2"], Some(clock), Some(tickets))
        .unwrap()
}

impl Port {
    fn shake(&self, client: &Arc<ClientConfig>) -> Outcome {
        *self.scope.0.lock().unwrap() = Some(None);
        let outcome = handshake(&self.config, client);
        *self.scope.0.lock().unwrap() = None;
        outcome
    }

    fn client(&self) -> Arc<ClientConfig> {
        client(Some(self.lab.device("d-1").into()), &TLS13)
    }

    fn later(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn revoke(&self) {
        self.lab.root.revoke(Revocable::Device(&id("d-1"))).unwrap();
        self.verifier.add_crls(&[pem("new.crl", &self.lab.root.crl(DAY).unwrap())], now());
    }
}

#[test]
fn a_device_returns_by_a_ticket_and_is_identified_by_what_it_showed_before() {
    let port = port();
    let client = port.client();
    let first = port.shake(&client);
    assert_eq!((first.kind, first.tickets), (Some(Full), 1));
    assert_eq!(port.config.max_early_data_size, 0);
    for _ in 0..3 {
        let again = port.shake(&client);
        assert_eq!((again.kind, again.tickets), (Some(Resumed), 1));
        let presented = again.server.unwrap();
        assert_eq!(port.verifier.identify(&presented, now()).unwrap().device, id("d-1"));
    }
    let stranger = port.shake(&client_of_another_device(&port));
    assert_eq!(stranger.kind, Some(Full));
}

fn client_of_another_device(port: &Port) -> Arc<ClientConfig> {
    client(Some(port.lab.device("d-2").into()), &TLS13)
}

#[test]
fn every_change_of_trust_or_standing_ends_the_tickets_of_before() {
    type Step = (&'static str, fn(&Port));
    let steps: [Step; 3] = [
        ("a list", |port| {
            port.verifier.add_crls(&[pem("next.crl", &port.lab.root.crl(DAY).unwrap())], now());
        }),
        ("a reload", |port| {
            port.verifier.reload(&port.lab.settings(), now()).unwrap();
        }),
        ("a standing", |port| port.verifier.end_epoch()),
    ];
    let port = port();
    let client = port.client();
    port.shake(&client);
    for (what, step) in steps {
        assert_eq!(port.shake(&client).kind, Some(Resumed), "before {what}");
        step(&port);
        assert_eq!(port.shake(&client).kind, Some(Full), "after {what}");
    }
}

#[test]
fn a_revoked_device_with_a_ticket_has_to_show_its_certificate_and_is_refused() {
    let port = port();
    let client = port.client();
    port.shake(&client);
    port.revoke();
    let outcome = port.shake(&client);
    assert_ne!(outcome.kind, Some(Resumed));
    assert_eq!(Refusal::of(&outcome.server.unwrap_err()), Some(Refusal::Revoked));
}

#[test]
fn a_ticket_that_was_opened_right_before_a_revocation_identifies_nobody() {
    let port = port();
    let client = port.client();
    port.shake(&client);
    let resumed = port.shake(&client);
    assert_eq!(resumed.kind, Some(Resumed));
    port.revoke();
    assert_eq!(port.verifier.identify(&resumed.server.unwrap(), now()), Err(Refusal::Revoked));
}

#[test]
fn a_certificate_that_has_expired_since_identifies_nobody() {
    let port = port();
    let client = port.client();
    port.shake(&client);
    let resumed = port.shake(&client);
    assert_eq!(resumed.kind, Some(Resumed));
    let presented = resumed.server.unwrap();
    let end = port.verifier.identify(&presented, now()).unwrap().not_after;
    assert_eq!(port.verifier.identify(&presented, end + 1), Err(Refusal::Expired));
}

#[test]
fn tickets_for_tickets_do_not_prolong_the_proof_of_possession() {
    let port = port();
    let client = port.client();
    assert_eq!(port.shake(&client).kind, Some(Full));
    for _ in 0..3 {
        port.later(LIFETIME / 4);
        assert_eq!(port.shake(&client).kind, Some(Resumed));
    }
    port.later(LIFETIME / 4);
    assert_eq!(port.shake(&client).kind, Some(Full), "however young the ticket is");
    assert_eq!(port.shake(&client).kind, Some(Resumed));
}

#[test]
fn a_ticket_of_another_gateway_or_of_before_a_restart_opens_nothing() {
    let mut port = port();
    let client = port.client();
    port.shake(&client);
    assert_eq!(port.shake(&client).kind, Some(Resumed));
    port.config = config(&port.lab, &port.verifier, &port.scope, &port.clock, TlsVersions::Tls13);
    assert_eq!(port.shake(&client).kind, Some(Full));
}

#[test]
fn where_tls_1_2_is_spoken_nothing_is_resumed() {
    let port = port_of(TlsVersions::Tls12And13);
    for version in [&TLS12, &TLS13] {
        let client = client(Some(port.lab.device("d-1").into()), version);
        for _ in 0..2 {
            let outcome = port.shake(&client);
            assert_eq!((outcome.kind, outcome.tickets), (Some(Full), 0), "{version:?}");
        }
    }
}

#[test]
fn outside_a_handshake_that_is_accounted_for_no_ticket_is_given_out() {
    let port = port();
    let client = port.client();
    assert_eq!(handshake(&port.config, &client).tickets, 0);
}

fn sealed() -> (Tickets, Arc<Hands>, Vec<u8>) {
    let lab = Lab::new();
    let scope = Arc::new(Scope(Mutex::new(Some(None))));
    let clock = Arc::new(Hands(AtomicI64::new(now())));
    let tickets = tickets(&lab.server(&lab.settings()).verifier, &scope, &clock);
    let ticket = tickets.encrypt(b"a session").unwrap();
    (tickets, clock, ticket)
}

#[test]
fn a_ticket_with_a_bit_changed_or_a_byte_missing_opens_nothing() {
    let (tickets, _, ticket) = sealed();
    assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert_eq!(tickets.decrypt(&changed), None, "{at}");
        assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
        assert_eq!(tickets.decrypt(&ticket[at + 1..]), None, "{at}");
    }
}

#[test]
fn no_two_tickets_are_alike_and_none_shows_what_is_in_it() {
    let (tickets, _, ticket) = sealed();
    let other = tickets.encrypt(b"a session").unwrap();
    assert_ne!(ticket, other);
    assert!(!ticket.windows(9).any(|window| window == b"a session"));
}

#[test]
fn a_ticket_is_void_at_the_end_of_its_lifetime_and_when_the_clock_is_set_back() {
    for (later, opens) in [(0, true), (LIFETIME - 1, true), (LIFETIME, false), (-1, false)] {
        let (tickets, clock, ticket) = sealed();
        clock.0.fetch_add(later, Ordering::SeqCst);
        assert_eq!(tickets.decrypt(&ticket).is_some(), opens, "{later}");
    }
}

#[test]
fn a_key_seals_for_one_lifetime_and_is_gone_after_two() {
    let (tickets, clock, first) = sealed();
    let name = |ticket: &[u8]| ticket[..NAME].to_vec();
    clock.0.fetch_add(LIFETIME - 1, Ordering::SeqCst);
    let late = tickets.encrypt(b"late").unwrap();
    assert_eq!(name(&late), name(&first));
    clock.0.fetch_add(1, Ordering::SeqCst);
    let next = tickets.encrypt(b"next").unwrap();
    assert_ne!(name(&next), name(&first));
    assert!(tickets.decrypt(&late).is_some(), "by the key of before");
    clock.0.fetch_add(LIFETIME, Ordering::SeqCst);
    tickets.encrypt(b"after").unwrap();
    let keys = tickets.keys.load();
    let held = keys.as_deref().unwrap();
    assert!(std::iter::once(&held.current).chain(&held.previous).all(|key| key.name[..] != first[..NAME]));
}
