//! CONNECT over every HTTP version and address family.

use lab::device::connect_head;
use lab::origin::tunnelled;
use lab::{Behaviour, Capture, Draft, End, Lab, Over, TlsOrigin, Tunnel};

#[tokio::test]
async fn a_listed_destination_is_reached_and_bytes_go_both_ways() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    for over in Over::BOTH {
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        tunnel.echoes(b"ping").await;
        tunnel.echoes(&vec![7; 300_000]).await;
    }
    assert_eq!(origin.total(), 2 * 300_004);
}

#[tokio::test]
async fn tls_to_the_origin_goes_through_untouched() {
    let origin = TlsOrigin::start().await;
    let entry = serde_json::json!({"host": origin.destination(), "tls": "sni"});
    let lab = Lab::with(Draft::of("device-1").allow(entry)).await;
    let device = lab.device("device-1");
    let Tunnel::Http1(wire) = device.tunnel(&origin.destination()).await else { unreachable!() };
    let mut inside = tunnelled(wire, "origin.test", origin.roots()).await.expect("TLS through the tunnel");
    let answer = inside.ask("GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
}

#[tokio::test]
async fn connect_is_served_over_http_1_0_as_python_sends_it() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut wire = lab.device("device-1").wire().await;
    let answer =
        wire.ask(format!("CONNECT {} HTTP/1.0\r\n\r\n", origin.destination())).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-length"), None, "a tunnel has no length");
    assert_eq!(answer.field("transfer-encoding"), None);
    Tunnel::Http1(wire).echoes(b"over 1.0").await;
}

#[tokio::test]
async fn bytes_sent_with_the_head_are_held_and_arrive_first() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut wire = lab.device("device-1").wire().await;
    let head = connect_head(&origin.destination(), "");
    wire.send(format!("{head}early bird")).await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    let mut tunnel = Tunnel::Http1(wire);
    assert_eq!(tunnel.exactly(10).await.expect("the echo"), b"early bird");
    tunnel.echoes(b"and the rest").await;
    assert_eq!(origin.connection(0).await.bytes(), b"early birdand the rest");
}

#[tokio::test]
async fn a_direction_that_ends_leaves_the_other_one_open() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::GreetAndFinish(b"all there is".to_vec())).await;
        let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        assert_eq!(tunnel.rest().await, (b"all there is".to_vec(), End::Finished), "{over:?}");
        tunnel.send(b"still talking").await.expect("the other direction is open");
        tunnel.finish().await.expect("the other direction ends");
        let connection = origin.connection(0).await;
        assert_eq!(connection.ended().await, End::Finished, "{over:?}");
        assert_eq!(connection.bytes(), b"still talking");
        let ending = &lab.endings(1).await[0];
        assert_eq!((&ending["upload_bytes"], &ending["download_bytes"]), (&13.into(), &12.into()));
    }
}

#[tokio::test]
async fn what_the_device_finishes_is_delivered_whole_before_the_end() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        let text = vec![3; 100_000];
        tunnel.send(&text).await.expect("sent");
        tunnel.finish().await.expect("finished");
        assert_eq!(tunnel.rest().await, (text, End::Finished), "{over:?}");
        assert_eq!(origin.connection(0).await.ended().await, End::Finished);
    }
}

#[tokio::test]
async fn an_origin_that_resets_is_not_taken_for_one_that_finished() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Reset).await;
        let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        tunnel.send(b"hello?").await.expect("sent");
        assert_eq!(tunnel.rest().await.1, End::Broken, "{over:?}");
        assert_eq!(lab.endings(1).await[0]["reason"], "upstream_fault");
    }
}

#[tokio::test]
async fn ipv6_destinations_and_listeners_work_by_name_and_by_literal() {
    let origin = Capture::start_v6(Behaviour::Echo).await;
    let port = origin.address().port();
    let by_literal = format!("[::1]:{port}");
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.device", vec!["127.0.0.1:0", "[::1]:0"]);
        })
        .manifest(Draft::of("device-1").raw(&origin.at("origin6.test")).raw(&by_literal))
        .start()
        .await;
    let mut device = lab.device("device-1");
    device.tunnel(&origin.at("origin6.test")).await.echoes(b"by name").await;
    device.gateway = lab.gateway().addresses.device[1];
    assert!(device.gateway.is_ipv6());
    device.tunnel(&origin.at("origin6.test")).await.echoes(b"through the other listener").await;
    device.tunnel(&by_literal).await.echoes(b"by literal").await;
}

#[tokio::test]
async fn a_name_with_a_dead_address_is_reached_at_its_other_one() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.at("both.test"))).await;
    lab.device("device-1").tunnel(&origin.at("both.test")).await.echoes(b"the second one").await;
}

#[tokio::test]
async fn streams_of_one_http2_connection_are_sessions_of_their_own() {
    let origin = Capture::start(Behaviour::Echo).await;
    let destination = origin.destination();
    let lab = Lab::with(Draft::of("device-1").raw(&destination)).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut one = connection.connect(&destination).await.expect("an answer").expect("allowed");
    let refused = connection.connect("elsewhere.test:443").await.expect("an answer").expect_err("refused");
    assert_eq!(refused.reason(), "destination_not_listed");
    let mut two = connection.connect(&destination).await.expect("an answer").expect("allowed");
    one.echoes(b"one").await;
    two.echoes(b"two").await;
    assert_eq!(lab.sessions().await.len(), 2);
    drop(one);
    lab.live(1).await;
    two.echoes(b"still there").await;
}

#[tokio::test]
async fn a_load_balancer_in_a_named_network_says_who_is_behind_it() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.proxy_protocol_from", vec!["127.0.0.0/8"]);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut device = lab.device("device-1");
    device.preamble = proxy_v2([203, 0, 113, 7]);
    device.tunnel(&origin.destination()).await.echoes(b"behind a balancer").await;
    device.preamble = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    assert!(!device.is_admitted().await, "a header without an end is refused");
}

#[tokio::test]
async fn a_proxy_header_from_elsewhere_is_no_tls_and_is_refused() {
    let lab = Lab::with(Draft::of("device-1")).await;
    let mut device = lab.device("device-1");
    assert!(device.is_admitted().await);
    device.preamble = proxy_v2([203, 0, 113, 7]);
    assert!(!device.is_admitted().await);
}

/// A PROXY protocol v2 header for TCP over IPv4.
fn proxy_v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0x20, 0xfb]);
    header
}
