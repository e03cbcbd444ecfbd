//! Settings of a control plane that no other suite is about: each has the effect that it promises.

use lab::fleet::ControlPlane;
use lab::wait::PATIENCE;
use lab::{Behaviour, Capture, Draft, Fleet, Wire};

#[tokio::test]
async fn the_ops_address_answers_to_the_names_that_are_set() {
    let builder = Fleet::builder().gateways(0).control(|settings| {
        settings.set("listen.ops_names", vec!["control.internal.example"]);
    });
    let fleet = builder.start().await;
    for (host, answers) in [
        ("control.internal.example", true),
        ("Control.Internal.Example:9445", true),
        ("other.example", false),
    ] {
        let tcp = lab::device::dial(fleet.control().addresses.ops).await.expect("a connection");
        let head = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let status = Wire::new(tcp).ask(head).await.expect("an answer").status;
        assert_eq!(status == 200, answers, "{host}: {status}");
    }
}

#[tokio::test]
async fn an_ops_address_for_everybody_has_to_be_permitted() {
    let mut fleet = Fleet::builder().gateways(0).start().await;
    let place = fleet.dir().join("control");
    for (exposed, starts) in [(false, false), (true, true)] {
        fleet.crash_control();
        fleet.settings.set("listen.ops", "0.0.0.0:0").set("listen.ops_exposed", exposed);
        fleet.settings.write(&place.join("control.toml"));
        let started = ControlPlane::start(&place, PATIENCE).await;
        assert_eq!(started.is_ok(), starts, "exposed: {exposed}");
        let log = std::fs::read_to_string(place.join("control.log")).expect("a log");
        assert!(starts || log.contains("listen.ops"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_manifest_may_upload_is_a_setting() {
    const LIMIT: u64 = 100 * 1024;
    let origin = Capture::start(Behaviour::Sink).await;
    let builder = Fleet::builder().gateways(1).control(|settings| {
        settings.set("policy.upload_bytes", "100KiB");
    });
    let told = Draft::of("device-2").raw(&origin.destination()).in_all(3 * LIMIT);
    let silent = Draft::of("device-1").raw(&origin.destination()).silent_on_limits();
    let fleet = builder.manifest(silent).manifest(told).start().await;
    for (device, limit) in [("device-1", LIMIT), ("device-2", 3 * LIMIT)] {
        let before = origin.total();
        let mut tunnel = fleet.device(0, device).tunnel(&origin.destination()).await;
        tunnel.pour(5 * LIMIT, 10_000).await;
        tunnel.rest().await;
        lab::eventually(PATIENCE, "all of it has arrived", async || {
            origin.connections().iter().all(|connection| connection.end().is_some()).then_some(())
        })
        .await;
        assert_eq!(origin.total() - before, limit, "{device}");
    }
}
