//! One revocation, whatever the session is doing: it ends at once, and nothing more reaches the origin.

use std::time::Duration;

use lab::hello::client_hello;
use lab::origin::Reply;
use lab::wait::{PATIENCE, eventually, never_for};
use lab::{Behaviour, Capture, Device, DnsOrigin, Draft, End, HttpOrigin, Lab, Over, Unanswering};
use policy_sync::Target;
use serde_json::json;

fn device_1() -> Target {
    Target::Device("device-1".parse().expect("an id"))
}

/// A lab with a device to be revoked and one that is not, both allowed to reach everything listed.
async fn lab_for(entries: &[serde_json::Value], dns: Option<&DnsOrigin>) -> Lab {
    let draft = |device| entries.iter().fold(Draft::of(device), |draft, entry| draft.allow(entry.clone()));
    Lab::builder()
        .settings(|settings| {
            if let Some(dns) = dns {
                settings.set("dns.servers", vec![dns.address().to_string()]);
                settings.set("deadlines.dns", "20s");
            }
            settings.set("deadlines.first_flight", "20s");
            settings.set("deadlines.dial", "20s");
        })
        .manifest(draft("device-1"))
        .manifest(draft("device-2"))
        .start()
        .await
}

fn raw(destination: &str) -> serde_json::Value {
    json!({"host": destination, "tls": "none"})
}

/// Revokes device-1 and checks what holds in every state: it is shut out, device-2 is not.
async fn revoke(lab: &Lab, origin: &Capture) {
    let bystander = lab.device("device-2");
    let mut untouched = bystander.tunnel(&origin.destination()).await;
    untouched.echoes(b"before").await;
    lab.revoke(device_1()).await;
    untouched.echoes(b"after").await;
    assert!(is_shut_out(&lab.device("device-1"), &origin.destination()).await);
}

async fn is_shut_out(device: &Device, destination: &str) -> bool {
    !matches!(device.connect(destination).await, Ok(Ok(_)))
}

#[tokio::test]
async fn an_idle_session_is_cut() {
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = lab_for(&[raw(&origin.destination())], None).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
        tunnel.echoes(b"idle from now on").await;
        revoke(&lab, &origin).await;
        assert_eq!(tunnel.rest().await.1, End::Broken, "{over:?}");
        assert_eq!(origin.connection(0).await.ended().await, End::Broken, "a reset, not an ordinary end");
        assert_eq!(lab.ending("device_revoked").await["decision"], "terminated");
    }
}

#[tokio::test]
async fn an_idle_connection_without_a_session_is_closed() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab_for(&[raw(&origin.destination())], None).await;
    let mut http1 = lab.device("device-1").wire().await;
    let http2 = lab.device("device-1").http2().await;
    revoke(&lab, &origin).await;
    let (_, _) = http1.rest().await;
    eventually(PATIENCE, "the HTTP/2 connection is closed", async || http2.ending()).await;
}

