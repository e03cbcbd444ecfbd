//! One log, whoever writes into it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use lab::nats::Nats;
use lab::{eventually, promptly};
use policy_sync::log::{Position, SnapshotHead};
use policy_sync::transport::nats::{Durability, NatsTransport};
use policy_sync::transport::{AppendFault, Frame, Transport};

use super::setup::{EPOCH, Ring, catch_up, follow, write};

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_that_write_at_once_make_one_dense_chain() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let mut writers = Vec::new();
    for plane in 0..2 {
        let transport = NatsTransport::open(&nats.options()).await.unwrap();
        assert_eq!(transport.durability(), Durability::Verified);
        for task in 0..4 {
            let (transport, ring) = (transport.clone(), ring.clone());
            writers.push(tokio::spawn(async move {
                let mut at = Position::start_of(EPOCH);
                let mut own = Vec::new();
                for _ in 0..25 {
                    own.push(write(&transport, &ring, &mut at, &format!("{plane}/{task}")).await);
                }
                own
            }));
        }
    }
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(promptly("a writer is done", writer).await.unwrap());
    }
    // Read by a third that was not there.
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    let mut found = Vec::new();
    while found.len() < 200 {
        let records = transport.read(at.sequence, 30).await.unwrap();
        assert!(!records.is_empty() && records.len() <= 30);
        for record in records {
            at = follow(&record, &at);
            found.push(at);
        }
    }
    assert!(transport.read(200, 30).await.unwrap().is_empty());
    acknowledged.sort_by_key(|position| position.sequence);
    assert_eq!(acknowledged, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_the_next_is_refused() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let first = ring.record(&Position::start_of(EPOCH), "one");
    transport.append(&first).await.unwrap();
    // Another first one, the same again, and one with a gap before it.
    let gap = Position { sequence: 2, ..first.position };
    for record in [ring.record(&Position::start_of(EPOCH), "two"), first.clone(), ring.record(&gap, "three")]
    {
        assert!(matches!(transport.append(&record).await, Err(AppendFault::Taken)));
    }
    assert_eq!(transport.read(0, 10).await.unwrap(), [first.envelope]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_notices_what_another_one_writes() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let one = NatsTransport::open(&nats.options()).await.unwrap();
    let two = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    // With the announcement of the record, and without it.
    for announced in [true, false] {
        let before = at.sequence;
        let waiting = tokio::spawn({
            let two = two.clone();
            async move { two.grown(before).await }
        });
        write(&one, &ring, &mut at, "one").await;
        if announced {
            one.broadcast(Frame::Record(Bytes::new()));
        }
        promptly("the growth is noticed", waiting).await.unwrap();
        assert_eq!(two.read(before, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stands_for_the_records_that_were_dropped() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let one = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    let mut places = Vec::new();
    for _ in 0..10 {
        places.push(write(&one, &ring, &mut at, "one").await);
    }
    assert_eq!(one.snapshot().await.unwrap(), None);
    let chunk = Bytes::from(vec![b'x'; 4 << 20]);
    let digest = [7; 32];
    one.keep_chunk(&digest, chunk.clone()).await.unwrap();
    one.keep_chunk(&digest, chunk.clone()).await.unwrap();
    let head = SnapshotHead { position: places[7], at: Timestamp::now(), chunks: vec![digest] };
    let head = head.seal(&ring.control);
    one.keep_snapshot(head.clone(), 6).await.unwrap();
    // An older one does not take its place.
    let older = SnapshotHead { position: places[2], at: Timestamp::now(), chunks: vec![] };
    one.keep_snapshot(older.seal(&ring.control), 0).await.unwrap();

    let two = NatsTransport::open(&nats.options()).await.unwrap();
    assert_eq!(two.snapshot().await.unwrap(), Some(head.clone()));
    assert_eq!(two.chunk(&digest).await.unwrap(), Some(chunk.clone()));
    assert_eq!(two.chunk(&[8; 32]).await.unwrap(), None);
    assert!(two.read(0, 100).await.unwrap().is_empty(), "the log begins later");
    assert_eq!(two.read(6, 100).await.unwrap().len(), 4);
    let mut at = places[7];
    catch_up(&two, &mut at).await;
    assert_eq!(at, places[9]);
    write(&two, &ring, &mut at, "two").await;

    // A gateway sees the same.
    let link = ring.link(nats.options(), "gw-1");
    use policy_sync::transport::Link as _;
    assert_eq!(link.snapshot().await.unwrap(), Some(head));
    assert_eq!(link.chunk(&digest).await.unwrap(), Some(chunk));
    assert!(link.records(&Position::start_of(EPOCH), 100).await.unwrap().is_empty());
    assert_eq!(link.records(&places[7], 100).await.unwrap().len(), 3);
    assert_eq!(link.records(&places[7], 2).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_founded_anew_takes_nothing_that_belongs_to_the_old_one() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let old = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    for _ in 0..5 {
        write(&old, &ring, &mut at, "old").await;
    }
    let head = SnapshotHead { position: at, at: Timestamp::now(), chunks: vec![] };
    old.keep_snapshot(head.seal(&ring.control), 0).await.unwrap();

    // Anew from the third record on.
    let new = NatsTransport::open(&nats.options()).await.unwrap();
    let begin = Position { epoch: EPOCH + 60, sequence: 3, digest: [3; 32] };
    let head = SnapshotHead { position: begin, at: Timestamp::now(), chunks: vec![] };
    new.keep_snapshot(head.seal(&ring.control), 0).await.unwrap();
    let stale = ring.record(&at, "old");
    assert!(matches!(old.append(&stale).await, Err(AppendFault::Taken)));
    assert!(new.read(3, 10).await.unwrap().is_empty());

    let mut here = begin;
    for _ in 0..3 {
        write(&new, &ring, &mut here, "new").await;
    }
    assert_eq!(here.sequence, 6);
    let link = ring.link(nats.options(), "gw-1");
    use policy_sync::transport::Link as _;
    assert_eq!(link.records(&begin, 10).await.unwrap().len(), 3);
    // Who follows the old one gets nothing, and asks for the snapshot.
    assert!(link.records(&at, 10).await.unwrap().is_empty());
    let snapshot = SnapshotHead::read_own(&link.snapshot().await.unwrap().unwrap()).unwrap();
    assert_eq!(snapshot.position, begin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_set_by_one_of_those_who_try_at_once() {
    let Some(nats) = Nats::start().await else { return };
    let one = NatsTransport::open(&nats.options()).await.unwrap();
    let two = NatsTransport::open(&nats.options()).await.unwrap();
    let mut tries = Vec::new();
    for number in 0..20 {
        let transport = if number % 2 == 0 { one.clone() } else { two.clone() };
        // All write the very same value.
        tries.push(tokio::spawn(async move { transport.set_cell("budget/a", None, "1".into()).await }));
    }
    let mut set = 0;
    for attempt in tries {
        match promptly("a try ends", attempt).await.unwrap() {
            Ok(()) => set += 1,
            Err(fault) => assert!(matches!(fault, AppendFault::Taken), "{fault}"),
        }
    }
    assert_eq!(set, 1);

    let (version, value) = two.cell("budget/a").await.unwrap().unwrap();
    assert_eq!(value, "1");
    two.set_cell("budget/a", Some(version), "2".into()).await.unwrap();
    assert!(matches!(one.set_cell("budget/a", Some(version), "3".into()).await, Err(AppendFault::Taken)));
    one.set_cell("gateway/gw_1-x", None, "here".into()).await.unwrap();
    assert_eq!(two.cells("budget/").await.unwrap(), ["budget/a"]);
    assert_eq!(two.cells("").await.unwrap(), ["budget/a", "gateway/gw_1-x"]);

    // Removed, and made again.
    let (version, _) = one.cell("budget/a").await.unwrap().unwrap();
    one.set_cell("budget/a", Some(version), Bytes::new()).await.unwrap();
    assert_eq!(two.cell("budget/a").await.unwrap(), None);
    assert!(two.cells("budget/").await.unwrap().is_empty());
    assert!(matches!(two.set_cell("budget/a", Some(version), "x".into()).await, Err(AppendFault::Taken)));
    two.set_cell("budget/a", None, "4".into()).await.unwrap();
    assert_eq!(one.cell("budget/a").await.unwrap().unwrap().1, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_the_server_was_killed() {
    let Some(mut nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    for round in 0..3 {
        for _ in 0..20 {
            write(&transport, &ring, &mut at, &format!("round {round}")).await;
        }
        nats.kill();
        nats.launch().await;
        // The connection comes back by itself.
        let mut again = Position::start_of(EPOCH);
        eventually(lab::wait::PATIENCE, "the log can be read again", async || {
            transport.read(0, 1).await.ok().filter(|records| !records.is_empty())
        })
        .await;
        catch_up(&transport, &mut again).await;
        assert_eq!(again, at);
    }
}

/// Not a verdict but a figure, printed: how long a record takes to be written down on one server that syncs.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_written_down_within_a_second_on_one_server() {
    let Some(nats) = Nats::start().await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&nats.options()).await.unwrap();
    let mut at = Position::start_of(EPOCH);
    let mut spans: Vec<Duration> = Vec::new();
    for _ in 0..200 {
        let record = ring.record(&at, "one");
        let begun = Instant::now();
        transport.append(&record).await.unwrap();
        spans.push(begun.elapsed());
        at = record.position;
    }
    spans.sort_unstable();
    println!("append on one server: median {:?}, p99 {:?}", spans[100], spans[198]);
    assert!(spans[100] < Duration::from_secs(1));
}
