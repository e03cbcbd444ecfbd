//! The side of a control plane that gateways talk to: their reports, and their questions for leases.
//!
//! Every control plane hears every report, and one of them each question. A gateway counts as connected for as long as its
//! reports come; they come every second.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::names::Names;
use super::word::{APART, Answered, Asked, Refused, Reported, heard, seal};
use super::{Keys, NatsFault};
use crate::envelope::PayloadType;
use crate::keys::SigningKey;
use crate::transport::Desk;

/// A gateway that has not reported for so long is gone.
const GONE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How many questions are answered at a time.
const AT_A_TIME: usize = 256;
/// How many questions are remembered, so that none counts twice.
const REMEMBERED: usize = 65_536;
/// The queue group of which one control plane gets each question.
const GROUP: &str = "control";

/// Who attends to the gateways.
pub struct Attendance {
    /// What answers.
    pub desk: Arc<dyn Desk>,
    /// The keys that count now.
    pub keys: Keys,
    /// The key that signs answers, with the role of control.
    pub control: Arc<SigningKey>,
    /// What is counted.
    pub metrics: BusMetrics,
}

impl std::fmt::Debug for Attendance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendance").field("control", &self.control).finish_non_exhaustive()
    }
}

/// What a control plane counts of the bus.
#[derive(Debug, Clone)]
pub struct BusMetrics {
    /// Reports and questions of gateways that were refused, by reason.
    pub refused: IntCounterVec,
}

impl BusMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "portcullis_control_refused_messages_total",
                "Reports and lease requests from NATS that were refused.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        for reason in Refused::ALL {
            refused.with_label_values(&[reason.label()]);
        }
        Ok(Self { refused })
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Subscribes; the tasks then do the listening.
pub(super) async fn begin(
    client: &Client,
    names: &Names,
    attendance: Attendance,
) -> Result<[Task; 2], NatsFault> {
    let unreachable = |fault: async_nats::SubscribeError| NatsFault::Unreachable(fault.to_string());
    let reports = client.subscribe(names.report(">")).await.map_err(unreachable)?;
    let questions = client.queue_subscribe(names.lease(">"), GROUP.into()).await.map_err(unreachable)?;
    let attendance = Arc::new(attendance);
    let reports = hear_reports(names.clone(), Arc::clone(&attendance), reports);
    let questions = hear_questions(client.clone(), names.clone(), attendance, questions);
    Ok([Box::pin(reports), Box::pin(questions)])
}

/// What is known of a gateway that has reported.
struct Presence {
    connection: u64,
    at_us: u64,
    heard: Instant,
    here: bool,
}

async fn hear_reports(names: Names, attendance: Arc<Attendance>, mut reports: Subscriber) {
    let mut present: HashMap<String, Presence> = HashMap::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            message = reports.next() => {
                let Some(message) = message else { return };
                if let Err(refused) = report(&names, &attendance, &mut present, &message) {
                    attendance.refuse(refused, &message);
                }
            }
            _ = look.tick() => sweep(&attendance, &mut present),
        }
    }
}

fn report(
    names: &Names,
    attendance: &Attendance,
    present: &mut HashMap<String, Presence>,
    message: &Message,
) -> Result<(), Refused> {
    let under = names.gateway_of(&message.subject).ok_or(Refused::Misplaced)?;
    let word: Reported = heard(&message.payload, under, now_us(), &(attendance.keys)())?;
    let Reported { gateway, connection, at_us, report } = word;
    let before = present.get(&gateway);
    if before.is_some_and(|before| at_us <= before.at_us || connection < before.connection) {
        return Err(Refused::Replayed);
    }
    if let Some(before) = before.filter(|before| before.here && before.connection != connection) {
        attendance.desk.left(&gateway, before.connection);
    }
    attendance.desk.reported(&gateway, connection, report);
    present.insert(gateway, Presence { connection, at_us, heard: Instant::now(), here: true });
    Ok(())
}

/// Says of the silent that they left; and forgets them once an old report of theirs would be refused for its age.
fn sweep(attendance: &Attendance, present: &mut HashMap<String, Presence>) {
    for (gateway, presence) in present.iter_mut() {
        if presence.here && presence.heard.elapsed() > GONE {
            presence.here = false;
            attendance.desk.left(gateway, presence.connection);
        }
    }
    present.retain(|_, presence| presence.here || presence.heard.elapsed() < remembered_for());
}

async fn hear_questions(
    client: Client,
    names: Names,
    attendance: Arc<Attendance>,
    mut questions: Subscriber,
) {
    let mut remembered: HashMap<(String, String), Instant> = HashMap::new();
    let mut answering = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            message = questions.next() => {
                let Some(message) = message else { return };
                let asked = match question(&names, &attendance, &mut remembered, &message) {
                    Ok(_) if answering.len() >= AT_A_TIME => Err(Refused::Busy),
                    asked => asked,
                };
                match asked {
                    Ok(asked) => {
                        answering.spawn(answer(client.clone(), Arc::clone(&attendance), asked, message));
                    }
                    Err(refused) => attendance.refuse(refused, &message),
                }
            }
            Some(_) = answering.join_next() => {}
            _ = look.tick() => remembered.retain(|_, heard| heard.elapsed() < remembered_for()),
        }
    }
}

fn question(
    names: &Names,
    attendance: &Attendance,
    remembered: &mut HashMap<(String, String), Instant>,
    message: &Message,
) -> Result<Asked, Refused> {
    let under = names.gateway_of(&message.subject).ok_or(Refused::Misplaced)?;
    let asked: Asked = heard(&message.payload, under, now_us(), &(attendance.keys)())?;
    if asked.nonce.len() > 64 {
        return Err(Refused::Malformed);
    }
    let name = (asked.gateway.clone(), asked.nonce.clone());
    if remembered.contains_key(&name) {
        return Err(Refused::Replayed);
    }
    if remembered.len() >= REMEMBERED {
        return Err(Refused::Busy);
    }
    remembered.insert(name, Instant::now());
    Ok(asked)
}

async fn answer(client: Client, attendance: Arc<Attendance>, asked: Asked, message: Message) {
    let Some(reply) = message.reply else { return };
    let (answer, fault) = match attendance.desk.lease(&asked.gateway, asked.request).await {
        Ok(answer) => (Some(answer), None),
        Err(fault) => (None, Some(fault.to_string())),
    };
    let answered = Answered { gateway: asked.gateway, nonce: asked.nonce, answer, fault };
    let envelope: Bytes = seal(PayloadType::Lease, &answered, &attendance.control);
    if let Err(fault) = client.publish(reply, envelope).await {
        tracing::warn!(%fault, "the answer to a gateway could not be sent to NATS");
    }
}

impl Attendance {
    fn refuse(&self, refused: Refused, message: &Message) {
        self.metrics.refused.with_label_values(&[refused.label()]).inc();
        tracing::debug!(subject = %message.subject, reason = %refused, "a message from NATS is refused");
    }
}

/// Longer than a word can be repeated before its age gives it away.
fn remembered_for() -> Duration {
    Duration::from_micros(2 * APART) + GONE
}

/// Unix microseconds.
pub(super) fn now_us() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}
