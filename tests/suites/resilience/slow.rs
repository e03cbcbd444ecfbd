//! Slow devices by the hundred, origins that never read: they cost themselves, not the others, and end by a deadline.

use std::time::Duration;

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab, Over, Unanswering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn setup(change: impl FnOnce(&mut lab::settings::Settings)) -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(change)
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    (origin, lab)
}

#[tokio::test]
async fn connections_that_say_nothing_or_next_to_nothing_end_by_the_handshake_deadline() {
    let (origin, lab) = setup(|settings| {
        settings.set("deadlines.handshake", "1s");
    })
    .await;
    let mut open = lab.device("device-1").tunnel(&origin.destination()).await;
    let address = lab.gateway().addresses.device[0];
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut tcp = lab::device::dial(address).await.expect("a connection");
        if number % 2 == 0 {
            tcp.write_all(b"\x16\x03\x01").await.expect("sent");
        }
        silent.push(tcp);
    }
    open.echoes(b"others go on").await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"and so do new ones").await;
    for mut tcp in silent {
        let mut buffer = [0; 64];
        let end = lab::promptly("the gateway gives up", async {
            loop {
                match tcp.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        });
        end.await;
    }
    assert!(lab.gateway().resident() < 300 << 20);
}

#[tokio::test]
async fn a_trickled_head_ends_by_its_deadline_however_busy_it_looks() {
    let (_origin, lab) = setup(|settings| {
        settings.set("deadlines.head", "1s");
    })
    .await;
    let mut wire = lab.device("device-1").wire().await;
    let trickle = b"CONNECT origin.test:443 HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    let begun = std::time::Instant::now();
    for byte in trickle {
        if wire.send([*byte]).await.is_err() || begun.elapsed() > Duration::from_secs(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = wire.answer().await;
    assert!(answer.map_or(true, |answer| answer.status == 408));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_origin_that_never_reads_holds_up_only_its_own_sessions() {
    let deaf = Capture::start(Behaviour::Deaf).await;
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = Draft::of("device-1").raw(&deaf.destination()).raw(&origin.destination());
    let lab = Lab::with(draft).await;
    let device = lab.device("device-1");
    let mut connection = device.http2().await;
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut tunnel = connection.connect(&deaf.destination()).await.expect("an answer").expect("allowed");
        stuck.push(tokio::spawn(async move { tunnel.pour(4 << 20, 16_384).await }));
    }
    let mut tunnel = device.tunnel(&deaf.destination()).await;
    stuck.push(tokio::spawn(async move { tunnel.pour(64 << 20, 65_536).await }));
    let before = lab.gateway().resident();
    let mut other = device.tunnel(&origin.destination()).await;
    for _ in 0..200 {
        other.echoes(&[b'o'; 8_192]).await;
    }
    let grown = lab.gateway().resident().saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn streams_beside_a_stuck_one_flow_on() {
    let deaf = Capture::start(Behaviour::Deaf).await;
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&deaf.destination()).raw(&origin.destination())).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut stuck = connection.connect(&deaf.destination()).await.expect("an answer").expect("allowed");
    let mut flows = connection.connect(&origin.destination()).await.expect("an answer").expect("allowed");
    let pouring = tokio::spawn(async move { stuck.pour(16 << 20, 16_384).await });
    for _ in 0..100 {
        flows.echoes(&[b'f'; 4_096]).await;
    }
    pouring.abort();
}

#[tokio::test]
async fn a_device_that_never_reads_its_download_ends_by_the_idle_deadline() {
    for over in Over::BOTH {
        let pour = Capture::start(Behaviour::Pour).await;
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("deadlines.idle", "1s");
            })
            .manifest(Draft::of("device-1").raw(&pour.destination()))
            .start()
            .await;
        let tunnel = lab.device("device-1").tunnel_over(over, &pour.destination()).await;
        lab.ending("idle_timeout").await;
        assert_eq!(pour.connection(0).await.ended().await, End::Broken, "{over:?}");
        drop(tunnel);
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_the_dial_is_given_up() {
    let (_origin, lab) = setup(|settings| {
        settings.set("deadlines.dial", "500ms");
        settings.set("destinations.internal", vec!["127.0.0.0/8"]);
    })
    .await;
    let nowhere = Unanswering::start();
    let draft = Draft::of("device-1").raw(&nowhere.destination());
    lab.push(&draft).await;
    let refused = lab.device("device-1").refusal(&nowhere.destination()).await;
    assert_eq!((refused.status, refused.reason().as_str()), (504, "connection_timeout"));
    assert_eq!(refused.proxy_error(), Some("connection_timeout"));
}

#[tokio::test]
async fn idle_sessions_hold_no_buffers() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.sessions_per_device", 500);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()).network("sessions", 500))
        .start()
        .await;
    let device = lab.device("device-1");
    let mut tunnels = Vec::new();
    let warm = {
        let mut tunnel = device.tunnel(&origin.destination()).await;
        tunnel.echoes(&[b'w'; 65_536]).await;
        tunnels.push(tunnel);
        lab.gateway().resident()
    };
    for _ in 0..300 {
        let mut tunnel = device.tunnel(&origin.destination()).await;
        tunnel.echoes(&[b'w'; 65_536]).await;
        tunnels.push(tunnel);
    }
    eventually(PATIENCE, "all are live", async || (lab.sessions().await.len() == 301).then_some(())).await;
    let each = lab.gateway().resident().saturating_sub(warm) / 300;
    println!("resident memory of an idle tunnel through which 64 KiB went: {} KiB", each / 1024);
    assert!(each < 96 * 1024, "{each} bytes an idle tunnel");
}
