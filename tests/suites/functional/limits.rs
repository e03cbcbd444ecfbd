//! Upload limits through tunnels: the origin receives exactly the limit, whatever the scope, the protocol, the split.

use lab::{Behaviour, Capture, Draft, End, Lab, Over};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

/// Where a limit stands in the manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scope {
    Session,
    Rule,
    RuleSession,
    Manifest,
}

const SCOPES: [Scope; 4] = [Scope::Session, Scope::Rule, Scope::RuleSession, Scope::Manifest];

fn limited(scope: Scope, limit: u64, destination: &str) -> Draft {
    let draft = Draft::of("device-1");
    match scope {
        Scope::Session => draft.raw(destination).per_session(limit),
        Scope::Manifest => draft.raw(destination).in_all(limit),
        Scope::Rule => draft.allow(json!({"host": destination, "tls": "none", "upload_bytes": limit})),
        Scope::RuleSession => {
            draft.allow(json!({"host": destination, "tls": "none", "upload_bytes_per_session": limit}))
        }
    }
}

#[tokio::test]
async fn the_origin_receives_exactly_the_limit_and_then_both_sides_are_aborted() {
    for scope in SCOPES {
        for over in Over::BOTH {
            for limit in [1, 1_000, 65_536, 1_000_003] {
                exactly_the_limit(scope, over, limit).await;
            }
        }
    }
}

async fn exactly_the_limit(scope: Scope, over: Over, limit: u64) {
    let context = format!("{scope:?} limit of {limit} over {over:?}");
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = Lab::with(limited(scope, limit, &origin.destination())).await;
    let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
    tunnel.pour(limit * 2 + 100_000, 16_000).await;
    let incoming = origin.connection(0).await;
    assert_eq!(incoming.ended().await, End::Broken, "{context}: a truncated upload is never completed");
    assert_eq!(incoming.count(), limit, "{context}");
    assert_eq!(tunnel.rest().await.1, End::Broken, "{context}");
    let ending = lab.ending("upload_limit_exceeded").await;
    assert_eq!(ending["upload_bytes"], limit, "{context}");
    assert_eq!(ending["decision"], "terminated", "{context}");
}

#[tokio::test]
async fn an_upload_that_fits_exactly_completes() {
    for scope in SCOPES {
        for over in Over::BOTH {
            let origin = Capture::start(Behaviour::Echo).await;
            let lab = Lab::with(limited(scope, 70_000, &origin.destination())).await;
            let mut tunnel = lab.device("device-1").tunnel_over(over, &origin.destination()).await;
            tunnel.echoes(&vec![1; 70_000]).await;
            tunnel.finish().await.expect("finished");
            assert_eq!(tunnel.rest().await.1, End::Finished, "{scope:?} over {over:?}");
            assert_eq!(origin.connection(0).await.ended().await, End::Finished);
            assert_eq!(lab.endings(1).await[0]["upload_bytes"], 70_000);
        }
    }
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_through() {
    for scope in SCOPES {
        for over in Over::BOTH {
            let origin = Capture::start(Behaviour::Sink).await;
            let lab = Lab::with(limited(scope, 0, &origin.destination())).await;
            let outcome = lab.device("device-1").connect_over(over, &origin.destination()).await;
            let refused = outcome.expect("an answer").expect_err("nothing is left, so nothing opens");
            assert_eq!(refused.reason(), "upload_budget_spent", "{scope:?} over {over:?}");
            assert_eq!(origin.total(), 0);
        }
    }
}

#[tokio::test]
async fn what_all_sessions_share_is_spent_only_once() {
    for scope in [Scope::Rule, Scope::Manifest] {
        for over in Over::BOTH {
            let origin = Capture::start(Behaviour::Echo).await;
            let lab = Lab::with(limited(scope, 100_000, &origin.destination())).await;
            let device = lab.device("device-1");
            device.tunnel_over(over, &origin.destination()).await.echoes(&vec![1; 60_000]).await;
            let mut second = device.tunnel_over(over, &origin.destination()).await;
            second.pour(60_000, 10_000).await;
            assert_eq!(origin.connection(1).await.ended().await, End::Broken);
            assert_eq!(origin.total(), 100_000, "{scope:?} over {over:?}");
            let third = device.connect_over(over, &origin.destination()).await.expect("an answer");
            assert_eq!(third.expect_err("nothing is left").reason(), "upload_budget_spent");
        }
    }
}

#[tokio::test]
async fn sixty_four_parallel_sessions_get_exactly_the_limit_between_them() {
    const LIMIT: u64 = 1_500_017;
    for over in Over::BOTH {
        let origin = Capture::start(Behaviour::Sink).await;
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("limits.sessions_per_device", 64);
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT).network("sessions", 64))
            .start()
            .await;
        let device = lab.device("device-1");
        let mut tunnels = Vec::new();
        for _ in 0..64 {
            tunnels.push(device.tunnel_over(over, &origin.destination()).await);
        }
        let pouring = tunnels.into_iter().map(|mut tunnel| {
            tokio::spawn(async move {
                tunnel.pour(LIMIT + 1, 7_001).await;
                tunnel.rest().await.1
            })
        });
        for task in pouring.collect::<Vec<_>>() {
            assert_eq!(task.await.expect("no panic"), End::Broken, "{over:?}");
        }
        for incoming in origin.connections() {
            assert_eq!(incoming.ended().await, End::Broken);
        }
        assert_eq!(origin.total(), LIMIT, "{over:?}");
        let said: u64 =
            lab.endings(64).await.iter().filter_map(|ending| ending["upload_bytes"].as_u64()).sum();
        assert_eq!(said, LIMIT, "the events say what the origin saw");
    }
}

