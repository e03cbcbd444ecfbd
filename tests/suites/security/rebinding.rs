//! DNS: one look-up, screened, and exactly its addresses dialled.

use std::time::Duration;

use lab::origin::Reply;
use lab::{Behaviour, Capture, DnsOrigin, Draft, Lab};

async fn lab(dns: &DnsOrigin, internal: &[&str], draft: Draft) -> Lab {
    let internal: Vec<String> = internal.iter().map(ToString::to_string).collect();
    Lab::builder()
        .settings(|settings| {
            settings.set("dns.servers", vec![dns.address().to_string()]);
            settings.set("destinations.internal", internal);
        })
        .manifest(draft)
        .start()
        .await
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn a_name_that_turns_to_loopback_after_the_look_up_is_refused() {
    let dns = DnsOrigin::start().await;
    let origin = Capture::start(Behaviour::Echo).await;
    // 127.0.0.2 is internal here and stands for the good address; 127.0.0.1 is not.
    let destination = origin.at("rebind.example.com");
    dns.tell(
        "rebind.example.com",
        &[Reply::Addresses(vec![ip("127.0.0.2")]), Reply::Addresses(vec![ip("127.0.0.1")])],
    );
    let lab = lab(&dns, &["127.0.0.2/32"], Draft::of("device-1").raw(&destination)).await;
    let device = lab.device("device-1");
    for _ in 0..4 {
        if let Err(refused) = device.connect(&destination).await.expect("an answer") {
            assert!(["connection_refused", "address_prohibited"].contains(&refused.reason().as_str()));
        }
    }
    assert_eq!(
        origin.connections().len(),
        0,
        "the origin listens on 127.0.0.1 only, which was never dialled"
    );
}

#[tokio::test]
async fn an_alias_counts_by_where_it_ends() {
    let dns = DnsOrigin::start().await;
    dns.tell("alias.example.com", &[Reply::Alias("metadata.internal".into(), vec![ip("169.254.169.254")])]);
    let lab = lab(&dns, &["127.0.0.0/8"], Draft::of("device-1").raw("alias.example.com:80")).await;
    let refused = lab.device("device-1").refusal("alias.example.com:80").await;
    assert_eq!(refused.reason(), "address_prohibited");
}

#[tokio::test]
async fn an_internal_ipv6_address_beside_a_public_ipv4_one_is_never_dialled() {
    let dns = DnsOrigin::start().await;
    let origin = Capture::start_v6(Behaviour::Echo).await;
    let destination = origin.at("both.example.com");
    dns.tell("both.example.com", &[Reply::Addresses(vec![ip("::1"), ip("127.0.0.1")])]);
    let lab = lab(&dns, &["127.0.0.1/32"], Draft::of("device-1").raw(&destination)).await;
    lab.device("device-1").refusal(&destination).await;
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn what_dns_says_is_answered_as_such() {
    let dns = DnsOrigin::start().await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("dns.servers", vec![dns.address().to_string()]);
            settings.set("deadlines.dns", "300ms");
        })
        .manifest(Draft::of("device-1").raw("*.example.com:443"))
        .start()
        .await;
    dns.tell("silent.example.com", &[Reply::Silence]);
    dns.tell("failing.example.com", &[Reply::Failed]);
    dns.tell("empty.example.com", &[Reply::Addresses(vec![])]);
    for (name, status, reasons) in [
        ("gone.example.com", 502, &["dns_refused"][..]),
        ("silent.example.com", 504, &["dns_timeout"]),
        ("failing.example.com", 502, &["dns_failed"]),
        ("empty.example.com", 502, &["dns_refused", "dns_failed"]),
    ] {
        let refused = lab.device("device-1").refusal(&format!("{name}:443")).await;
        assert!(reasons.contains(&refused.reason().as_str()), "{name}: {refused:?}");
        assert_eq!(refused.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_remembered_and_look_ups_under_way_are_shared() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns, &["127.0.0.0/8"], Draft::of("device-1").raw("*.example.com:443")).await;
    let device = lab.device("device-1");
    for _ in 0..20 {
        device.refusal("gone.example.com:443").await;
    }
    assert!(dns.asked().len() <= 4, "{:?}", dns.asked());
    dns.tell("slow.example.com", &[Reply::Silence]);
    let before = dns.asked().len();
    let asking = (0..20).map(|_| {
        let device = device.clone();
        tokio::spawn(async move { device.refusal("slow.example.com:443").await.reason() })
    });
    for task in asking.collect::<Vec<_>>() {
        assert_eq!(task.await.expect("no panic"), "dns_timeout");
    }
    assert!(dns.asked().len() - before <= 12, "one look-up (and its retries) for all: {:?}", dns.asked());
}

#[tokio::test]
async fn asked_names_are_absolute_and_lower_case() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns, &["127.0.0.0/8"], Draft::of("device-1").raw("upper.example.com:443")).await;
    lab.device("device-1").refusal("UPPER.Example.COM.:443").await;
    let asked = dns.asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|name| name == "upper.example.com"), "{asked:?}");
}

#[tokio::test]
async fn a_resolver_that_hangs_holds_only_those_who_wait_for_it() {
    let dns = DnsOrigin::start().await;
    let origin = Capture::start(Behaviour::Echo).await;
    dns.tell("silent.example.com", &[Reply::Silence]);
    let draft = Draft::of("device-1").raw("silent.example.com:443").raw(&origin.destination());
    let lab = lab(&dns, &["127.0.0.0/8"], draft).await;
    let device = lab.device("device-1");
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let device = device.clone();
            tokio::spawn(async move { device.refusal("silent.example.com:443").await.reason() })
        })
        .collect();
    let begun = std::time::Instant::now();
    device.tunnel(&origin.destination()).await.echoes(b"not held up").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    for task in waiting {
        assert_eq!(task.await.expect("no panic"), "dns_timeout");
    }
}
