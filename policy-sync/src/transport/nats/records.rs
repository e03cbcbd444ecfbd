//! The log as a stream: one message a record, in the order of the log.
//!
//! The sequence of a record in the stream is its sequence in the log plus the base of its [`Era`]: 0 for a log that was
//! never founded anew. A log that is founded anew goes on in the same stream behind a mark, so that every write that
//! still belongs to the old one finds another last sequence than it expects.

use std::time::Duration;

use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{
    ClusterInfo, Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;

use super::durable::{Expected, Write, at_sequence, transport_fault};
use super::fetch::batch;
use super::names::Names;
use super::{NatsFault, bus};
use crate::log::{Record, Sealed};
use crate::transport::{AppendFault, TransportFault};

/// The header of the mark behind which a log goes on anew.
pub(super) const ANEW: &str = "Portcullis-Anew";
/// The most bytes of one answer.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// How many servers keep a copy where there are that many.
const COPIES: usize = 3;
/// How long to wait for a cluster that is still coming together.
const TOGETHER: Duration = Duration::from_secs(30);

/// Which log the stream holds now, and where in the stream it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era {
    /// Its epoch; unknown before the first snapshot.
    pub(super) epoch: Option<u64>,
    /// What its sequences lag behind those of the stream; negative where the stream was begun anew and the log was not.
    pub(super) base: i64,
}

impl Era {
    /// Where a record of this sequence stands in the stream; 0 where it cannot.
    pub(super) fn place(&self, sequence: u64) -> u64 {
        sequence.saturating_add_signed(self.base)
    }

    /// The sequence of the record at this place of the stream; 0 where there is none.
    pub(super) fn sequence(&self, place: u64) -> u64 {
        place.saturating_add_signed(self.base.saturating_neg())
    }
}

/// The stream of the log.
#[derive(Debug)]
pub(super) struct Records {
    jetstream: jetstream::Context,
    stream: Stream<()>,
    name: String,
    subject: String,
}

impl Records {
    pub(super) async fn open(jetstream: &jetstream::Context, names: &Names) -> Result<Self, NatsFault> {
        let (name, subject) = (names.log_stream(), names.log_subject());
        let config = Config { name: name.clone(), subjects: vec![subject.clone()], ..Config::default() };
        let stream = make(jetstream, config).await?;
        Ok(Self { jetstream: jetstream.clone(), stream, name, subject })
    }

    /// Up to `most` records after this sequence. Any server may give the bulk; where it ends, the leader is asked.
    pub(super) async fn read(
        &self,
        client: &Client,
        era: &Era,
        after: u64,
        most: usize,
    ) -> Result<Vec<Bytes>, TransportFault> {
        read(client, &self.stream, (&self.name, &self.subject), era.place(after + 1), most).await
    }

    /// Writes down a record, if the stream still ends right before it.
    ///
    /// One after the other: were several sent at once, the second could be taken behind another control plane's first.
    pub(super) async fn append(&self, era: &Era, record: &Sealed) -> Result<(), AppendFault> {
        let expected = Expected::Last(era.place(record.position.sequence.saturating_sub(1)));
        self.write(HeaderMap::new(), record.envelope.clone(), expected).await.map(drop)
    }

    /// Ends one log, right here, and begins another; says where.
    pub(super) async fn begin_anew(&self) -> Result<u64, AppendFault> {
        let last = self.last().await?;
        let mut headers = HeaderMap::new();
        headers.insert(ANEW, "1");
        self.write(headers, Bytes::new(), Expected::Last(last)).await
    }

    /// The last sequence of the stream, by the leader's word.
    pub(super) async fn last(&self) -> Result<u64, TransportFault> {
        let info = self.stream.get_info().await.map_err(|fault| transport_fault(&fault))?;
        if info.cluster.as_ref().is_none_or(is_from_leader) {
            Ok(info.state.last_sequence)
        } else {
            Err(TransportFault("NATS: the stream of the log has no leader".into()))
        }
    }

