//! The embedded transport: its file, and its connections over real TLS sockets on loopback.

mod connections;
mod durability;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::Registry;

use super::Embedded;
use crate::keys::SigningKey;
use crate::log::{Entry, Position, Record, Sealed};
use crate::testing::key;
use crate::transport::{AppendFault, Transport as _};

/// A record behind another one.
fn record(after: &Position, key: &SigningKey) -> Sealed {
    let entry = Entry::Withdrawal { id: "cm-1".parse().unwrap(), digest: [7; 32] };
    Record::seal(after, &entry, "alice", Timestamp::now(), key).unwrap()
}

/// So many records that follow each other from the start of an epoch.
fn records(count: usize) -> Vec<Sealed> {
    let (key, mut end) = (key("control-1"), Position::start_of(7));
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(record(&end, &key));
        end = records.last().unwrap().position;
    }
    records
}

fn open(directory: &std::path::Path) -> Arc<Embedded> {
    Embedded::open(directory, &Registry::new()).unwrap()
}
