//! Ten thousand sessions in every state, revoked through the API by every kind of target: once it has answered, not a byte
//! of them reaches an origin, through none of the gateways.

mod places;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::dice::Dice;
use lab::fleet::api::{by_fingerprint, by_serial};
use lab::wait::{PATIENCE, eventually, within};
use lab::{Behaviour, Capture, Device, Draft, Fleet, Over, Tunnel};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use places::Places;
use state::{Moment, State, Trial};

/// Sessions in all, and at least so many a round.
const TRIALS: usize = 10_000;
const EACH: usize = 125;
const GATEWAYS: usize = 3;

/// What a revocation of a round names.
const KINDS: [&str; 6] = ["manifest_id", "device", "user", "agent", "fingerprint", "serial"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_a_byte_of_ten_thousand_sessions_passes_behind_the_answer() {
    let mut dice = Dice::throw_anew("trials");
    let witness = Capture::start(Behaviour::Echo).await;
    let fleet = Fleet::builder()
        .gateways(GATEWAYS)
        .member(|settings| {
            settings.set("limits.sessions_per_device", 1_000);
            settings.set("deadlines.first_flight", "60s");
            settings.set("deadlines.dial", "60s");
            settings.set("deadlines.handshake", "60s");
        })
        .manifest(Draft::of("bystander").user("bob@example.com").agent("other").raw(&witness.destination()))
        .start()
        .await;
    let mut bystanders = Bystanders::open(&fleet, &witness).await;
    let mut trials: BTreeMap<(State, &str), usize> = BTreeMap::new();
    let mut arrived: BTreeMap<u16, u64> = BTreeMap::new();
    let (mut done, mut round, mut slowest) = (0, 0, Duration::ZERO);
    while done < TRIALS {
        // Every tenth names everybody, the bystanders too, and is lifted.
        let kind = if round % 10 == 9 { "all" } else { KINDS[round % KINDS.len()] };
        let outcome = Round { fleet: &fleet, number: round, kind }.run(&mut dice).await;
        for (port, bytes) in outcome.arrived {
            *arrived.entry(port).or_default() += bytes;
        }
        for state in outcome.states {
            *trials.entry((state, kind)).or_default() += state.sessions();
            done += state.sessions();
        }
        slowest = slowest.max(outcome.answered);
        if kind == "all" {
            fleet.lift(outcome.sequence).await;
            bystanders = Bystanders::open(&fleet, &witness).await;
        }
        bystanders.go_on().await;
        round += 1;
    }
    let kinds = KINDS.iter().chain(&["all"]);
    for (state, kind) in State::SHARES.iter().flat_map(|(state, _)| kinds.clone().map(|kind| (*state, *kind)))
    {
        // The rare ones need not have met every target.
        let met = trials.contains_key(&(state, kind)) || [State::Pouring, State::Blocked].contains(&state);
        assert!(met, "{state:?} never met a revocation by {kind}");
    }
    agree(&fleet, &arrived).await;
    println!("{done} sessions in {round} rounds; the slowest answer took {slowest:?}");
}

/// What the gateways say they handed to each origin is what it got, and no less.
async fn agree(fleet: &Fleet, arrived: &BTreeMap<u16, u64>) {
    let mut said: BTreeMap<u16, u64> = BTreeMap::new();
    for site in &fleet.gateways {
        site.live(1).await;
        for event in site.events().of("agent.session_ended") {
            let port = event["destination"].as_str().and_then(|text| text.rsplit_once(':'));
            let port = port.and_then(|(_, port)| port.parse().ok()).expect("a destination has a port");
            *said.entry(port).or_default() += event["upload_bytes"].as_u64().expect("a number");
        }
    }
    for (port, bytes) in arrived {
        let said = said.get(port).copied().unwrap_or_default();
        assert!(*bytes <= said, "port {port} got {bytes} bytes where the endings speak of {said}");
    }
}

/// A tunnel through every gateway that no revocation of a round names.
struct Bystanders(Vec<Tunnel>);

impl Bystanders {
    async fn open(fleet: &Fleet, witness: &Capture) -> Self {
        let mut tunnels = Vec::new();
        for gateway in 0..GATEWAYS {
            tunnels.push(fleet.device(gateway, "bystander").tunnel(&witness.destination()).await);
        }
        Self(tunnels)
    }

    async fn go_on(&mut self) {
        for tunnel in &mut self.0 {
            tunnel.echoes(b"untouched").await;
        }
    }
}

/// One device with many sessions through all gateways, and one revocation.
struct Round<'a> {
    fleet: &'a Fleet,
    number: usize,
    kind: &'static str,
}

