//! Whom a revocation through the API means, at every gateway; what can be taken back, and what never comes back.

use lab::fleet::api::{by_fingerprint, by_serial};
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Device, Draft, End, Fleet, Role, Tunnel};
use serde_json::{Value, json};

/// Three devices, two of alice, two with the same agent, each at each of two gateways.
async fn setup() -> (Capture, Fleet, Vec<Device>) {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = |device: &str, user: &str, agent: &str| {
        Draft::of(device).user(user).agent(agent).raw(&origin.destination())
    };
    let manifests = [
        draft("device-1", "alice", "writer"),
        draft("device-2", "alice", "reader"),
        draft("device-3", "bob", "writer"),
    ];
    let fleet = Fleet::with(2, manifests).await;
    let devices = ["device-1", "device-2", "device-3"].map(|device| fleet.device(0, device));
    (origin, fleet, devices.into())
}

fn at(fleet: &Fleet, gateway: usize, device: &Device) -> Device {
    Device { gateway: fleet.entrance(gateway), ..device.clone() }
}

async fn tunnels(fleet: &Fleet, devices: &[Device], origin: &Capture) -> Vec<(usize, Tunnel)> {
    let mut tunnels = Vec::new();
    for gateway in 0..2 {
        for (number, device) in devices.iter().enumerate() {
            let mut tunnel = at(fleet, gateway, device).tunnel(&origin.destination()).await;
            tunnel.echoes(b"before").await;
            tunnels.push((number, tunnel));
        }
    }
    tunnels
}

#[tokio::test]
async fn every_kind_of_target_cuts_those_it_names_at_every_gateway_and_nobody_else() {
    let (origin, fleet, devices) = setup().await;
    let credentials = |number: usize| devices[number].credentials.as_ref().expect("credentials");
    let rows: [(Value, bool, &[usize]); 5] = [
        (json!({"agent": "writer"}), true, &[0, 2]),
        (json!({"user": "alice"}), true, &[0, 1]),
        (json!({"device": "device-2"}), true, &[1]),
        (json!({"all": true}), true, &[0, 1, 2]),
        (by_fingerprint(credentials(2)), false, &[2]),
    ];
    for (target, liftable, meant) in rows {
        let open = tunnels(&fleet, &devices, &origin).await;
        let receipt = fleet.revoke(target.clone()).await;
        let cut: u64 = receipt["applied"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| entry["sessions_cut"].as_u64())
            .sum();
        assert_eq!(cut, 2 * meant.len() as u64, "{target}: {receipt}");
        for (number, mut tunnel) in open {
            if meant.contains(&number) {
                assert_eq!(tunnel.rest().await.1, End::Broken, "{target} means device {number}");
            } else {
                tunnel.echoes(b"after").await;
            }
        }
        shut_out(&fleet, &devices, meant, &origin, &target).await;
        let sequence = receipt["sequence"].as_u64().expect("a number");
        if liftable {
            fleet.lift(sequence).await;
            shut_out(&fleet, &devices, &[], &origin, &target).await;
        } else {
            let answer = fleet.api(Role::Approver).lift(sequence).await.expect("an answer");
            assert_eq!(answer.status, 409, "{target} never comes back: {answer:?}");
        }
    }
    for target in [json!({"manifest_id": "cm-device-1"}), by_serial(credentials(1))] {
        let receipt = fleet.revoke(target.clone()).await;
        let answer = fleet.api(Role::Approver).lift(receipt["sequence"].as_u64().expect("a number")).await;
        assert_eq!(answer.expect("an answer").status, 409, "{target} never comes back");
    }
    shut_out(&fleet, &devices, &[0, 1, 2], &origin, &json!("all that never comes back")).await;
}

/// Of all devices, exactly those of `meant` are refused, at every gateway.
async fn shut_out(fleet: &Fleet, devices: &[Device], meant: &[usize], origin: &Capture, target: &Value) {
    for gateway in 0..2 {
        for (number, device) in devices.iter().enumerate() {
            let outcome = at(fleet, gateway, device).connect(&origin.destination()).await;
            let open = matches!(outcome, Ok(Ok(_)));
            assert_eq!(open, !meant.contains(&number), "{target}: device {number} at gateway {gateway}");
        }
    }
}

#[tokio::test]
async fn a_narrowed_manifest_cuts_exactly_what_it_no_longer_allows_at_every_gateway() {
    let (kept, dropped) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let fleet =
        Fleet::with(2, [Draft::of("device-1").raw(&kept.destination()).raw(&dropped.destination())]).await;
    let mut stay = Vec::new();
    let mut go = Vec::new();
    for gateway in 0..2 {
        let device = fleet.device(gateway, "device-1");
        stay.push(device.tunnel(&kept.destination()).await);
        go.push(device.tunnel(&dropped.destination()).await);
    }
    fleet.push(&Draft::of("device-1").raw(&kept.destination())).await;
    for tunnel in &mut go {
        assert_eq!(tunnel.rest().await.1, End::Broken);
    }
    for tunnel in &mut stay {
        tunnel.echoes(b"goes on").await;
    }
    let answer = fleet.api(Role::Author).send("DELETE", "/api/v1/manifests/cm-device-1", b"").await;
    assert!(answer.as_ref().is_ok_and(|answer| answer.status < 300), "{answer:?}");
    for tunnel in &mut stay {
        assert_eq!(tunnel.rest().await.1, End::Broken, "a manifest that is taken away ends its sessions");
    }
}

#[tokio::test]
async fn a_crl_reaches_every_gateway_and_its_certificates_never_come_back() {
    let (origin, fleet, devices) = setup().await;
    let mut open = tunnels(&fleet, &devices, &origin).await;
    fleet.pki.revoke(devices[1].credentials.as_ref().expect("credentials"));
    fleet.crl().await;
    for (number, tunnel) in &mut open {
        if *number == 1 {
            assert_eq!(tunnel.rest().await.1, End::Broken);
        } else {
            tunnel.echoes(b"untouched").await;
        }
    }
    eventually(PATIENCE, "the certificate is refused", async || {
        let refused = !matches!(devices[1].connect(&origin.destination()).await, Ok(Ok(_)));
        refused.then_some(())
    })
    .await;
    fleet.device(0, "device-2").tunnel(&origin.destination()).await.echoes(b"another certificate").await;
}
