//! Many gateways in one process: how soon the last of them has heard of a revocation, and what a gateway costs its control plane.
//!
//! Each has a connection of its own, follows the stream, and reports every revocation as soon as it has come. What it
//! hears is verified once for all of them: the simulation is not what is measured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use policy_sync::transport::{Enforced, Frame, Link, Report};
use policy_sync::{Envelope, KeyRing, Statement, StatementId, verify_statement};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Fleet, Role};
use crate::wait::{PATIENCE, eventually, within};

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
async fn follow(link: Arc<dyn Link>, seen: Arc<Seen>, heard: mpsc::Sender<Instant>) {
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

/// Has a gateway follow over each of these links, revokes once to warm up and then `rounds` times, and prints the figures.
///
/// # Panics
/// When somebody does not hear of something, or not within five seconds.
pub async fn fan_out(fleet: &Fleet, links: Vec<Arc<dyn Link>>, rounds: usize) {
    let gateways = links.len();
    let ring = std::fs::read_to_string(fleet.dir().join("keys.toml")).expect("the ring");
    let ring = KeyRing::parse("keys.toml", &ring).expect("the ring holds");
    let seen = Arc::new(Seen { ring, known: Mutex::default() });
    let (heard, mut hearing) = mpsc::channel(gateways * 2);
    let control = fleet.control();
    let before = (control.resident(), control.cpu());
    let connecting = Instant::now();
    let mut following = JoinSet::new();
    for link in links {
        following.spawn(follow(link, Arc::clone(&seen), heard.clone()));
    }
    connected(fleet, gateways).await;
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

async fn connected(fleet: &Fleet, count: usize) {
    eventually(PATIENCE * 3, "every gateway is connected", async || {
        let listed = fleet.listed().await;
        let connected = listed.iter().filter(|gateway| gateway["connected"] == json!(true)).count();
        (connected == count).then_some(())
    })
    .await;
}
