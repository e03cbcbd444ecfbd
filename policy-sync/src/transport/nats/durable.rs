//! A write of which one knows afterwards whether it happened.
//!
//! Every write says what it expects to find, and carries a name of its own. When no answer comes, it is tried again: should
//! the first try have been kept after all, the second is refused, and the name shows that what is there is ours. Without
//! the name, two control planes that write the same value would both believe to have been the one.

use std::error::Error as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use tokio::time::Instant;

use super::bus::with_causes;
use crate::transport::{AppendFault, TransportFault};

/// The header with the name of a write.
const WRITE: &str = "Portcullis-Write";
/// How long one try waits for its answer.
pub(super) const TRY: Duration = Duration::from_secs(2);
/// How long a write is tried for: longer than a cluster needs for a new leader.
const LONGEST: Duration = Duration::from_secs(12);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// The same, and how long in all, while another write is in flight.
const MOMENT: Duration = Duration::from_millis(2);
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// How a cluster refuses a write that another one in flight has overtaken.
const OVERTAKEN: ErrorCode = ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT;

/// What a write expects to find.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// The last sequence of the whole stream.
    Last(u64),
    /// The last sequence under its own subject; 0 for none.
    LastOfSubject(u64),
}

impl Expected {
    /// Whether a write that finds this is in its place.
    fn is_met_by(self, there: Option<&StreamMessage>) -> bool {
        match self {
            Self::Last(_) => there.is_none(),
            Self::LastOfSubject(sequence) => there.map_or(0, |there| there.sequence) == sequence,
        }
    }
}

/// One write.
#[derive(Debug)]
pub(super) struct Write<'a> {
    subject: &'a str,
    headers: HeaderMap,
    value: Bytes,
    expected: Expected,
    name: String,
}

impl<'a> Write<'a> {
    pub(super) fn new(subject: &'a str, mut headers: HeaderMap, value: Bytes, expected: Expected) -> Self {
        let name = uuid::Uuid::now_v7().to_string();
        headers.insert(WRITE, name.as_str());
        Self { subject, headers, value, expected, name }
    }

    /// Writes, and says under which sequence.
    ///
    /// # Errors
    /// [`AppendFault::Taken`] when something else is there; [`AppendFault::Transport`] when that could not be found out.
    pub(super) async fn to(
        self,
        jetstream: &jetstream::Context,
        stream: &Stream<()>,
    ) -> Result<u64, AppendFault> {
        let (begun, mut in_doubt) = (Instant::now(), false);
        loop {
            let fault = match self.attempt(jetstream).await {
                Ok(sequence) => return Ok(sequence),
                Err(fault) => fault,
            };
            let tried = begun.elapsed();
            let pause = match outcome(&fault) {
                Outcome::Refused => return Err(transport_fault(&fault).into()),
                Outcome::Taken => match self.found(stream).await {
                    Ok(Some(there)) if is_named(&there, &self.name) => return Ok(there.sequence),
                    // Refused although what was expected is there: another write is in flight, and will show or be gone in a
                    // moment. After an unanswered try it may be our own.
                    Ok(there) if self.expected.is_met_by(there.as_ref()) => match in_doubt {
                        true if tried >= LONGEST => return Err(transport_fault(&fault).into()),
                        false if tried >= IN_FLIGHT => return Err(AppendFault::Taken),
                        true | false => MOMENT,
                    },
                    Ok(_) => return Err(AppendFault::Taken),
                    Err(fault) if tried >= LONGEST => return Err(fault.into()),
                    Err(_) => PAUSE,
                },
                Outcome::Unknown if tried >= LONGEST => return Err(transport_fault(&fault).into()),
                Outcome::Unknown => {
                    in_doubt = true;
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, jetstream: &jetstream::Context) -> Result<u64, PublishError> {
        let message = PublishMessage::build().headers(self.headers.clone()).payload(self.value.clone());
        let message = match self.expected {
            Expected::Last(sequence) => message.expected_last_sequence(sequence),
            Expected::LastOfSubject(sequence) => message.expected_last_subject_sequence(sequence),
        };
        let answer = jetstream.send_publish(self.subject.to_owned(), message).await?;
        Ok(answer.await?.sequence)
    }

    /// What stands where the write was to go, by the leader's word.
    async fn found(&self, stream: &Stream<()>) -> Result<Option<StreamMessage>, TransportFault> {
        match self.expected {
            Expected::Last(sequence) => at_sequence(stream, sequence + 1).await,
            Expected::LastOfSubject(_) => last_of_subject(stream, self.subject).await,
        }
    }
}

enum Outcome {
    Taken,
    Refused,
    Unknown,
}

fn outcome(fault: &PublishError) -> Outcome {
    match fault.kind() {
        PublishErrorKind::WrongLastSequence => Outcome::Taken,
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::WrongLastMessageId => Outcome::Refused,
        // Nobody answers while a cluster looks for a new leader.
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending => Outcome::Unknown,
        PublishErrorKind::Other => {
            match fault.source().and_then(|cause| cause.downcast_ref::<jetstream::Error>()) {
                Some(cause) if cause.error_code() == OVERTAKEN => Outcome::Taken,
                // 503: the system is between two states.
                Some(cause) if cause.code() != 503 => Outcome::Refused,
                Some(_) | None => Outcome::Unknown,
            }
        }
    }
}

fn is_named(message: &StreamMessage, name: &str) -> bool {
    message.headers.get(WRITE).is_some_and(|there| there.as_str() == name)
}

/// The message of this sequence, by the leader's word.
pub(super) async fn at_sequence(
    stream: &Stream<()>,
    sequence: u64,
) -> Result<Option<StreamMessage>, TransportFault> {
    found(stream.get_raw_message(sequence).await)
}

/// The last message of this subject, by the leader's word.
pub(super) async fn last_of_subject(
    stream: &Stream<()>,
    subject: &str,
) -> Result<Option<StreamMessage>, TransportFault> {
    found(stream.get_last_raw_message_by_subject(subject).await)
}

fn found(answer: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, TransportFault> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(fault) if fault.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(fault) => Err(transport_fault(&fault)),
    }
}

/// Any fault of NATS, as the fault of a transport.
pub(super) fn transport_fault(fault: &dyn std::error::Error) -> TransportFault {
    TransportFault(format!("NATS: {}", with_causes(fault)))
}
