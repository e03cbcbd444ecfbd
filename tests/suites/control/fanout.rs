//! Many gateways at one control plane: how soon the last of them has heard of a revocation, and what a gateway costs it.
//!
//! The gateways are simulated in this process: each has a certificate and a connection of its own, follows the stream, and
//! reports every revocation as soon as it has come. `PORTCULLIS_GATEWAYS` and `PORTCULLIS_ROUNDS` say how many; with a release
//! build and a thousand gateways it prints the figures of SPECIFICATION.md.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use lab::fleet::ControlPlane;
use lab::wait::{PATIENCE, eventually, within};
use lab::{Fleet, Role};
use policy_sync::transport::embedded::link::ControlLink;
use policy_sync::transport::{Enforced, Frame, Link, Report};
use policy_sync::{Envelope, KeyRing, Statement, StatementId, verify_statement};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The revocations that came, by envelope: verified once for all.
#[derive(Debug)]
struct Seen {
    ring: KeyRing,
    known: Mutex<HashMap<Bytes, StatementId>>,
}

impl Seen {
    fn revocation(&self, envelope: &Bytes) -> StatementId {
        let mut known = self.known.lock().expect("nobody panics with this lock");
        *known.entry(envelope.clone()).or_insert_with(|| {
            let read = Envelope::read(envelope).expect("an envelope");
            match verify_statement(&read, &self.ring).expect("a control plane sends what holds") {
                Statement::Revoke(revocation) => revocation.id,
                Statement::Lift(_) => panic!("nobody lifts anything here"),
            }
        })
    }
}

/// One gateway: follows for ever, and says when a revocation came.
async fn follow(link: Arc<ControlLink>, seen: Arc<Seen>, heard: mpsc::Sender<Instant>) {
    let hello = Report { version: "simulated".into(), ..Report::default() };
    let reporter = Arc::clone(&link);
    let each = Box::new(move |frame: Frame| match frame {
        Frame::Hint(envelope) => {
            let came = Instant::now();
            let revocation = seen.revocation(&envelope);
            let receipt = Enforced { revocation, sessions_cut: 1, upload_bytes: 1, latency_us: 1 };
            reporter.report(Report {
                version: "simulated".into(),
                enforced: vec![receipt],
                ..Report::default()
            });
            heard.try_send(came).expect("there is room for all");
        }
        Frame::Heartbeat(_) => {
            reporter.report(Report { version: "simulated".into(), ..Report::default() });
        }
        Frame::Record(_) => {}
    });
    let fault = link.follow(hello, each).await;
    panic!("a gateway lost its control plane: {fault}");
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len() - 1;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "few"
    )]
    let at = (last as f64 * share).ceil() as usize;
    times[at]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_many_gateways_hears_of_a_revocation_soon() {
    let gateways = number("PORTCULLIS_GATEWAYS", 100);
    let rounds = number("PORTCULLIS_ROUNDS", 10);
    let fleet = Fleet::builder().gateways(0).start().await;
    let ring = std::fs::read_to_string(fleet.dir().join("keys.toml")).expect("the ring");
    let ring = KeyRing::parse("keys.toml", &ring).expect("the ring holds");
    let seen = Arc::new(Seen { ring, known: Mutex::default() });
    let (heard, mut hearing) = mpsc::channel(gateways * 2);
    let control = fleet.control();
    let before = (control.resident(), control.cpu());
    let connecting = Instant::now();
    let mut following = JoinSet::new();
    for number in 0..gateways {
        let link = Arc::new(link(&fleet, &format!("gw-{number}")));
        following.spawn(follow(link, Arc::clone(&seen), heard.clone()));
    }
    connected(&fleet, gateways).await;
    let connected = connecting.elapsed();
    let resting = (control.cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = (control.cpu() - resting.0).as_secs_f64() / resting.1.elapsed().as_secs_f64();
    let memory = control.resident().saturating_sub(before.0);

    let api = fleet.api(Role::Revoker);
    let (mut lasts, mut answers) = (Vec::new(), Vec::new());
    let mut spent = Duration::ZERO;
    for round in 0..=rounds {
        let cpu = control.cpu();
        let begun = Instant::now();
        let order = json!({"device": format!("device-{round}"), "reason": "fan out"});
        let ordering = {
            let api = api.clone();
            tokio::spawn(async move { (api.order(&order, PATIENCE).await, begun.elapsed()) })
        };
        let mut last = begun;
        for _ in 0..gateways {
            let came = within(PATIENCE, "a gateway hears of it", hearing.recv()).await;
            last = last.max(came.expect("gateways are there"));
        }
        let (answer, answered) = ordering.await.expect("no panic");
        let receipt = answer.expect("an answer").json();
        assert_eq!(receipt["applied"].as_array().map(Vec::len), Some(gateways), "round {round}");
        // The first one warms up.
        if round > 0 {
            lasts.push(last - begun);
            answers.push(answered);
            spent += control.cpu() - cpu;
        }
    }
    let per_gateway = memory / gateways.max(1) as u64 / 1024;
    println!("{gateways} gateways, connected after {connected:?}");
    println!(
        "control plane: {per_gateway} KiB a gateway, {:.1} % of a core with all of them idle",
        idle * 100.0
    );
    for (what, times) in
        [("API call to the last gateway", &mut lasts), ("API call to its answer", &mut answers)]
    {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| quantile(times, share));
        println!("{what}: p50 {half:?}, p99 {most:?}, max {all:?} of {rounds}");
        assert!(all < Duration::from_secs(5), "{what}: {all:?}");
    }
    assert!(following.try_join_next().is_none(), "nobody lost the control plane");
    following.shutdown().await;
    println!(
        "processor time of the control plane for a revocation: {:?}",
        spent / u32::try_from(rounds).expect("few")
    );
}

/// A gateway's end of a connection, with a certificate of its own.
fn link(fleet: &Fleet, name: &str) -> ControlLink {
    let mut tls = fleet.pki.client(&fleet.pki.gateway(name));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = address(fleet.control());
    let tls = Arc::new(ArcSwap::from_pointee(tls));
    ControlLink::new(&address.ip().to_string(), address.port(), tls).expect("an address")
}

fn address(control: &ControlPlane) -> std::net::SocketAddr {
    control.addresses.gateways.expect("it listens for gateways")
}

async fn connected(fleet: &Fleet, count: usize) {
    eventually(PATIENCE * 3, "every gateway is connected", async || {
        let listed = fleet.listed().await;
        let connected = listed.iter().filter(|gateway| gateway["connected"] == json!(true)).count();
        (connected == count).then_some(())
    })
    .await;
}
