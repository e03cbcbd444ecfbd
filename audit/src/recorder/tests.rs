//! The recorder against files, full disks, short writes, rotation and a queue that overflows.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::event::{Event, EventType};
use crate::sink::MemoryLog;

const BOUND: Duration = Duration::from_secs(10);

/// A sink whose behaviour the test changes while it runs.
#[derive(Clone, Default)]
struct Disk {
    state: Arc<Mutex<DiskState>>,
    log: MemoryLog,
}

#[derive(Default)]
struct DiskState {
    /// Bytes that still fit; `None` is plenty.
    room: Option<usize>,
    attempts: u64,
    broken_sync: bool,
    reopened: u64,
}

impl Outlet for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        state.attempts += 1;
        let count = state.room.unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(room) = &mut state.room {
            *room -= count;
        }
        self.log.write(&bytes[..count])
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.state.lock().unwrap().broken_sync { Err(io::Error::other("medium error")) } else { Ok(()) }
    }

    fn reopen(&mut self) -> io::Result<u64> {
        let mut state = self.state.lock().unwrap();
        state.reopened += 1;
        state.room = None;
        self.log.write(b"\n")?;
        Ok(0)
    }
}

fn over(disk: &Disk, capacity: usize) -> Recorder {
    let metrics = AuditMetrics::register(&Registry::new()).unwrap();
    Recorder::start("gw-1".into(), Box::new(disk.clone()), 0, capacity, metrics).unwrap()
}

fn started(number: u64) -> Event {
    Event::new(EventType::SessionAllowed).session(number)
}

fn eventually(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + BOUND;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "the awaited state did not come");
        thread::yield_now();
    }
}

/// Every number is either in the log or explained by the gap record that follows.
fn no_unexplained_gap(events: &[Value]) -> bool {
    let mut last = 0;
    events.iter().filter(|event| event.is_object()).all(|event| {
        let sequence = event["sequence"].as_u64().unwrap();
        let missing = sequence - last - 1;
        last = sequence;
        missing == event["lost"].as_u64().unwrap_or(0)
    })
}

#[test]
fn a_flushed_event_is_in_the_file_and_the_next_opening_appends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    for round in 1..=2 {
        let recorder =
            Recorder::open(RecorderOptions::new("gw-1", Sink::File(path.clone())), &Registry::new()).unwrap();
        recorder.record(started(round));
        recorder.flush(BOUND).unwrap();
        assert!(recorder.healthy());
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), usize::try_from(round).unwrap());
    }
}

#[test]
fn dropping_the_last_recorder_writes_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::File(path.clone())), &Registry::new()).unwrap();
    (0..1000).for_each(|number| recorder.record(started(number)));
    drop(recorder);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1000);
}

#[test]
fn a_torn_line_is_terminated_and_the_repair_is_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    std::fs::write(&path, "{\"whole\":1}\n{\"torn").unwrap();
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::File(path.clone())), &Registry::new()).unwrap();
    recorder.record(started(1));
    recorder.flush(BOUND).unwrap();
    let content = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = content.lines().collect();
    assert_eq!(lines[..2], ["{\"whole\":1}", "{\"torn"]);
    let repair: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(repair["event_type"], "system.audit_recovered");
    assert_eq!(serde_json::from_str::<Value>(lines[3]).unwrap()["session"], "1");
}

#[test]
fn a_full_disk_makes_it_unhealthy_and_loses_nothing_once_there_is_room() {
    let disk = Disk::default();
    disk.state.lock().unwrap().room = Some(37);
    let recorder = over(&disk, 1000);
    (0..100).for_each(|number| recorder.record(started(number)));
    eventually(|| !recorder.healthy());
    assert_eq!(recorder.flush(Duration::ZERO), Err(FlushTimeout));
    disk.state.lock().unwrap().room = None;
    eventually(|| recorder.healthy());
    recorder.flush(BOUND).unwrap();
    let events = disk.log.events();
    let sessions = events.iter().filter(|event| event["event_type"] == "agent.session_allowed").count();
    assert_eq!(sessions, 100);
    assert!(events.iter().any(|event| event["event_type"] == "system.audit_recovered"));
    assert!(no_unexplained_gap(&events));
    assert!(recorder.metrics().faults.get() > 0);
}

#[test]
fn an_overflowing_queue_never_blocks_and_its_gap_is_explained() {
    let disk = Disk::default();
    disk.state.lock().unwrap().room = Some(0);
    let recorder = over(&disk, 10);
    recorder.record(started(0));
    eventually(|| disk.state.lock().unwrap().attempts > 0);
    (1..=100).for_each(|number| recorder.record(started(number)));
    assert!(!recorder.healthy());
    assert_eq!(recorder.metrics().lost.get(), 90);
    disk.state.lock().unwrap().room = None;
    assert!(disk.log.wait_until(BOUND, |events| events.iter().any(|event| event["lost"] == 90)));
    eventually(|| recorder.healthy());
    recorder.record(started(101));
    recorder.flush(BOUND).unwrap();
    assert!(no_unexplained_gap(&disk.log.events()), "{:?}", disk.log.events());
}

#[test]
fn reopening_during_a_failure_begins_the_new_file_with_a_whole_line() {
    let disk = Disk::default();
    disk.state.lock().unwrap().room = Some(20);
    let recorder = over(&disk, 100);
    recorder.record(started(1));
    eventually(|| !recorder.healthy());
    recorder.reopen();
    assert!(disk.log.wait_until(BOUND, |events| events.iter().any(|event| event["session"] == "1")));
    assert_eq!(disk.state.lock().unwrap().reopened, 1);
}

#[test]
fn rotation_moves_on_to_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("events.jsonl"), directory.path().join("events.jsonl.1"));
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::File(path.clone())), &Registry::new()).unwrap();
    recorder.record(started(1));
    recorder.flush(BOUND).unwrap();
    std::fs::rename(&path, &old).unwrap();
    recorder.reopen();
    recorder.record(started(2));
    recorder.flush(BOUND).unwrap();
    eventually(|| path.exists());
    recorder.record(started(3));
    recorder.flush(BOUND).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"session\":\"3\""));
    let both = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&path).unwrap();
    assert_eq!(both.lines().count(), 3);
}

#[test]
fn a_failed_sync_is_never_reported_as_flushed() {
    let disk = Disk::default();
    disk.state.lock().unwrap().broken_sync = true;
    let recorder = over(&disk, 100);
    recorder.record(started(1));
    assert_eq!(recorder.flush(Duration::from_millis(200)), Err(FlushTimeout));
    assert!(
        disk.log
            .wait_until(BOUND, |events| events.iter().any(|e| e["event_type"] == "system.internal_fault"))
    );
    disk.state.lock().unwrap().broken_sync = false;
    recorder.record(started(2));
    recorder.flush(BOUND).unwrap();
    assert!(recorder.healthy());
}

#[test]
fn the_device_dev_full_fails_without_blocking_anybody() {
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::File("/dev/full".into())), &Registry::new())
            .unwrap();
    recorder.record(started(1));
    eventually(|| !recorder.healthy());
    drop(recorder);
}

#[test]
fn many_threads_get_numbers_in_the_order_of_the_file() {
    let log = MemoryLog::new();
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &Registry::new()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|number| recorder.record(started(number))));
        }
    });
    recorder.flush(BOUND).unwrap();
    let events = log.events();
    assert_eq!(events.len(), 8000);
    assert!(no_unexplained_gap(&events));
}
