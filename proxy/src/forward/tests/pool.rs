use std::net::SocketAddr;
use std::time::Duration;

use config::{Destination, DeviceId, ManifestId};

use super::super::{Kept, UpstreamKey, Upstreams};
use super::*;

const LONG: Duration = Duration::from_secs(600);

fn key(device: &str, manifest: &str, destination: &str, address: &str) -> UpstreamKey {
    UpstreamKey {
        device: DeviceId::new(device).unwrap(),
        manifest: ManifestId::new(manifest).unwrap(),
        destination: destination.parse::<Destination>().unwrap(),
        address: address.parse::<SocketAddr>().unwrap(),
    }
}

fn usual() -> UpstreamKey {
    key("device-1", "cm-1", "a.example:80", "192.0.2.1:80")
}

/// Waits until the near end has been dropped.
async fn is_dropped(far: &mut DuplexStream) {
    let mut byte = [0];
    assert_eq!(far.read(&mut byte).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_is_given_out_once_and_to_the_same_key_only() {
    let upstreams = Upstreams::new(8, LONG);
    let (near, mut far) = tokio::io::duplex(64);
    upstreams.put(usual(), near);
    for other in [
        key("device-2", "cm-1", "a.example:80", "192.0.2.1:80"),
        key("device-1", "cm-2", "a.example:80", "192.0.2.1:80"),
        key("device-1", "cm-1", "b.example:80", "192.0.2.1:80"),
        key("device-1", "cm-1", "a.example:81", "192.0.2.1:80"),
        key("device-1", "cm-1", "a.example:80", "192.0.2.2:80"),
    ] {
        assert!(upstreams.take(&other).await.is_none(), "{other:?}");
    }
    let mut near = upstreams.take(&usual()).await.expect("the connection");
    assert!(upstreams.take(&usual()).await.is_none());
    near.write_all(b"x").await.unwrap();
    let mut byte = [0];
    far.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_or_spoke_on_is_not_given_out() {
    let upstreams = Upstreams::new(8, LONG);
    let (near, far) = tokio::io::duplex(64);
    upstreams.put(usual(), near);
    drop(far);
    assert!(upstreams.take(&usual()).await.is_none());

    let (near, mut far) = tokio::io::duplex(64);
    upstreams.put(usual(), near);
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(upstreams.take(&usual()).await.is_none());
}

#[tokio::test]
async fn a_connection_is_dropped_as_soon_as_the_origin_speaks() {
    let upstreams = Upstreams::new(8, LONG);
    let (near, mut far) = tokio::io::duplex(64);
    upstreams.put(usual(), near);
    far.write_all(b"x").await.unwrap();
    is_dropped(&mut far).await;
}

#[tokio::test]
async fn a_connection_nobody_wants_is_dropped_in_time() {
    let upstreams = Upstreams::new(8, Duration::from_millis(10));
    let (near, mut far) = tokio::io::duplex(64);
    upstreams.put(usual(), near);
    is_dropped(&mut far).await;
    assert!(upstreams.take(&usual()).await.is_none());
}

#[tokio::test]
async fn the_oldest_connection_makes_room() {
    let upstreams = Upstreams::new(2, LONG);
    let mut fars = Vec::new();
    for n in 0..3 {
        let (near, far) = tokio::io::duplex(64);
        upstreams.put(key(&format!("device-{n}"), "cm-1", "a.example:80", "192.0.2.1:80"), near);
        fars.push(far);
    }
    is_dropped(&mut fars[0]).await;
    assert!(upstreams.take(&key("device-2", "cm-1", "a.example:80", "192.0.2.1:80")).await.is_some());
}

#[tokio::test]
async fn what_is_kept_at_hand_serves_its_own_key_only_and_only_while_it_is_quiet() {
    let upstreams = Upstreams::new(8, LONG);
    let other = || key("device-1", "cm-2", "a.example:80", "192.0.2.1:80");
    let mut kept = Kept::default();
    let (near, _far) = tokio::io::duplex(64);
    kept.put(usual(), near, &upstreams);
    assert!(kept.take(&other()).is_none());
    assert!(kept.take(&usual()).is_some());
    assert!(kept.take(&usual()).is_none() && kept.is_empty());

    let (near, mut spoken) = tokio::io::duplex(64);
    kept.put(usual(), near, &upstreams);
    spoken.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(kept.take(&usual()).is_none());
}

#[tokio::test]
async fn what_is_no_longer_kept_at_hand_goes_to_rest() {
    let upstreams = Upstreams::new(8, LONG);
    let mut kept = Kept::default();
    let (near, _first) = tokio::io::duplex(64);
    kept.put(usual(), near, &upstreams);
    let elsewhere = key("device-1", "cm-1", "b.example:80", "192.0.2.2:80");
    let (near, _second) = tokio::io::duplex(64);
    kept.put(elsewhere.clone(), near, &upstreams);
    assert!(upstreams.take(&usual()).await.is_some());
    kept.rest(&upstreams);
    assert!(kept.is_empty());
    assert!(upstreams.take(&elsewhere).await.is_some());
}
