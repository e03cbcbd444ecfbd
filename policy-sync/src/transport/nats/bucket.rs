//! Values under keys, each with a version: a key-value bucket as every NATS tool reads it.
//!
//! Everything is read by the leader's word, because whoever compares and sets must not be shown the past for long.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::NatsFault;
use super::durable::{Expected, Write, last_of_subject, transport_fault};
use super::records::make;
use crate::transport::{AppendFault, CellVersion, TransportFault};

/// How NATS marks that a key is gone.
const OPERATION: &str = "KV-Operation";
const GONE: &str = "DEL";

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    jetstream: jetstream::Context,
    stream: stream::Stream<()>,
    subjects: String,
}

/// A value.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) revision: CellVersion,
    pub(super) value: Bytes,
    pub(super) headers: HeaderMap,
    /// When it was written, in Unix seconds of the server.
    pub(super) at: i64,
}

impl Bucket {
    /// The bucket of this name, made if it is missing.
    pub(super) async fn open(jetstream: &jetstream::Context, name: &str) -> Result<Self, NatsFault> {
        let subjects = subjects(name);
        let config = stream::Config {
            name: stream_of(name),
            subjects: vec![format!("{subjects}>")],
            max_messages_per_subject: 1,
            allow_rollup: true,
            ..stream::Config::default()
        };
        let stream = make(jetstream, config).await?;
        Ok(Self { jetstream: jetstream.clone(), stream, subjects })
    }

    /// The value under a key.
    pub(super) async fn value(&self, key: &str) -> Result<Option<Kept>, TransportFault> {
        let message = last_of_subject(&self.stream, &self.subject(key)).await?;
        Ok(message.filter(|message| message.headers.get(OPERATION).is_none()).map(|message| Kept {
            revision: message.sequence,
            value: message.payload,
            headers: message.headers,
            at: message.time.unix_timestamp(),
        }))
    }

    /// The keys that begin with this, in order.
    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, TransportFault> {
        let all = self.stream.info_with_subjects(format!("{}>", self.subjects)).await;
        let subjects: Vec<(String, usize)> = all
            .map_err(|fault| transport_fault(&fault))?
            .try_collect()
            .await
            .map_err(|fault| transport_fault(&fault))?;
        let keys = subjects.iter().filter_map(|(subject, _)| subject.strip_prefix(&self.subjects));
        let mut keys: Vec<String> = keys.filter(|key| key.starts_with(prefix)).map(str::to_owned).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Writes a value, if its version is still the expected one.
    pub(super) async fn set(
        &self,
        key: &str,
        expected: Option<CellVersion>,
        value: Bytes,
        headers: HeaderMap,
    ) -> Result<CellVersion, AppendFault> {
        let expected = Expected::LastOfSubject(expected.unwrap_or(0));
        let subject = self.subject(key);
        Write::new(&subject, headers, value, expected).to(&self.jetstream, &self.stream).await
    }

    /// Removes a value, if its version is still the expected one.
    pub(super) async fn remove(&self, key: &str, expected: Option<CellVersion>) -> Result<(), AppendFault> {
        let Some(expected) = expected else {
            return match self.value(key).await? {
                Some(_) => Err(AppendFault::Taken),
                None => Ok(()),
            };
        };
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, GONE);
        let mark = self.set(key, Some(expected), Bytes::new(), headers).await?;
        // The mark has done its work. Where it cannot be swept, the key is still listed, and has no value.
        if let Err(fault) = self.stream.delete_message(mark).await {
            tracing::debug!(%fault, "the mark of a removed value stays");
        }
        Ok(())
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.subjects)
    }
}

/// The stream of a bucket, as NATS names it.
pub(super) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// What the subjects of a bucket begin with, as NATS names them.
pub(super) fn subjects(bucket: &str) -> String {
    format!("$KV.{bucket}.")
}
