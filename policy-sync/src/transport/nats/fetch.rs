//! Reading what a stream holds from whichever server is near, without a consumer.
//!
//! Such a server may be a little behind. Whoever needs to know the end asks the leader about it.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::bucket::{stream_of, subjects};
use super::durable::transport_fault;
use super::records::{ANEW, MOST_BYTES};
use crate::transport::TransportFault;

/// How long the next message of an answer may take.
const NEXT: Duration = Duration::from_secs(5);
/// What a server says behind the last message of an answer.
const END: u16 = 204;
/// The header with the sequence of a message.
const SEQUENCE: &str = "Nats-Sequence";

/// Up to `most` messages of a stream, which follow each other from the sequence `first` on. None when that one is not
/// there, or not yet.
pub(super) async fn batch(
    client: &Client,
    stream: &str,
    subject: &str,
    first: u64,
    most: usize,
) -> Result<Vec<Bytes>, TransportFault> {
    let ask = serde_json::json!({
        "seq": first.max(1), "next_by_subj": subject, "batch": most, "max_bytes": MOST_BYTES,
    });
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|fault| transport_fault(&fault))?;
    let ask = Bytes::from(ask.to_string());
    let sent = client.publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, ask).await;
    sent.map_err(|fault| transport_fault(&fault))?;
    let mut records = Vec::new();
    let mut whole = true;
    loop {
        let answer = tokio::time::timeout(NEXT, answers.next()).await;
        let Ok(Some(answer)) = answer else {
            return Err(TransportFault("NATS: no answer to a request for records".into()));
        };
        if !carries(&answer)? {
            return Ok(records);
        }
        let place = answer.headers.as_ref().and_then(|headers| headers.get(SEQUENCE)?.as_str().parse().ok());
        let mark = answer.headers.as_ref().is_some_and(|headers| headers.get(ANEW).is_some());
        whole &= place == Some(first + records.len() as u64) && !mark;
        if whole && records.len() < most {
            records.push(answer.payload);
        }
    }
}

/// The value of a bucket, with its headers.
pub(super) async fn value(
    client: &Client,
    bucket: &str,
    key: &str,
) -> Result<Option<(HeaderMap, Bytes)>, TransportFault> {
    let subject = format!("$JS.API.DIRECT.GET.{}.{}{key}", stream_of(bucket), subjects(bucket));
    let answer = client.request(subject, Bytes::new()).await.map_err(|fault| transport_fault(&fault))?;
    Ok(carries(&answer)?.then(|| (answer.headers.unwrap_or_default(), answer.payload)))
}

/// Whether an answer carries a message, or says that there is none.
fn carries(answer: &Message) -> Result<bool, TransportFault> {
    match answer.status {
        None => Ok(true),
        Some(status) if status == StatusCode::NOT_FOUND || status.as_u16() == END => Ok(false),
        Some(status) => {
            let text = answer.description.as_deref().unwrap_or("");
            Err(TransportFault(format!("NATS: the answer is {status} {text}")))
        }
    }
}