    /// The epoch of the first record that is left in a stream that never began anew.
    pub(super) async fn first_epoch(&self) -> Result<Option<u64>, TransportFault> {
        let info = self.stream.get_info().await.map_err(|fault| transport_fault(&fault))?;
        let first = at_sequence(&self.stream, info.state.first_sequence.max(1)).await?;
        Ok(first.and_then(|first| Record::read_own(&first.payload).ok()).map(|record| record.position.epoch))
    }

    /// Drops the records up to this sequence of the stream.
    pub(super) async fn drop_until(&self, sequence: u64) -> Result<(), TransportFault> {
        let purged = self.stream.purge().sequence(sequence + 1).await;
        purged.map(drop).map_err(|fault| transport_fault(&fault))
    }

    async fn write(&self, headers: HeaderMap, value: Bytes, expected: Expected) -> Result<u64, AppendFault> {
        Write::new(&self.subject, headers, value, expected).to(&self.jetstream, &self.stream).await
    }
}

/// Whether a leader said this. While there is none, any server answers with what it has, which may be old; and each lists all
/// but itself as replicas.
fn is_from_leader(cluster: &ClusterInfo) -> bool {
    let leader = cluster.leader.as_deref().filter(|leader| !leader.is_empty());
    leader.is_some_and(|leader| cluster.replicas.iter().all(|replica| replica.name != leader))
}

/// Up to `most` records from this place of the stream on. Any server may give the bulk; where it ends, the leader is asked.
pub(super) async fn read(
    client: &Client,
    stream: &Stream<()>,
    (name, subject): (&str, &str),
    first: u64,
    most: usize,
) -> Result<Vec<Bytes>, TransportFault> {
    let mut records = batch(client, name, subject, first, most).await?;
    let mut bytes: usize = records.iter().map(Bytes::len).sum();
    while records.len() < most && bytes < MOST_BYTES {
        match at_sequence(stream, first + records.len() as u64).await? {
            Some(record) if record.headers.get(ANEW).is_none() => {
                bytes += record.payload.len();
                records.push(record.payload);
            }
            Some(_) | None => break,
        }
    }
    Ok(records)
}

/// The stream with this configuration, made if it is missing: on three servers of a cluster, or on the one that there is.
pub(super) async fn make(jetstream: &jetstream::Context, config: Config) -> Result<Stream<()>, NatsFault> {
    let name = config.name.clone();
    let config = Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        allow_direct: true,
        num_replicas: COPIES,
        ..config
    };
    let until = tokio::time::Instant::now() + TOGETHER;
    loop {
        let wanted = match jetstream.get_stream(&name).await {
            Ok(there) => {
                fit(&there.cached_info().config)?;
                return jetstream.get_stream_no_info(&name).await.map_err(|fault| unfit(&name, &fault));
            }
            Err(_) => Config { ..config.clone() },
        };
        let fault = match jetstream.create_stream(wanted).await {
            Ok(_) => continue,
            Err(fault) => fault,
        };
        match fault.kind() {
            CreateStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
            {
                let alone = Config { num_replicas: 1, ..config.clone() };
                jetstream.create_stream(alone).await.map_err(|fault| unfit(&name, &fault))?;
            }
            _ if tokio::time::Instant::now() >= until => return Err(unfit(&name, &fault)),
            _ => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// What a stream that was there already must not be: forgetful, or early with its word.
fn fit(config: &Config) -> Result<(), NatsFault> {
    let trouble = if config.storage != StorageType::File {
        "keeps its messages in memory"
    } else if config.persist_mode == Some(PersistenceMode::Async) {
        "answers before it has written"
    } else if config.retention != RetentionPolicy::Limits
        || !config.max_age.is_zero()
        || config.max_bytes > 0
        || config.max_messages > 0
    {
        "drops messages by age, size or number"
    } else if config.no_ack || config.sealed {
        "takes nothing, or does not say that it did"
    } else {
        return Ok(());
    };
    Err(NatsFault::Unfit(format!("the stream {} {trouble}", config.name)))
}

fn unfit(name: &str, fault: &dyn std::error::Error) -> NatsFault {
    NatsFault::Unfit(format!("the stream {name} cannot be had: {}", bus::with_causes(fault)))
}