#[tokio::test]
async fn a_half_closed_session_is_cut_in_either_direction() {
    for over in Over::BOTH {
        let sink = Capture::start(Behaviour::Hold).await;
        let finished = Capture::start(Behaviour::GreetAndFinish(b"bye".to_vec())).await;
        let origin = Capture::start(Behaviour::Echo).await;
        let all = [raw(&sink.destination()), raw(&finished.destination()), raw(&origin.destination())];
        let lab = lab_for(&all, None).await;
        let device = lab.device("device-1");
        let mut by_device = device.tunnel_over(over, &sink.destination()).await;
        by_device.send(b"that was all").await.expect("sent");
        by_device.finish().await.expect("finished");
        assert_eq!(sink.connection(0).await.ended().await, End::Finished);
        let mut by_origin = device.tunnel_over(over, &finished.destination()).await;
        assert_eq!(by_origin.rest().await, (b"bye".to_vec(), End::Finished));
        assert_eq!(lab.sessions().await.len(), 2);
        revoke(&lab, &origin).await;
        assert_eq!(by_device.rest().await.1, End::Broken, "{over:?}");
        assert_eq!(finished.connection(0).await.ended().await, End::Broken, "{over:?}");
        let _ = by_origin.send(b"too late").await;
        assert_eq!(finished.total(), 0, "{over:?}");
        eventually(PATIENCE, "both are ended by the revocation", async || {
            (lab.events().endings("device_revoked").len() == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_that_waits_for_dns_never_dials() {
    for over in Over::BOTH {
        let dns = DnsOrigin::start().await;
        dns.tell("slow.test", &[Reply::Silence]);
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = lab_for(&[raw(&origin.at("slow.test")), raw(&origin.destination())], Some(&dns)).await;
        let (device, destination) = (lab.device("device-1"), origin.at("slow.test"));
        let waiting =
            tokio::spawn(async move { device.connect_over(over, &destination).await.map(|o| o.map(drop)) });
        eventually(PATIENCE, "the name is asked for", async || (!dns.asked().is_empty()).then_some(())).await;
        revoke(&lab, &origin).await;
        let outcome = lab::promptly("the look-up is abandoned", waiting).await.expect("no panic");
        assert!(!matches!(outcome, Ok(Ok(()))), "{over:?}");
        assert_eq!(origin.connections().len(), 1, "only the bystander's");
    }
}

#[tokio::test]
async fn a_session_that_is_dialling_never_opens() {
    let origin = Capture::start(Behaviour::Echo).await;
    let nowhere = Unanswering::start();
    let destination = nowhere.destination();
    let lab = lab_for(&[raw(&destination), raw(&origin.destination())], None).await;
    let device = lab.device("device-1");
    let dialling =
        tokio::spawn(async move { device.connect(&destination).await.map(|outcome| outcome.map(drop)) });
    eventually(PATIENCE, "the session is dialling", async || {
        lab.sessions().await.iter().any(|session| session["device"] == "device-1").then_some(())
    })
    .await;
    never_for(Duration::from_millis(100), "the dial ends", async || dialling.is_finished().then_some(()))
        .await;
    revoke(&lab, &origin).await;
    let outcome = lab::promptly("the dial is abandoned", dialling).await.expect("no panic");
    assert!(!matches!(outcome, Ok(Ok(()))));
}

#[tokio::test]
async fn a_connection_in_its_handshake_never_becomes_a_session() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab_for(&[raw(&origin.destination())], None).await;
    let device = lab.device("device-1");
    // The device's own handshake stops half way: what it has sent is held back until after the revocation.
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let tcp = lab::device::dial(device.gateway).await.expect("a connection");
    let (mut from_gateway, mut to_gateway) = tcp.into_split();
    let (mut from_device, mut to_device) = tokio::io::split(theirs);
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_gateway, &mut to_device).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut to_device).await;
    });
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut hello = vec![0; 4096];
        let count = from_device.read(&mut hello).await.expect("a hello");
        to_gateway.write_all(&hello[..count]).await.expect("sent");
        let _ = released.await;
        let _ = tokio::io::copy(&mut from_device, &mut to_gateway).await;
    });
    let shaking = {
        let (device, destination) = (device.clone(), origin.destination());
        tokio::spawn(async move {
            let mut wire = lab::Wire::new(device.handshake_over(ours, &["http/1.1"]).await?);
            wire.ask(lab::device::connect_head(&destination, "")).await
        })
    };
    never_for(Duration::from_millis(100), "the handshake ends", async || shaking.is_finished().then_some(()))
        .await;
    revoke(&lab, &origin).await;
    release.send(()).expect("the rest is let go");
    let outcome = shaking.await.expect("no panic");
    assert!(!outcome.is_ok_and(|answer| answer.status == 200));
    assert_eq!(origin.connections().len(), 1, "only the bystander's");
}

#[tokio::test]
async fn a_session_whose_first_flight_is_inspected_sends_nothing() {
    for over in Over::BOTH {
        let tls = Capture::start(Behaviour::Sink).await;
        let origin = Capture::start(Behaviour::Echo).await;
        let entry = json!({"host": tls.destination(), "tls": "sni"});
        let lab = lab_for(&[entry, raw(&origin.destination())], None).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &tls.destination()).await;
        let hello = client_hello("origin.test");
        tunnel.send(&hello[..20]).await.expect("sent");
        revoke(&lab, &origin).await;
        let _ = tunnel.send(&hello[20..]).await;
        assert_eq!(tunnel.rest().await.1, End::Broken, "{over:?}");
        assert_eq!(tls.total(), 0, "{over:?}");
    }
}

#[tokio::test]
async fn a_session_that_is_blocked_on_a_write_delivers_nothing_more() {
    for over in Over::BOTH {
        let deaf = Capture::start(Behaviour::Deaf).await;
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = lab_for(&[raw(&deaf.destination()), raw(&origin.destination())], None).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &deaf.destination()).await;
        let pouring = tokio::spawn(async move {
            tunnel.pour(64 << 20, 64 * 1024).await;
            tunnel
        });
        let blocked = settled(&lab).await;
        assert!(blocked > 0, "the buffers are full");
        revoke(&lab, &origin).await;
        let ending = lab.ending("device_revoked").await;
        assert_eq!(ending["upload_bytes"], blocked, "{over:?}: nothing was written behind the revocation");
        deaf.listen();
        let incoming = deaf.connection(0).await;
        assert_eq!(incoming.ended().await, End::Broken, "{over:?}");
        assert!(incoming.count() <= blocked, "{over:?}: {} of {blocked}", incoming.count());
        pouring.abort();
    }
}

