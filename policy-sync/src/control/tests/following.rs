//! Several control planes over one log, and what they say to gateways.

use super::*;
use crate::log::{Heartbeat, Position, Record};
use crate::transport::Transport as _;

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_write_one_log_in_one_order() {
    let site = Site::new();
    let (left, right) = (site.plane().await, site.over(site.log.clone()).plane().await);
    let mut tasks = Vec::new();
    for number in 0..100 {
        let plane = if number % 2 == 0 { left.clone() } else { right.clone() };
        let order = RevokeOrder { wait: Duration::ZERO, ..order(device(&format!("device-{number}"))) };
        tasks.push(tokio::spawn(async move { plane.revoke(order).await.unwrap().sequence }));
    }
    let mut sequences = Vec::new();
    for task in tasks {
        sequences.push(task.await.unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
    until(|| [&left, &right].iter().all(|plane| plane.with_state(|state| state.position().sequence == 100)))
        .await;
    assert_eq!(
        left.with_state(super::super::State::position),
        right.with_state(super::super::State::position)
    );
    let mut end = Position::start_of(left.with_state(|state| state.position().epoch));
    for envelope in site.log.read(0, 1000).await.unwrap() {
        let record = Record::open(&envelope, &site.ring).unwrap();
        assert!(record.follows(&end));
        end = record.position;
    }
    assert_eq!(end.sequence, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_say_how_far_the_log_reaches() {
    let site = Site::new();
    let plane = site.plane().await;
    let follower = Follower::start(&site, &plane, "gw-1", true).await;
    plane.revoke(order(device("device-1"))).await.unwrap();
    let beats = || {
        let seen = follower.seen.lock().unwrap();
        let envelopes = seen.iter().filter_map(|frame| match frame {
            Frame::Heartbeat(envelope) => Some(envelope.clone()),
            Frame::Hint(_) | Frame::Record(_) => None,
        });
        envelopes.map(|envelope| Heartbeat::open(&envelope, &site.ring).unwrap()).collect::<Vec<_>>()
    };
    until(|| beats().iter().filter(|beat| beat.sequence == 1).count() >= 2).await;
    let beats = beats();
    assert!(beats.windows(2).all(|pair| pair[0].now < pair[1].now && pair[0].sequence <= pair[1].sequence));
    assert_eq!(beats[0].epoch, plane.with_state(|state| state.position().epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_key_that_is_not_in_the_ring_founds_nothing() {
    let site = Site::new();
    let options = PlaneOptions { control: key("control-1"), ..site.options() };
    assert!(matches!(Plane::open(options).await, Err(PlaneFault::Key { role: Role::Control, .. })));
    assert_eq!(site.log.snapshot().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_bent_is_not_followed() {
    let site = Site::new();
    let plane = site.plane().await;
    let backup = site.log.copy();
    plane.revoke(order(device("device-1"))).await.unwrap();
    drop(plane);
    // Another history of the same length, by the same key: its second record is put behind the first one of ours.
    let other = site.over(backup);
    let plane = other.plane().await;
    plane.revoke(order(device("device-8"))).await.unwrap();
    plane.revoke(order(device("device-9"))).await.unwrap();
    let second = other.log.read(1, 1).await.unwrap().remove(0);
    site.log.put_record(2, second);
    let bent = Plane::open(site.over(site.log.clone()).options()).await;
    assert!(matches!(bent, Err(PlaneFault::Bent { after }) if after.sequence == 1));
}
