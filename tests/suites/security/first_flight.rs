//! The first bytes of a tunnel: the TLS name inside is the destination outside, or nothing goes upstream.

use std::time::Duration;

use lab::hello::{anonymous_client_hello, client_hello, in_records_of};
use lab::wait::never_for;
use lab::{Behaviour, Capture, Draft, End, Lab, Over};
use serde_json::json;

async fn lab(origin: &Capture, tls: &str) -> Lab {
    Lab::builder()
        .settings(|settings| {
            settings.set("deadlines.first_flight", "500ms");
        })
        .manifest(Draft::of("device-1").allow(json!({"host": origin.destination(), "tls": tls})))
        .start()
        .await
}

#[tokio::test]
async fn what_does_not_name_the_destination_never_reaches_it() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = lab(&origin, "sni").await;
    let mut broken = client_hello("origin.test");
    broken[5 + 4 + 2 + 32] = 200;
    let mut two_names = client_hello("origin.test");
    two_names.extend(client_hello("other.test"));
    let table: [(&str, Vec<u8>, &str); 8] = [
        ("another name", client_hello("other.test"), "sni_mismatch"),
        ("a name below", client_hello("a.origin.test"), "sni_mismatch"),
        ("a name above", client_hello("test"), "sni_mismatch"),
        ("no name", anonymous_client_hello(), "sni_missing"),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n".to_vec(), "not_tls"),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "not_tls"),
        (
            "an SSLv2 hello",
            b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10".to_vec(),
            "client_hello_malformed",
        ),
        ("a broken hello", broken, "client_hello_malformed"),
    ];
    for (what, bytes, reason) in table {
        for over in Over::BOTH {
            let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
            let before = lab.events().endings(reason).len();
            let _ = tunnel.send(&bytes).await;
            assert_eq!(tunnel.rest().await, (Vec::new(), End::Broken), "{what} over {over:?}");
            lab::eventually(lab::wait::PATIENCE, &format!("{what} ends by {reason}"), async || {
                (lab.events().endings(reason).len() > before).then_some(())
            })
            .await;
        }
    }
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn the_right_name_passes_however_it_is_cut() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = lab(&origin, "sni").await;
    let hello = client_hello("origin.test");
    let variants = [
        ("whole", vec![hello.clone()]),
        ("upper case", vec![client_hello("ORIGIN.test")]),
        ("byte by byte", hello.iter().map(|byte| vec![*byte]).collect()),
        ("records of 1", vec![in_records_of(&hello, 1)]),
        ("records of 7", vec![in_records_of(&hello, 7)]),
        ("cut inside the record header", vec![hello[..3].to_vec(), hello[3..].to_vec()]),
        ("with bytes behind", vec![[hello.clone(), b"and more".to_vec()].concat()]),
    ];
    for (number, (what, writes)) in variants.into_iter().enumerate() {
        let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
        for write in &writes {
            tunnel.send(write).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        }
        let all = writes.concat();
        let incoming = origin.connection(number).await;
        incoming.reaches(all.len() as u64).await;
        assert_eq!(incoming.bytes(), all, "{what}: unchanged");
        drop(tunnel);
        incoming.ended().await;
    }
}

#[tokio::test]
async fn a_hello_that_never_ends_or_never_comes_is_given_up() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = lab(&origin, "sni").await;
    let hello = client_hello("origin.test");
    for (what, bytes) in [("nothing", &hello[..0]), ("half a hello", &hello[..hello.len() / 2])] {
        let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
        if !bytes.is_empty() {
            tunnel.send(bytes).await.expect("sent");
        }
        assert_eq!(tunnel.rest().await, (Vec::new(), End::Broken), "{what}");
    }
    lab.endings(2).await;
    assert_eq!(lab.events().endings("first_flight_timeout").len(), 2);
    let mut endless = b"\x16\x03\x01\x40\x00\x01\x00\xff\xfb\x03\x03".to_vec();
    endless.extend(vec![0; 40_000]);
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let _ = tunnel.send(&endless).await;
    assert_eq!(tunnel.rest().await.1, End::Broken);
    lab.ending("client_hello_malformed").await;
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn a_trickled_hello_reaches_nobody_before_its_verdict() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = lab(&origin, "sni").await;
    let hello = client_hello("other.test");
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let (most, last) = hello.split_at(hello.len() - 1);
    tunnel.send(most).await.expect("sent");
    never_for(Duration::from_millis(150), "bytes reach the origin", async || {
        (origin.total() > 0).then_some(())
    })
    .await;
    let _ = tunnel.send(last).await;
    lab.ending("sni_mismatch").await;
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn where_tls_is_optional_it_still_has_to_name_the_destination() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = lab(&origin, "optional").await;
    let device = lab.device("device-1");
    device.tunnel(&origin.destination()).await.echoes(b"plain text").await;
    device.tunnel(&origin.destination()).await.echoes(&client_hello("origin.test")).await;
    let mut fronted = device.tunnel(&origin.destination()).await;
    let _ = fronted.send(&client_hello("other.test")).await;
    assert_eq!(fronted.rest().await.1, End::Broken);
    lab.ending("sni_mismatch").await;
    let mut silent = device.tunnel(&origin.destination()).await;
    drop(silent.finish().await);
}

#[tokio::test]
async fn on_443_the_name_is_checked_without_being_asked_for() {
    // A listener on 443 needs root; the default is visible without one, in what `explain` says.
    let lab = Lab::with(Draft::of("device-1").allow("origin.test:443").allow("origin.test:8443")).await;
    for (port, tls) in [(443, "sni"), (8443, "optional")] {
        let destination = format!("origin.test:{port}");
        let said = lab.command(&[
            "explain",
            "--config",
            "gateway.toml",
            "--output",
            "json",
            "--device",
            "device-1",
            &destination,
        ]);
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        assert_eq!(said["tls"], tls, "{said}");
    }
}

#[tokio::test]
async fn an_origin_that_speaks_first_is_heard_where_the_rule_permits_raw_bytes() {
    let origin = Capture::start(Behaviour::Greet(b"SSH-2.0-origin\r\n".to_vec())).await;
    for (tls, heard) in [("none", true), ("optional", true)] {
        let lab = lab(&origin, tls).await;
        let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
        if heard {
            assert_eq!(tunnel.exactly(16).await.expect("the greeting"), b"SSH-2.0-origin\r\n", "{tls}");
        }
    }
}
