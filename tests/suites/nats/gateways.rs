//! The gateway's end, and what a gateway's word is worth on a bus that others share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::Message;
use futures_util::StreamExt as _;
use lab::nats::Nats;
use lab::wait::{PATIENCE, never_for};
use lab::{eventually, promptly};
use policy_sync::lease::LeaseRequest;
use policy_sync::transport::nats::{NatsLink, NatsLinkOptions, NatsTransport};
use policy_sync::transport::{Frame, Link, Report, Transport};
use policy_sync::{PayloadType, Role};

use super::setup::{Noting, Ring, key};

/// A gateway that follows, and what it hears.
struct Follower {
    link: Arc<NatsLink>,
    heard: Arc<Mutex<Vec<(Frame, Instant)>>>,
    following: tokio::task::JoinHandle<String>,
}

impl Follower {
    fn start(link: Arc<NatsLink>) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let following = tokio::spawn({
            let (link, heard) = (link.clone(), heard.clone());
            async move {
                let hello = Report { version: "hello".into(), ..Report::default() };
                let each = Box::new(move |frame| heard.lock().unwrap().push((frame, Instant::now())));
                link.follow(hello, each).await.to_string()
            }
        });
        Self { link, heard, following }
    }

    async fn hears(&self, frame: Frame) -> Instant {
        eventually(PATIENCE, "the frame arrives", async || {
            let heard = self.heard.lock().unwrap();
            heard.iter().find(|(there, _)| *there == frame).map(|(_, at)| *at)
        })
        .await
    }
}

/// A desk and a gateway of whom it knows.
async fn connected(
    nats: &Nats,
    ring: &Arc<Ring>,
) -> (Arc<NatsTransport>, Arc<Noting>, prometheus::IntCounterVec, Follower) {
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let desk = Noting::new();
    let metrics = ring.attend(&transport, desk.clone()).await;
    let follower = Follower::start(ring.link(nats.options(), "gw-1"));
    eventually(PATIENCE, "the gateway says hello", async || desk.reports("gw-1").pop()).await;
    (transport, desk, metrics.refused, follower)
}

