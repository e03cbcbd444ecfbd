//! Ends that come by themselves: of a manifest, a certificate, a session's life, its idle time.

use std::time::{Duration, Instant};

use lab::{Behaviour, Capture, Draft, End, Lab, Over};

#[tokio::test]
async fn live_sessions_end_within_a_second_of_their_manifest() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = Lab::with(Draft::of("device-2").raw(&origin.destination())).await;
        let mut untouched = lab.device("device-2").tunnel(&origin.destination()).await;
        let draft = Draft::of("device-1").raw(&origin.destination()).ttl(3);
        let issued = jiff::Timestamp::now().as_second();
        lab.policy.push_signed(&draft, issued, lab.policy.author());
        lab.event("accepted", |event| {
            event["event_type"] == "control.manifest_accepted"
                && event["capability_manifest_id"] == "cm-device-1"
        })
        .await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        tunnel.echoes(b"alive").await;
        assert_eq!(tunnel.rest().await.1, End::Broken, "{over:?}");
        let late = jiff::Timestamp::now().as_millisecond() - (issued + 3) * 1_000;
        assert!((-50..1_500).contains(&late), "{over:?}: ended {late} ms after the manifest");
        lab.ending("manifest_expired").await;
        assert_eq!(lab.device("device-1").refusal(&origin.destination()).await.reason(), "manifest_expired");
        untouched.echoes(b"untouched").await;
    }
}

#[tokio::test]
async fn live_sessions_and_idle_connections_end_with_their_certificate() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let ends = Instant::now() + Duration::from_secs(3);
    let device = lab.device_with(lab.pki.device_for("device-1", None, Duration::from_secs(3)));
    let mut tunnel = device.tunnel(&origin.destination()).await;
    let mut connection = device.http2().await;
    let mut stream = connection.connect(&origin.destination()).await.expect("an answer").expect("allowed");
    tunnel.echoes(b"alive").await;
    stream.echoes(b"alive").await;
    assert_eq!(tunnel.rest().await.1, End::Broken);
    assert_eq!(stream.rest().await.1, End::Broken);
    assert!(Instant::now() < ends + Duration::from_secs(2), "within a second, and one for a busy machine");
    assert!(connection.connect(&origin.destination()).await.map_or(true, |outcome| outcome.is_err()));
    lab.ending("certificate_expired").await;
    assert!(!device.is_admitted().await);
}

#[tokio::test]
async fn idle_sessions_end_and_busy_ones_do_not() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("deadlines.idle", "700ms");
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()))
            .start()
            .await;
        let mut idle = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        let mut busy = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        let until = Instant::now() + Duration::from_millis(1_800);
        while Instant::now() < until {
            busy.echoes(b"busy").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(idle.rest().await.1, End::Broken, "{over:?}");
        lab.ending("idle_timeout").await;
        busy.echoes(b"still busy").await;
    }
}

#[tokio::test]
async fn no_session_outlives_the_longest_life() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("deadlines.session", "1s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    for over in Over::BOTH {
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        loop {
            if tunnel.send(b"never idle").await.is_err()
                || tunnel.some().await.is_ok_and(|bytes| bytes.is_empty())
            {
                break;
            }
            if tunnel.some().await.is_err() {
                break;
            }
        }
    }
    lab.endings(2).await;
    assert_eq!(lab.events().endings("session_lifetime").len(), 2);
}
