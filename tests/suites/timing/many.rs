//! A thousand live sessions, half of them idle, revoked by one file: how long until the last byte and the last socket.
//!
//! The bounds here are generous, for a debug build on a busy machine; the measured figures are in SPECIFICATION.md.

use std::time::{Duration, Instant};

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab, Tunnel};
use policy_sync::Target;

const DEVICES: usize = 20;
const EACH: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_end_by_one_file_and_other_devices_go_on() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut builder = Lab::builder().settings(|settings| {
        settings.set("limits.sessions_per_device", 1_000);
    });
    for number in 0..=DEVICES {
        let user = if number == DEVICES { "bob" } else { "alice" };
        let draft = Draft::of(&format!("device-{number}")).user(user).raw(&origin.destination());
        builder = builder.manifest(draft.network("sessions", 1_000));
    }
    let lab = builder.start().await;
    let mut tunnels: Vec<Tunnel> = Vec::new();
    for number in 0..DEVICES {
        let device = lab.device(&format!("device-{number}"));
        if number % 2 == 0 {
            for _ in 0..EACH {
                tunnels.push(device.tunnel(&origin.destination()).await);
            }
        } else {
            let mut connection = device.http2().await;
            for _ in 0..EACH {
                tunnels.push(
                    connection.connect(&origin.destination()).await.expect("an answer").expect("allowed"),
                );
            }
        }
    }
    let mut bystander = lab.device(&format!("device-{DEVICES}")).tunnel(&origin.destination()).await;
    lab.live(DEVICES * EACH + 1).await;
    let busy: Vec<_> = tunnels
        .drain(..DEVICES * EACH / 2)
        .map(|mut tunnel| {
            tokio::spawn(async move {
                while tunnel.send(b"busy").await.is_ok()
                    && tunnel.some().await.is_ok_and(|bytes| !bytes.is_empty())
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let begun = Instant::now();
    lab.policy.revoke(Target::User("alice".parse().expect("a user")));
    let revoked = lab.event("the revocation", |event| event["event_type"] == "control.revoked").await;
    let answered = begun.elapsed();
    let at_answer = origin.total();
    for task in busy {
        lab::promptly("a busy session ends", task).await.expect("no panic");
    }
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.rest().await.1, End::Broken);
    }
    let closed = begun.elapsed();
    bystander.echoes(b"untouched").await;
    assert_eq!(revoked["sessions_cut"], DEVICES * EACH);
    assert!(origin.total() - at_answer <= 64 * 1024, "what was under way at most");
    eventually(PATIENCE, "every ending is written", async || {
        (lab.events().endings("user_revoked").len() == DEVICES * EACH).then_some(())
    })
    .await;
    println!(
        "revocation of {} sessions: applied after {answered:?}, all closed after {closed:?}",
        DEVICES * EACH
    );
    assert!(answered < Duration::from_secs(3), "{answered:?}");
    assert!(closed < Duration::from_secs(6), "{closed:?}");
}
