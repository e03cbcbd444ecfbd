//! A policy feed that has gone silent: first nobody new, then nobody at all, and back by itself.

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab};

#[tokio::test]
async fn without_a_feed_new_sessions_stop_first_and_live_ones_later() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("policy.max_staleness", "2s");
            settings.set("policy.cut_after", "5s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"fresh").await;
    let away = lab.dir().join("policy-away");
    std::fs::rename(lab.policy.path(), &away).expect("the source goes away");
    eventually(PATIENCE, "new sessions are refused", async || {
        let refused = lab.device("device-1").connect(&origin.destination()).await.ok()?.err()?;
        (refused.reason() == "policy_stale").then_some(refused)
    })
    .await;
    let refused = lab.device("device-1").refusal(&origin.destination()).await;
    assert_eq!((refused.status, refused.proxy_error()), (503, Some("proxy_internal_response")));
    tunnel.echoes(b"stale, but not cut").await;
    lab.event("said", |event| event["event_type"] == "system.policy_stale").await;
    assert_ne!(lab.admin("/readyz").await.status, 200, "not ready for new sessions");
    assert_eq!(tunnel.rest().await.1, End::Broken, "cut in the end");
    lab.ending("policy_stale").await;
    std::fs::rename(&away, lab.policy.path()).expect("the source is back");
    lab.ready().await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"fresh again").await;
    lab.event("said", |event| event["event_type"] == "system.policy_fresh").await;
}

#[tokio::test]
async fn a_gateway_starts_from_the_last_good_policy_as_stale_as_it_is() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut lab = Lab::builder()
        .settings(|settings| {
            settings.set("policy.max_staleness", "30s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"known").await;
    let device = lab.device("device-1");
    lab.crash();
    std::fs::rename(lab.policy.path(), lab.dir().join("policy-away")).expect("the source goes away");
    lab.start_again().await;
    lab.again(&device).tunnel(&origin.destination()).await.echoes(b"remembered").await;
}

#[tokio::test]
async fn a_gateway_that_never_had_a_policy_opens_nothing() {
    let (lab, outcome) = Lab::builder()
        .unready()
        .try_start(|dir| std::fs::remove_dir_all(dir.join("policy")).expect("no policy"))
        .await;
    if outcome.is_ok() {
        assert_ne!(lab.admin("/readyz").await.status, 200);
        assert_eq!(lab.admin("/livez").await.status, 200);
        let outcome = lab.device("device-1").connect("origin.test:443").await;
        if let Ok(outcome) = outcome {
            let refused = outcome.map(drop).expect_err("refused");
            assert!(["no_policy", "policy_stale"].contains(&refused.reason().as_str()), "{refused:?}");
        }
    }
}