struct Outcome {
    states: Vec<State>,
    arrived: Vec<(u16, u64)>,
    answered: Duration,
    sequence: u64,
}

impl Round<'_> {
    async fn run(&self, dice: &mut Dice) -> Outcome {
        let places = Arc::new(Places::open().await);
        let name = format!("device-{}", self.number);
        let draft =
            Draft::of(&name).user(&format!("user-{}", self.number)).agent(&format!("agent-{}", self.number));
        self.fleet.push(&places.allowed_by(draft)).await;
        let devices = self.devices(&name);

        let (tell, moment) = watch::channel(Moment::Before);
        let (ready, mut all_ready) = mpsc::channel::<()>(1);
        let mut states = Vec::new();
        let mut running = Vec::new();
        while states.iter().map(|state: &State| state.sessions()).sum::<usize>() < EACH {
            let state = State::thrown(dice);
            states.push(state);
            let trial = Trial {
                state,
                over: dice.one_of(&Over::BOTH),
                device: devices[dice.index(GATEWAYS)].clone(),
                places: Arc::clone(&places),
                moment: moment.clone(),
                ready: ready.clone(),
                dice: dice.clone(),
            };
            dice.below(2);
            running.push((state, tokio::spawn(trial.run())));
        }
        drop(ready);
        within(PATIENCE * 2, "every session is in its state", all_ready.recv()).await;
        places.dialled().await;
        tell.send(Moment::During).expect("the sessions wait for it");
        tokio::time::sleep(Duration::from_micros(dice.below(5_000))).await;

        let begun = Instant::now();
        let receipt = self.fleet.revoke(self.target(&devices[0])).await;
        let took = begun.elapsed();
        tell.send(Moment::Behind).expect("the sessions wait for it");
        for (state, session) in running {
            let ended = within(PATIENCE * 2, &format!("{state:?} ends"), session).await;
            ended.unwrap_or_else(|fault| panic!("round {}, {}: {state:?}: {fault}", self.number, self.kind));
        }
        self.shut_out(&devices, &places).await;
        places.close().await.unwrap_or_else(|late| panic!("round {}, {}: {late}", self.number, self.kind));
        let arrived = places.tallies().collect();
        Outcome { states, arrived, answered: took, sequence: receipt["sequence"].as_u64().expect("a number") }
    }

    /// The same device with the same certificate, at each gateway.
    fn devices(&self, name: &str) -> Vec<Device> {
        let first = self.fleet.device(0, name);
        let at = |gateway: usize| Device { gateway: self.fleet.entrance(gateway), ..first.clone() };
        (0..GATEWAYS).map(at).collect()
    }

    fn target(&self, device: &Device) -> Value {
        let number = self.number;
        let credentials = device.credentials.as_ref().expect("a device has credentials");
        match self.kind {
            "manifest_id" => json!({"manifest_id": format!("cm-device-{number}")}),
            "device" => json!({"device": format!("device-{number}")}),
            "user" => json!({"user": format!("user-{number}")}),
            "agent" => json!({"agent": format!("agent-{number}")}),
            "fingerprint" => by_fingerprint(credentials),
            "serial" => by_serial(credentials),
            "all" => json!({"all": true}),
            other => unreachable!("{other}"),
        }
    }

    async fn shut_out(&self, devices: &[Device], places: &Places) {
        for device in devices {
            let outcome = device.connect(&places.echo.destination()).await;
            assert!(!matches!(outcome, Ok(Ok(_))), "round {}: back in", self.number);
        }
    }
}

#[tokio::test]
async fn the_harness_notices_what_passes_behind_an_answer() {
    let places = Places::open().await;
    let fleet = Fleet::with(1, [places.allowed_by(Draft::of("device-1"))]).await;
    let mut tunnel = fleet.device(0, "device-1").tunnel(&places.sink.destination()).await;
    tunnel.send(places::AFTER).await.expect("nobody has revoked anything");
    drop(tunnel);
    eventually(PATIENCE, "it arrives", async || (places.sink.total() > 0).then_some(())).await;
    assert!(places.close().await.is_err(), "bytes behind the answer are found");
}