/// Waits until the upload of device-1 has stopped growing, and says where.
async fn settled(lab: &Lab) -> u64 {
    let mut last = (0, 0);
    eventually(PATIENCE, "the upload is blocked", async || {
        let sessions = lab.sessions().await;
        let bytes =
            sessions.iter().find(|session| session["device"] == "device-1")?["upload_bytes"].as_u64()?;
        last = if bytes == last.0 { (bytes, last.1 + 1) } else { (bytes, 0) };
        (bytes > 0 && last.1 > 15).then_some(bytes)
    })
    .await
}

#[tokio::test]
async fn an_upload_at_full_speed_stops_where_the_ending_says() {
    for over in Over::BOTH {
        let sink = Capture::start(Behaviour::Sink).await;
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = lab_for(&[raw(&sink.destination()), raw(&origin.destination())], None).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &sink.destination()).await;
        let pouring = tokio::spawn(async move {
            tunnel.pour(4 << 30, 64 * 1024).await;
        });
        sink.connection(0).await.reaches(5 << 20).await;
        revoke(&lab, &origin).await;
        let said = lab.ending("device_revoked").await["upload_bytes"].as_u64().expect("a number");
        let incoming = sink.connection(0).await;
        assert_eq!(incoming.ended().await, End::Broken, "{over:?}");
        assert!(incoming.count() <= said, "{over:?}: the origin got {} of {said}", incoming.count());
        lab::promptly("the device is told", pouring).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_download_at_full_speed_stops() {
    for over in Over::BOTH {
        let pour = Capture::start(Behaviour::Pour).await;
        let origin = Capture::start(Behaviour::Echo).await;
        let lab = lab_for(&[raw(&pour.destination()), raw(&origin.destination())], None).await;
        let mut tunnel = lab.device("device-1").tunnel_over(over, &pour.destination()).await;
        for _ in 0..100 {
            tunnel.some().await.expect("it flows");
        }
        revoke(&lab, &origin).await;
        assert_eq!(tunnel.rest().await.1, End::Broken, "{over:?}");
        assert_eq!(pour.connection(0).await.ended().await, End::Broken, "{over:?}");
    }
}

#[tokio::test]
async fn every_stream_of_a_connection_ends_and_then_the_connection() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab_for(&[raw(&origin.destination())], None).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut tunnels = Vec::new();
    for _ in 0..30 {
        let mut tunnel =
            connection.connect(&origin.destination()).await.expect("an answer").expect("allowed");
        tunnel.echoes(b"open").await;
        tunnels.push(tunnel);
    }
    revoke(&lab, &origin).await;
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.rest().await.1, End::Broken);
    }
    eventually(PATIENCE, "the connection is closed", async || connection.ending()).await;
    assert_eq!(lab.endings(30).await.len(), 30);
    assert_eq!(lab.events().endings("device_revoked").len(), 30);
}

#[tokio::test]
async fn a_plain_request_under_way_is_cut_and_its_pooled_connection_with_it() {
    let plain = HttpOrigin::start().await;
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab_for(&[raw(&plain.destination()), raw(&origin.destination())], None).await;
    let mut wire = lab.device("device-1").wire().await;
    wire.send(format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\nfirst half",
        plain.url("/"),
        plain.destination()
    ))
    .await
    .expect("sent");
    eventually(PATIENCE, "the request is under way", async || (plain.bytes() > 50).then_some(())).await;
    revoke(&lab, &origin).await;
    let before = plain.bytes();
    let _ = wire.send([b'x'; 50_000]).await;
    wire.rest().await;
    lab.ending("device_revoked").await;
    assert_eq!(plain.bytes(), before, "nothing behind the revocation");
    assert_eq!(plain.requests().len(), 0);
}

#[tokio::test]
async fn a_websocket_is_cut() {
    let plain = HttpOrigin::start().await;
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab_for(&[raw(&plain.destination()), raw(&origin.destination())], None).await;
    let mut wire = lab.device("device-1").wire().await;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        plain.url("/"),
        plain.destination()
    );
    assert_eq!(wire.ask(head).await.expect("an answer").status, 101);
    wire.send("frame").await.expect("sent");
    assert_eq!(wire.exactly(5).await.expect("the echo"), b"frame");
    revoke(&lab, &origin).await;
    assert_eq!(wire.rest().await.1, End::Broken);
}
