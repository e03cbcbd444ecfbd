//! SIGTERM: no new sessions, the old ones go on until they end or the deadline does, revocation works throughout.

use std::time::Duration;

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab};
use policy_sync::Target;
use rustix::process::Signal;

async fn draining(seconds: &str) -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("deadlines.drain", seconds);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    (origin, lab)
}

#[tokio::test]
async fn open_sessions_finish_and_then_the_gateway_ends() {
    let (origin, mut lab) = draining("30s").await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut stream = connection.connect(&origin.destination()).await.expect("an answer").expect("allowed");
    stream.echoes(b"before").await;
    lab.gateway().signal(Signal::TERM);
    lab.event("draining", |event| event["event_type"] == "system.draining").await;
    tunnel.echoes(b"goes on").await;
    stream.echoes(b"goes on").await;
    eventually(PATIENCE, "not ready any more", async || {
        lab.try_admin("/readyz").await.map_or(true, |answer| answer.status != 200).then_some(())
    })
    .await;
    if let Ok(Err(refused)) = lab.device("device-1").connect(&origin.destination()).await {
        assert_eq!((refused.status, refused.reason().as_str()), (503, "draining"));
    }
    assert!(!matches!(connection.connect(&origin.destination()).await, Ok(Ok(_))), "no new streams");
    tunnel.finish().await.expect("finished");
    assert_eq!(tunnel.rest().await.1, End::Finished);
    stream.finish().await.expect("finished");
    assert_eq!(stream.rest().await.1, End::Finished);
    drop((tunnel, stream, connection));
    let status = lab.gateway_mut().ended(PATIENCE).await;
    assert!(status.success(), "{status:?}");
    assert_eq!(lab.events().of("agent.session_ended").len(), 2);
    assert!(!lab.events().of("system.stopping").is_empty());
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_cut() {
    let (origin, mut lab) = draining("1s").await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"before").await;
    lab.gateway().signal(Signal::TERM);
    assert_eq!(tunnel.rest().await.1, End::Broken);
    let status = lab.gateway_mut().ended(Duration::from_secs(10)).await;
    assert!(status.success(), "{status:?}");
    assert_eq!(lab.events().endings("draining").len(), 1);
}

#[tokio::test]
async fn revocation_works_while_draining() {
    let (origin, lab) = draining("30s").await;
    let mut cut = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut kept = lab.device("device-2").tunnel(&origin.destination()).await;
    cut.echoes(b"before").await;
    lab.gateway().signal(Signal::TERM);
    lab.event("draining", |event| event["event_type"] == "system.draining").await;
    lab.policy.revoke(Target::Device("device-1".parse().expect("an id")));
    assert_eq!(cut.rest().await.1, End::Broken);
    lab.ending("device_revoked").await;
    kept.echoes(b"goes on").await;
}

#[tokio::test]
async fn the_service_manager_is_told_what_the_gateway_is_doing() {
    let mut socket = None;
    let (mut lab, outcome) = Lab::builder()
        .manifest(Draft::of("device-1"))
        .try_start(|dir| {
            socket = Some(std::os::unix::net::UnixDatagram::bind(dir.join("notify.sock")).expect("a socket"));
        })
        .await;
    outcome.unwrap_or_else(|status| panic!("{status:?}\n{}", lab.log()));
    let socket = socket.expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a bound");
    let told = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let count = socket.recv(&mut buffer).unwrap_or_else(|fault| panic!("{wanted}: {fault}"));
            if String::from_utf8_lossy(&buffer[..count]).contains(wanted) {
                return;
            }
        }
    };
    told("READY=1");
    assert!(lab.hang_up().await);
    told("RELOADING=1");
    told("READY=1");
    lab.gateway().signal(Signal::TERM);
    told("STOPPING=1");
    assert!(lab.gateway_mut().ended(PATIENCE).await.success());
}
