//! Revocations: sent, written down, answered.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_answered_with_what_every_connected_gateway_did() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw-1", true).await;
    let revoked = plane.revoke(order(device("device-1"))).await.unwrap();
    assert_eq!((revoked.sequence, revoked.repeated, revoked.pending.len()), (1, false, 0));
    let applied = &revoked.applied[0];
    assert_eq!((applied.gateway.as_str(), applied.sessions_cut, applied.upload_bytes), ("gw-1", 3, 81_234));
    assert!((applied.latency_ms - 1.8).abs() < 1e-9);
    until(|| follower.seen.lock().unwrap().iter().any(|frame| matches!(frame, Frame::Record(_)))).await;
    let first = follower.seen.lock().unwrap().iter().position(|frame| matches!(frame, Frame::Hint(_)));
    let record = follower.seen.lock().unwrap().iter().position(|frame| matches!(frame, Frame::Record(_)));
    assert!(first < record, "the hint goes out before the record");
    assert!(plane.with_state(|state| state.policy().revocations().contains(&device("device-1"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_answer_is_pending_after_the_wait() {
    let site = Site::new();
    let plane = site.plane().await;
    let _follower = Follower::start(&site, &plane, "gw-1", false).await;
    let wait = Duration::from_millis(50);
    let revoked = plane.revoke(RevokeOrder { wait, ..order(device("device-1")) }).await.unwrap();
    assert_eq!((revoked.applied.len(), revoked.pending), (0, vec!["gw-1".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_is_not_waited_for_and_stays_pending_after_a_restart() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw/ü@1", false).await;
    let waiting = tokio::spawn({
        let plane = plane.clone();
        async move { plane.revoke(order(device("device-1"))).await.unwrap() }
    });
    until(|| follower.hints() == 1).await;
    follower.task.abort();
    let revoked = waiting.await.unwrap();
    assert_eq!(revoked.pending, ["gw/ü@1"]);
    drop(plane);
    let again = site.over(site.log.clone()).plane().await;
    assert_eq!(again.revoke(order(device("device-2"))).await.unwrap().pending, ["gw/ü@1"]);
    assert!(again.forget_gateway("gw/ü@1").await.unwrap());
    assert!(again.revoke(order(device("device-3"))).await.unwrap().pending.is_empty());
    let third = site.over(site.log.clone()).plane().await;
    assert_eq!(third.gateways(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_has_come_past_the_record_counts_although_its_receipt_was_lost() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw-1", false).await;
    let epoch = plane.with_state(|state| state.position().epoch);
    let waiting = tokio::spawn({
        let plane = plane.clone();
        async move { plane.revoke(order(device("device-1"))).await.unwrap() }
    });
    until(|| plane.with_state(|state| state.position().sequence == 1)).await;
    follower.link.report(Report { epoch, sequence: 1, ..Report::default() });
    assert_eq!(waiting.await.unwrap().applied.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_again_has_the_same_answer_even_at_the_same_moment() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw-1", true).await;
    let orders = (0..32).map(|_| {
        let plane = plane.clone();
        tokio::spawn(async move { plane.revoke(order(device("device-1"))).await.unwrap() })
    });
    let mut answers = Vec::new();
    for answer in orders.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    assert!(answers.iter().all(|answer| (answer.sequence, answer.revocation) == (1, answers[0].revocation)));
    assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
    assert_eq!(follower.hints(), 1);
    // Another reason is another revocation.
    let what = RevokeWhat::Unsigned { target: device("device-1"), reason: "lost".into(), timestamp: None };
    assert_eq!(plane.revoke(RevokeOrder { what, ..order(Target::All) }).await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_owed_and_keeps_its_name() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw-1", true).await;
    site.log.fail(Some("the disk is full"));
    let refused = plane.revoke(order(device("device-1"))).await;
    assert!(matches!(refused, Err(SubmitFault::NotDurable(_))), "{refused:?}");
    // Gateways enforce it already.
    until(|| follower.hints() == 1).await;
    assert_eq!(plane.trouble().as_deref(), Some("the disk is full"));
    let hinted = {
        let seen = follower.seen.lock().unwrap();
        let hint = seen.iter().find_map(|frame| match frame {
            Frame::Hint(envelope) => Some(envelope.clone()),
            Frame::Record(_) | Frame::Heartbeat(_) => None,
        });
        let envelope = crate::envelope::Envelope::read(&hint.unwrap()).unwrap();
        verify_statement(&envelope, &site.ring).unwrap().id()
    };
    site.log.fail(None);
    // Nobody has to ask again for it to be written down.
    until(|| plane.with_state(|state| state.sequence_of(hinted).is_some())).await;
    until(|| plane.trouble().is_none()).await;
    let revoked = plane.revoke(order(device("device-1"))).await.unwrap();
    assert_eq!((revoked.revocation, revoked.repeated), (hinted, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn lifting_needs_something_that_can_be_lifted_and_a_key() {
    let site = Site::new();
    let plane = Plane::open(PlaneOptions { approver: None, ..site.options() }).await.unwrap();
    let one = plane.revoke(order(device("device-1"))).await.unwrap();
    let two = plane.revoke(order(Target::Manifest("cm-1".parse().unwrap()))).await.unwrap();
    assert!(matches!(plane.lift(99, None, "", "bob").await, Err(SubmitFault::Unknown)));
    assert!(matches!(plane.lift(two.sequence, None, "", "bob").await, Err(SubmitFault::NotLiftable)));
    assert!(matches!(
        plane.lift(one.sequence, None, "", "bob").await,
        Err(SubmitFault::NoKey(Role::Approver))
    ));
    let revocation = plane.with_state(|state| state.revocation(one.sequence).unwrap().revocation.clone());
    let sign = |role| {
        let signed =
            crate::signed::sign_lift(&revocation, "found", Timestamp::now(), site.key(role)).unwrap();
        Some(Bytes::from(signed.to_json()))
    };
    let by_revoker = plane.lift(one.sequence, sign(Role::Revoker), "", "bob").await;
    assert!(matches!(by_revoker, Err(SubmitFault::Refused(_))));
    let lifted = plane.lift(one.sequence, sign(Role::Approver), "", "bob").await.unwrap();
    assert_eq!((lifted.sequence, lifted.repeated), (3, false));
    assert!(plane.with_state(|state| !state.policy().revocations().contains(&device("device-1"))));
    let again = plane.lift(one.sequence, sign(Role::Approver), "", "bob").await.unwrap();
    assert_eq!((again.sequence, again.repeated), (3, true));
    // What was lifted can be revoked anew.
    let anew: Revoked = plane.revoke(order(device("device-1"))).await.unwrap();
    assert_eq!((anew.sequence, anew.repeated), (4, false));
    // Who did what stands in the events.
    let lifted = |event: &serde_json::Value| {
        event["event_type"] == "control.lifted" && event["actor"] == "bob" && event["log_sequence"] == 3
    };
    let refused = |event: &serde_json::Value| {
        event["event_type"] == "control.submission_refused" && event["actor"] == "bob"
    };
    let told = |events: &[serde_json::Value]| events.iter().any(lifted) && events.iter().any(refused);
    assert!(site.events.wait_until(Duration::from_secs(10), told));
}
