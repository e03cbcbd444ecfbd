//! A new manifest over a live session: what it still allows goes on, what it no longer allows is cut.

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Lab, Over};

#[tokio::test]
async fn a_narrowed_manifest_cuts_exactly_what_it_no_longer_allows() {
    for over in Over::BOTH {
        let (kept, dropped) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
        let lab = Lab::with(Draft::of("device-1").raw(&kept.destination()).raw(&dropped.destination())).await;
        let device = lab.device("device-1");
        let mut stays = device.tunnel_over(over, &kept.destination()).await;
        let mut goes = device.tunnel_over(over, &dropped.destination()).await;
        stays.echoes(b"before").await;
        goes.echoes(b"before").await;
        lab.push(&Draft::of("device-1").raw(&kept.destination())).await;
        assert_eq!(goes.rest().await.1, End::Broken, "{over:?}");
        stays.echoes(b"after").await;
        let ending = &lab.endings(1).await[0];
        assert_eq!(ending["destination"], dropped.destination());
        assert_eq!(ending["decision"], "terminated");
    }
}

#[tokio::test]
async fn a_deny_rule_and_a_gateway_wide_one_cut_too() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = Draft::of("device-1").raw(&origin.destination());
    let mut lab = Lab::with(draft.clone()).await;
    let mut first = lab.device("device-1").tunnel(&origin.destination()).await;
    lab.push(&draft.clone().deny(&origin.destination())).await;
    assert_eq!(first.rest().await.1, End::Broken);
    lab.push(&draft).await;
    let mut second = lab.device("device-1").tunnel(&origin.destination()).await;
    second.echoes(b"back").await;
    let applied = lab
        .reload(|settings| {
            settings.set("destinations.deny", vec!["origin.test"]);
        })
        .await;
    assert!(applied);
    assert_eq!(second.rest().await.1, End::Broken);
    assert_eq!(lab.device("device-1").refusal(&origin.destination()).await.reason(), "destination_forbidden");
}

#[tokio::test]
async fn another_manifest_for_the_same_agent_and_device_supersedes() {
    let (old, new) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let lab = Lab::with(Draft::of("device-1").id("cm-old").raw(&old.destination())).await;
    let mut tunnel = lab.device("device-1").tunnel(&old.destination()).await;
    tunnel.echoes(b"before").await;
    lab.push(&Draft::of("device-1").id("cm-new").raw(&new.destination())).await;
    assert_eq!(tunnel.rest().await.1, End::Broken);
    assert_eq!(lab.device("device-1").refusal(&old.destination()).await.reason(), "destination_not_listed");
    lab.device("device-1").tunnel(&new.destination()).await.echoes(b"the new one").await;
}

#[tokio::test]
async fn a_manifest_that_is_taken_away_ends_its_sessions() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let mut goes = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut stays = lab.device("device-2").tunnel(&origin.destination()).await;
    goes.echoes(b"before").await;
    std::fs::remove_file(lab.policy.manifest_path("cm-device-1")).expect("removed");
    assert_eq!(goes.rest().await.1, End::Broken);
    stays.echoes(b"after").await;
    lab.event("withdrawn", |event| event["event_type"] == "control.manifest_withdrawn").await;
    assert_eq!(lab.device("device-1").refusal(&origin.destination()).await.status, 403);
}

#[tokio::test]
async fn a_lower_limit_holds_for_what_is_already_open() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = Draft::of("device-1").raw(&origin.destination());
    let lab = Lab::with(draft.clone().in_all(100_000)).await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(&[b'x'; 10_000]).await;
    lab.push(&draft.in_all(20_000)).await;
    tunnel.pour(50_000, 1_000).await;
    tunnel.rest().await;
    eventually(PATIENCE, "the session is over", async || lab.sessions().await.is_empty().then_some(())).await;
    origin.connection(0).await.ended().await;
    assert_eq!(origin.total(), 20_000, "exactly the lower limit");
}
