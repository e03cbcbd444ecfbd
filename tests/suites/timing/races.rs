//! Revocations that meet sessions at every moment of their opening: whoever is first, nothing survives.

use std::time::Duration;

use lab::{Behaviour, Capture, Draft, Lab, Over, Tunnel};
use policy_sync::Target;

const ROUNDS: u64 = 40;
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_survives_a_revocation_that_races_its_opening() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut builder = Lab::builder();
    for round in 0..ROUNDS {
        builder = builder.manifest(Draft::of(&format!("device-{round}")).raw(&origin.destination()));
    }
    let lab = builder.start().await;
    for round in 0..ROUNDS {
        let device = lab.device(&format!("device-{round}"));
        let opening: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (device, destination) = (device.clone(), origin.destination());
                let over = if number % 2 == 0 { Over::Http1 } else { Over::Http2 };
                tokio::spawn(async move { device.connect_over(over, &destination).await })
            })
            .collect();
        // From before the handshakes to behind the openings, a little later in each round.
        tokio::time::sleep(Duration::from_micros(round * 500)).await;
        lab.revoke(Target::Device(format!("device-{round}").parse().expect("an id"))).await;
        for task in opening {
            if let Ok(Ok(tunnel)) = task.await.expect("no panic") {
                assert!(is_dead(tunnel).await, "a session of round {round} survived its revocation");
            }
        }
        assert!(!matches!(device.connect(&origin.destination()).await, Ok(Ok(_))), "round {round}");
    }
    lab.live(0).await;
    assert_eq!(origin.total(), 0, "not one byte of them reached the origin");
}

/// Nothing comes back on what was sent behind the revocation.
async fn is_dead(mut tunnel: Tunnel) -> bool {
    let _ = tunnel.send(b"behind the revocation").await;
    tunnel.rest().await.0.is_empty()
}