fn question(want: u64) -> LeaseRequest {
    LeaseRequest {
        device: "device-1".into(),
        agent: "cowork-v1.0".into(),
        rule: None,
        issued_at: 1,
        account: 5,
        granted: 0,
        returned: 0,
        want,
        closes: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_arrive_in_order_and_reports_come_back() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let (transport, desk, _, gateway) = connected(&nats, &ring).await;
    let frames = [Frame::Hint("1".into()), Frame::Record("2".into()), Frame::Heartbeat("3".into())];
    for frame in frames.clone() {
        transport.broadcast(frame);
    }
    gateway.hears(frames[2].clone()).await;
    let heard: Vec<Frame> = gateway.heard.lock().unwrap().iter().map(|(frame, _)| frame.clone()).collect();
    assert_eq!(heard, frames);
    gateway.link.report(Report { sequence: 41, ..Report::default() });
    let reports = eventually(PATIENCE, "the report arrives", async || {
        Some(desk.reports("gw-1")).filter(|reports| reports.len() == 2)
    })
    .await;
    assert_eq!(reports[1].1.sequence, 41);
    assert_eq!(reports[0].0, reports[1].0, "one connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_feed_is_lost_and_a_silent_gateway_has_left() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let (transport, desk, _, gateway) = connected(&nats, &ring).await;
    let connection = desk.reports("gw-1")[0].0;
    // A heartbeat puts it off.
    transport.broadcast(Frame::Heartbeat("b".into()));
    gateway.hears(Frame::Heartbeat("b".into())).await;
    let fault = promptly("the feed is lost", gateway.following).await.unwrap();
    assert!(fault.contains("no heartbeat"), "{fault}");
    eventually(PATIENCE, "the gateway has left", async || desk.departures().pop()).await;
    assert_eq!(desk.departures(), [("gw-1".to_owned(), connection)]);
    // It comes back as another connection.
    let again = Follower::start(gateway.link);
    let reports = eventually(PATIENCE, "it is back", async || {
        Some(desk.reports("gw-1")).filter(|reports| reports.len() == 2)
    })
    .await;
    assert!(reports[1].0 > connection);
    again.following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_follows_again_when_its_server_comes_back() {
    let Some(mut nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let (transport, desk, _, gateway) = connected(&nats, &ring).await;
    nats.kill();
    let fault = promptly("the connection is lost", gateway.following).await.unwrap();
    assert!(!fault.is_empty());
    let unreachable =
        promptly("there is no server", Follower::start(gateway.link.clone()).following).await.unwrap();
    assert!(unreachable.contains("no connection"), "{unreachable}");
    nats.launch().await;
    let again = Follower::start(gateway.link);
    // The control plane's own connection comes back by itself, with all that it listened to.
    eventually(PATIENCE, "frames arrive again", async || {
        transport.broadcast(Frame::Hint("again".into()));
        let heard = again.heard.lock().unwrap();
        heard.iter().any(|(frame, _)| *frame == Frame::Hint("again".into())).then_some(())
    })
    .await;
    eventually(PATIENCE, "reports arrive again", async || {
        again.link.report(Report { sequence: 9, ..Report::default() });
        desk.reports("gw-1").iter().any(|(_, report)| report.sequence == 9).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_replayed_reports_are_refused_and_counted() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let bus = async_nats::connect(nats.url()).await.unwrap();
    let mut overheard = bus.subscribe("portcullis.report.>").await.unwrap();
    bus.flush().await.unwrap();
    let (transport, desk, refused, gateway) = connected(&nats, &ring).await;
    let hello: Message = promptly("the hello is overheard", overheard.next()).await.unwrap();
    let count = |reason: &str| refused.with_label_values(&[reason]).get();
    let rejected = async |subject: &str, payload: bytes::Bytes, reason: &str| {
        let before = count(reason);
        bus.publish(subject.to_owned(), payload).await.unwrap();
        eventually(PATIENCE, reason, async || (count(reason) > before).then_some(())).await;
    };

    rejected("portcullis.report.gw-1", hello.payload.clone(), "replayed").await;
    // The same word under the name of another gateway, which exists.
    ring.add("gw-2", Role::Gateway);
    rejected("portcullis.report.gw-2", hello.payload.clone(), "misplaced").await;
    rejected("portcullis.report.gw-1", "no envelope".into(), "malformed").await;
    // Keys that nobody knows, that have another role, or that are another gateway's.
    let other = ring.add("gw-3", Role::Gateway);
    for forger in [key("gw-1"), ring.add("author-1", Role::Author), other] {
        let text = format!(
            r#"{{"gateway":"gw-1","connection":9999999999999999,"at_us":{},"report":{{"version":"","revision":0,"epoch":0,"sequence":7,"sessions":0,"age_ms":null,"enforced":[]}}}}"#,
            jiff::Timestamp::now().as_microsecond() + 1_000_000
        );
        let envelope = policy_sync::Envelope::sign(PayloadType::Report, text.into_bytes(), &forger);
        rejected("portcullis.report.gw-1", envelope.to_json().into(), "forged").await;
    }
    assert_eq!(desk.reports("gw-1").len(), 1);
    assert!(desk.reports("gw-2").is_empty());

    // Another control plane has not heard it before, but it is not deceived for longer than the clocks may be apart.
    drop(transport);
    gateway.following.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_report_is_refused_by_a_control_plane_that_has_heard_none() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let desk = Noting::new();
    let metrics = ring.attend(&transport, desk.clone()).await;
    let own = ring.add("gw-1", Role::Gateway);
    let bus = async_nats::connect(nats.url()).await.unwrap();
    for shift in [-31_000_000, 31_000_000] {
        let text = format!(
            r#"{{"gateway":"gw-1","connection":1,"at_us":{},"report":{{"version":"","revision":0,"epoch":0,"sequence":7,"sessions":0,"age_ms":null,"enforced":[]}}}}"#,
            jiff::Timestamp::now().as_microsecond() + shift
        );
        let envelope = policy_sync::Envelope::sign(PayloadType::Report, text.into_bytes(), &own);
        bus.publish("portcullis.report.gw-1", envelope.to_json().into()).await.unwrap();
    }
    let untimely = metrics.refused.with_label_values(&["untimely"]);
    eventually(PATIENCE, "both are refused", async || (untimely.get() == 2).then_some(())).await;
    assert!(desk.reports("gw-1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_answered_once_by_one_control_plane() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let bus = async_nats::connect(nats.url()).await.unwrap();
    let mut overheard = bus.subscribe("portcullis.lease.>").await.unwrap();
    bus.flush().await.unwrap();
    let (_transport, desk, refused, gateway) = connected(&nats, &ring).await;
    let answer = promptly("the lease is answered", gateway.link.lease(question(100))).await.unwrap();
    assert_eq!((answer.granted, answer.left), (Some(100), Some(7)));
    assert_eq!(desk.leases(), 1);
    // The same question again is nobody's.
    let asked = promptly("the question is overheard", overheard.next()).await.unwrap();
    bus.publish(asked.subject, asked.payload).await.unwrap();
    let replayed = refused.with_label_values(&["replayed"]);
    eventually(PATIENCE, "it is refused", async || (replayed.get() == 1).then_some(())).await;
    assert_eq!(desk.leases(), 1);
    // With a second control plane there is still one answer, and one question asked of one desk.
    let second = NatsTransport::open(&nats.options()).await.unwrap();
    let other = Noting::new();
    ring.attend(&second, other.clone()).await;
    for _ in 0..20 {
        promptly("the lease is answered", gateway.link.lease(question(1))).await.unwrap();
    }
    assert_eq!(desk.leases() + other.leases(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_control_plane_gave_or_gave_before_is_refused() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let bus = async_nats::connect(nats.url()).await.unwrap();
    let link = ring.link(nats.options(), "gw-1");
    let mut questions = bus.subscribe("portcullis.lease.>").await.unwrap();
    bus.flush().await.unwrap();
    let forger = key("control-1");
    let gateway = ring.add("gw-2", Role::Gateway);
    let stale = r#"{"gateway":"gw-1","nonce":"0","answer":{"granted":9,"left":null}}"#;
    let sign = |text: &str, key: &policy_sync::SigningKey| {
        policy_sync::Envelope::sign(PayloadType::Lease, text.as_bytes().to_vec(), key).to_json()
    };
    let wrong =
        [sign(stale, &ring.control), sign(stale, &forger), sign(stale, &gateway), b"nothing".to_vec()];
    for answer in wrong {
        let asking = tokio::spawn({
            let link = link.clone();
            async move { link.lease(question(9)).await }
        });
        let asked = promptly("it asks", questions.next()).await.unwrap();
        bus.publish(asked.reply.unwrap(), answer.into()).await.unwrap();
        let fault = promptly("the answer is judged", asking).await.unwrap().unwrap_err();
        assert!(fault.to_string().contains("refused"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_without_a_connection_go_nowhere() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let desk = Noting::new();
    ring.attend(&transport, desk.clone()).await;
    let link = ring.link(nats.options(), "gw-1");
    link.report(Report::default());
    never_for(Duration::from_millis(300), "a report arrives", async || desk.reports("gw-1").pop()).await;
}

#[test]
fn a_gateway_whose_name_is_no_end_of_a_subject_is_refused() {
    let ring = Ring::new();
    for name in [".gw", "gw.", "g..w"].into_iter().filter(|name| policy_sync::KeyId::new(name).is_some()) {
        let nats = policy_sync::transport::nats::NatsOptions {
            servers: vec!["nats://127.0.0.1:1".into()],
            ca: None,
            identity: None,
            credentials: None,
            prefix: "portcullis".into(),
            monitoring: vec![],
        };
        let options = NatsLinkOptions { nats, report: key(name) };
        assert!(NatsLink::new(options, ring.keys()).is_err(), "{name}");
    }
}

/// Not a verdict but a figure, printed: from the broadcast of a hint to its arrival.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_arrives_within_a_second() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let (transport, _, _, gateway) = connected(&nats, &ring).await;
    let mut spans = Vec::new();
    for number in 0..200 {
        let frame = Frame::Hint(format!("{number:01000}").into());
        let begun = Instant::now();
        transport.broadcast(frame.clone());
        spans.push(gateway.hears(frame).await - begun);
    }
    spans.sort_unstable();
    println!("a hint over NATS: median {:?}, p99 {:?}", spans[100], spans[198]);
    assert!(spans[100] < Duration::from_secs(1));
}
