//! Settings that no other suite is about: each has the effect that it promises.

use std::time::Duration;

use lab::device::dial;
use lab::origin::Reply;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, DnsOrigin, Draft, Lab, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_log_has_the_level_and_the_form_that_are_set() {
    for (level, format) in [("info", "json"), ("error", "text")] {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("gateway.log", level);
                settings.set("gateway.log_format", format);
            })
            .manifest(Draft::of("device-1"))
            .start()
            .await;
        lab.device("device-1").anonymous().is_admitted().await;
        let log = lab.log();
        if level == "error" {
            assert!(!log.contains("INFO") && !log.contains("WARN"), "{log}");
            continue;
        }
        assert!(log.lines().count() > 0);
        for line in log.lines() {
            let entry: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"));
            assert!(entry.is_object());
        }
    }
}

#[tokio::test]
async fn as_many_threads_carry_sessions_as_are_set() {
    let mut threads = Vec::new();
    for workers in [1, 5] {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("gateway.workers", workers);
            })
            .manifest(Draft::of("device-1"))
            .start()
            .await;
        let tasks = format!("/proc/{}/task", lab.gateway().pid().as_raw_nonzero());
        threads.push(std::fs::read_dir(tasks).expect("the process is there").count());
    }
    assert_eq!(threads[1] - threads[0], 4, "{threads:?}");
}

#[tokio::test]
async fn the_admin_address_answers_to_the_names_that_are_set() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.admin_names", vec!["gateway.internal.example"]);
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    for (host, status) in
        [("gateway.internal.example", 200), ("Gateway.Internal.Example:9443", 200), ("other.example", 421)]
    {
        let answer =
            lab.ask_admin(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("an answer");
        assert!(answer.status == status || (status != 200 && answer.status >= 400), "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn an_admin_address_for_everybody_has_to_be_permitted() {
    for (exposed, starts) in [(false, false), (true, true)] {
        let (lab, outcome) = Lab::builder()
            .settings(|settings| {
                settings.set("listen.admin", "0.0.0.0:0");
                settings.set("listen.admin_exposed", exposed);
            })
            .manifest(Draft::of("device-1"))
            .unready()
            .try_start(|_| ())
            .await;
        assert_eq!(outcome.is_ok(), starts, "{}", lab.log());
    }
}

#[tokio::test]
async fn sessions_are_limited_over_all_devices_together() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.sessions", 2);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let one = lab.device("device-1").tunnel(&origin.destination()).await;
    let _two = lab.device("device-2").tunnel(&origin.destination()).await;
    let refused = lab.device("device-2").refusal(&origin.destination()).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    drop(one);
    lab.live(1).await;
    lab.device("device-2").tunnel(&origin.destination()).await.echoes(b"room").await;
}

#[tokio::test]
async fn handshakes_under_way_are_limited() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.handshakes", 2);
            settings.set("deadlines.handshake", "1s");
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    let address = lab.gateway().addresses.device[0];
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut tcp = dial(address).await.expect("a connection");
        tcp.write_all(&lab::hello::client_hello("localhost")).await.expect("sent");
        // The gateway's answer shows that the handshake is under way.
        lab::promptly("the handshake is under way", tcp.read_u8()).await.expect("an answer");
        stalled.push(tcp);
    }
    let device = lab.device("device-1");
    let third = tokio::time::timeout(Duration::from_millis(300), device.is_admitted()).await;
    assert!(!matches!(third, Ok(true)), "the third waits");
    eventually(PATIENCE, "once the stalled ones are given up there is room", async || {
        device.is_admitted().await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_so_many_addresses_of_a_name_are_looked_at() {
    let origin = Capture::start(Behaviour::Echo).await;
    for (most, reached) in [(1, false), (2, true)] {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("dns.max_addresses", most);
                settings.host("many.test", &["127.0.0.77", "127.0.0.1"]);
            })
            .manifest(Draft::of("device-1").raw(&origin.at("many.test")))
            .start()
            .await;
        let outcome = lab.device("device-1").connect(&origin.at("many.test")).await.expect("an answer");
        assert_eq!(outcome.is_ok(), reached, "{most}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_remembered_for_as_long_as_is_set() {
    let dns = DnsOrigin::start().await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("dns.servers", vec![dns.address().to_string()]);
            settings.set("dns.negative_ttl", "1s");
        })
        .manifest(Draft::of("device-1").raw("late.test:443"))
        .start()
        .await;
    let device = lab.device("device-1");
    assert_eq!(device.refusal("late.test:443").await.reason(), "dns_refused");
    let asked = dns.asked().len();
    assert_eq!(device.refusal("late.test:443").await.reason(), "dns_refused");
    assert_eq!(dns.asked().len(), asked, "remembered");
    dns.tell("late.test", &[Reply::Addresses(vec!["127.0.0.1".parse().expect("an address")])]);
    eventually(PATIENCE, "it is asked for again", async || {
        (device.refusal("late.test:443").await.reason() == "connection_refused").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_list_with_too_many_entries_is_not_loaded() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("trust.crl_max_entries", 2);
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    for number in 0..3 {
        lab.pki.revoke(&lab.pki.device(&format!("filler-{number}")));
    }
    lab.policy.crl(&lab.pki.crl());
    lab.happened("control.crl_refused", 1).await;
}

#[tokio::test]
async fn the_pac_file_is_served_over_tls_where_it_has_a_certificate() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.pac", "127.0.0.1:0");
            settings.set("listen.pac_proxy", "gateway.example.com:8443");
            settings.set("tls.pac_certificate", "gateway.pem");
            settings.set("tls.pac_key", "gateway.key");
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    let mut visitor = lab.device("device-1").anonymous();
    visitor.gateway = lab.gateway().addresses.pac.expect("a PAC listener");
    let stream = visitor.handshake(&["http/1.1"]).await.expect("no certificate is asked for");
    let head = format!("GET /proxy.pac HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", visitor.gateway);
    let answer = Wire::new(stream).ask(head).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let connect = visitor.handshake(&["http/1.1"]).await.expect("a handshake");
    let answer = Wire::new(connect).ask("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n").await;
    assert!(!answer.is_ok_and(|answer| answer.status == 200), "it is no proxy");
}
