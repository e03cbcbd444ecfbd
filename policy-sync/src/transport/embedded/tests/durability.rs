//! What was reported as written is there afterwards, whatever happened in between.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::log::{Chunks, Noted, SnapshotHead};

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_log_is_taken_once_and_stays_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let records = records(5);
    let log = open(directory.path());
    for record in &records {
        log.append(record).await.unwrap();
        assert!(matches!(log.append(record).await, Err(AppendFault::Taken)));
    }
    assert!(Embedded::open(directory.path(), &Registry::new()).is_err(), "the file is in use");
    drop(log);
    let log = reopen(directory.path()).await;
    let envelopes: Vec<_> = records.iter().map(|record| record.envelope.clone()).collect();
    assert_eq!(log.read(0, 100).await.unwrap(), envelopes);
    assert_eq!(log.read(3, 1).await.unwrap(), envelopes[3..4]);
    assert_eq!(log.read(5, 100).await.unwrap(), Vec::<Bytes>::new());
    assert!(matches!(log.append(&records[4]).await, Err(AppendFault::Taken)));
}

/// The thread that writes lets go of the file a moment after the last handle has.
async fn reopen(directory: &std::path::Path) -> Arc<Embedded> {
    for _ in 0..500 {
        if let Ok(log) = Embedded::open(directory, &Registry::new()) {
            return log;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the file stays in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_wait_together_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let records = records(1000);
    for batch in records.chunks(100) {
        log.append_all(batch).await.unwrap();
    }
    let mut read = Vec::new();
    while read.len() < 1000 {
        read.extend(log.read(u64::try_from(read.len()).unwrap(), 300).await.unwrap());
    }
    assert!(read.iter().zip(&records).all(|(read, written)| *read == written.envelope));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_takes_the_place_of_records_and_of_chunks_that_it_does_not_name() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let (control, records) = (key("control-1"), records(10));
    log.append_all(&records).await.unwrap();
    let chunk = |sequence| {
        let entry = Entry::Withdrawal { id: "cm-1".parse().unwrap(), digest: [7; 32] };
        let mut chunks = Chunks::default();
        chunks.add(&Noted { sequence, at: Timestamp::UNIX_EPOCH, by: "a".into(), entry }).unwrap();
        chunks.finish().unwrap()
    };
    let (old, new) = (chunk(1), chunk(2));
    for (named, keep_after) in [(&old, 2), (&new, 6)] {
        log.keep_chunk(&named.0, named.1.clone()).await.unwrap();
        let position = records[7].position;
        let head = SnapshotHead { position, at: Timestamp::now(), chunks: vec![named.0] }.seal(&control);
        log.keep_snapshot(head.clone(), keep_after).await.unwrap();
        assert_eq!(log.snapshot().await.unwrap(), Some(head));
        assert_eq!(log.chunk(&named.0).await.unwrap(), Some(named.1.clone()));
        assert_eq!(log.read(0, 100).await.unwrap(), Vec::<Bytes>::new(), "the log begins later");
        assert_eq!(log.read(keep_after, 1).await.unwrap().len(), 1);
    }
    assert_eq!(log.chunk(&old.0).await.unwrap(), None);
    // A log that begins with a snapshot goes on behind it.
    let fresh = tempfile::tempdir().unwrap();
    let log = open(fresh.path());
    let head = SnapshotHead { position: records[7].position, at: Timestamp::now(), chunks: Vec::new() };
    log.keep_snapshot(head.seal(&control), 8).await.unwrap();
    assert!(matches!(log.append(&records[0]).await, Err(AppendFault::Taken)));
    log.append(&records[8]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_written_only_by_who_knows_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    log.set_cell("gateway/a", None, value("1")).await.unwrap();
    assert!(matches!(log.set_cell("gateway/a", None, value("2")).await, Err(AppendFault::Taken)));
    let (version, kept) = log.cell("gateway/a").await.unwrap().unwrap();
    assert_eq!(kept, value("1"));
    log.set_cell("gateway/a", Some(version), value("2")).await.unwrap();
    assert!(matches!(log.set_cell("gateway/a", Some(version), value("3")).await, Err(AppendFault::Taken)));
    log.set_cell("gateway/b", None, value("1")).await.unwrap();
    log.set_cell("lease/a", None, value("1")).await.unwrap();
    assert_eq!(log.cells("gateway/").await.unwrap(), ["gateway/a", "gateway/b"]);
    let (version, _) = log.cell("gateway/a").await.unwrap().unwrap();
    log.set_cell("gateway/a", Some(version), Bytes::new()).await.unwrap();
    assert_eq!(log.cells("gateway/").await.unwrap(), ["gateway/b"]);
    // A version is never used twice, not even by a cell that was gone.
    log.set_cell("gateway/a", None, value("4")).await.unwrap();
    assert_ne!(log.cell("gateway/a").await.unwrap().unwrap().0, version);
}

/// The directory in which the process that is to be killed writes.
const VICTIM: &str = "PORTCULLIS_TEST_LOG_OF_A_VICTIM";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        return write_until_killed(directory.as_ref()).await;
    }
    for round in 1..=3 {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["what_was_acknowledged_survives_a_kill", "--nocapture"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while acknowledged < 150 * round {
            let line = lines.next().expect("the victim goes on writing").unwrap();
            // The harness writes to the same place.
            acknowledged = line.strip_prefix("acknowledged ").map_or(acknowledged, |n| n.parse().unwrap());
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged = line.strip_prefix("acknowledged ").map_or(acknowledged, |n| n.parse().unwrap());
        }
        child.wait().unwrap();
        let log = open(directory.path());
        let mut read = 0;
        loop {
            let page = log.read(read, 1000).await.unwrap();
            if page.is_empty() {
                break;
            }
            for envelope in page {
                read += 1;
                assert_eq!(Record::read_own(&envelope).unwrap().position.sequence, read);
            }
        }
        assert!(read >= acknowledged, "{read} records of {acknowledged} acknowledged");
    }
}

async fn write_until_killed(directory: &std::path::Path) {
    let log = open(directory);
    let (key, mut end) = (key("control-1"), Position::start_of(7));
    loop {
        let record = record(&end, &key);
        log.append(&record).await.unwrap();
        end = record.position;
        println!("acknowledged {}", end.sequence);
    }
}