#[tokio::test]
async fn streams_of_one_connection_share_the_limit_too() {
    const LIMIT: u64 = 400_001;
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut tunnels = Vec::new();
    for _ in 0..16 {
        tunnels.push(connection.connect(&origin.destination()).await.expect("an answer").expect("allowed"));
    }
    let pouring = tunnels.into_iter().map(|mut tunnel| {
        tokio::spawn(async move {
            tunnel.pour(LIMIT + 1, 3_000).await;
            tunnel.rest().await.1
        })
    });
    for task in pouring.collect::<Vec<_>>() {
        assert_eq!(task.await.expect("no panic"), End::Broken);
    }
    lab.endings(16).await;
    for incoming in origin.connections() {
        incoming.ended().await;
    }
    assert_eq!(origin.total(), LIMIT);
    assert_eq!(connection.ending(), None, "the connection outlives its streams");
}

/// Every way to split an upload into writes: the same bytes arrive, exactly as many as the limit permits.
#[test]
fn no_split_of_writes_changes_what_arrives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (origin, lab) = runtime.block_on(async {
        let origin = Capture::start(Behaviour::Sink).await;
        let draft = Draft::of("device-1").raw(&origin.destination()).per_session(100_000);
        (origin, Lab::with(draft).await)
    });
    let device = lab.device("device-1");
    let splits = prop::collection::vec(prop_oneof![1_usize..64, 1_usize..70_000], 1..12);
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(splits, any::<bool>()), |(writes, second)| {
        runtime.block_on(async {
            let over = if second { Over::Http2 } else { Over::Http1 };
            let before = origin.connections().len();
            let mut tunnel = device.tunnel_over(over, &origin.destination()).await;
            let total: usize = writes.iter().sum();
            let text: Vec<u8> = (0..total).map(|index| u8::try_from(index % 251).expect("small")).collect();
            let mut rest = &text[..];
            for write in writes {
                let (now, later) = rest.split_at(write);
                rest = later;
                if tunnel.send(now).await.is_err() {
                    break;
                }
            }
            let _ = tunnel.finish().await;
            let incoming = origin.connection(before).await;
            let expected = total.min(100_000);
            incoming.reaches(expected as u64).await;
            let end = incoming.ended().await;
            assert_eq!(end, if total > 100_000 { End::Broken } else { End::Finished });
            assert_eq!(incoming.count(), expected as u64);
            assert_eq!(incoming.bytes(), text[..expected]);
        });
        Ok(())
    });
    outcome.unwrap_or_else(|fault| panic!("{fault}"));
    runtime.block_on(async { drop((lab, origin)) });
}

#[tokio::test]
async fn a_manifest_that_says_nothing_gets_the_gateways_defaults() {
    let origin = Capture::start(Behaviour::Sink).await;
    let mut draft = Draft::of("device-1").raw(&origin.destination());
    let network = draft.0["capabilities"]["network"].as_object_mut().expect("an object");
    network.remove("upload_bytes_per_session");
    network.remove("upload_bytes");
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.upload_bytes_per_session", "30kB");
            settings.set("limits.upload_bytes", "50kB");
        })
        .manifest(draft)
        .start()
        .await;
    let device = lab.device("device-1");
    for expected in [30_000, 20_000] {
        let before = origin.connections().len();
        let mut tunnel = device.tunnel(&origin.destination()).await;
        tunnel.pour(100_000, 1_000).await;
        let incoming = origin.connection(before).await;
        incoming.ended().await;
        assert_eq!(incoming.count(), expected);
    }
}

#[tokio::test]
async fn signing_the_manifest_again_refills_nothing() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = Draft::of("device-1").raw(&origin.destination()).in_all(100_000);
    let lab = Lab::with(draft.clone()).await;
    let device = lab.device("device-1");
    device.tunnel(&origin.destination()).await.echoes(&vec![1; 80_000]).await;
    lab.push(&draft).await;
    let mut tunnel = device.tunnel(&origin.destination()).await;
    tunnel.pour(100_000, 1_000).await;
    let incoming = origin.connection(1).await;
    incoming.ended().await;
    assert_eq!(origin.total(), 100_000);
}
