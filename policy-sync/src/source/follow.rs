//! The source that follows a control plane's log, over whatever link carries it.
//!
//! In reading order: [`run`] is the loop; [`replica`] what it makes of what it hears; [`course`] the pure rules of how far
//! the log was followed; [`holdings`] what the log holds here; [`proof`] and [`errand`] what is verified, and fetched,
//! beside the frames; [`keeper`] and [`receipts`] when something is on the disk and may be reported.
//!
//! The link is trusted with delivery only. Starting never waits for it: the gateway begins with what it kept, as stale as
//! that is, and follows from there.

mod backoff;
mod course;
mod errand;
mod holdings;
mod keeper;
mod proof;
mod receipts;
mod refusal;
mod replica;
mod run;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use audit::Recorder;
use jiff::{SignedDuration, Timestamp};
use prometheus::Registry;
use tokio::sync::watch;

use crate::feed::Feed;
use crate::keys::KeyRing;
use crate::metrics::PolicyMetrics;
use crate::signed::Approvals;
use crate::snapshot::PolicyBounds;
use crate::source::SourceFault;
use crate::source::dir::CrlSink;
use crate::source::intake::{Authorities, Intake};
use crate::source::kept::Kept;
use crate::transport::Link;
use course::Course;
use holdings::Holdings;
use keeper::Keeper;
use receipts::{Reached, Receipts};
use refusal::{FollowMetrics, Refusals};
use replica::Replica;
use run::Runner;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// How many sessions are live.
pub type Sessions = Box<dyn Fn() -> u64 + Send>;

/// How many envelopes of the last good policy are read at a time.
const READ_AT_ONCE: usize = 4096;

/// What following a log needs to know.
pub struct FollowOptions {
    /// Where the gateway keeps what it must not forget, a directory of its own; made when it is missing.
    pub state: PathBuf,
    /// The keys that count, those of control planes among them.
    pub keys: KeyRing,
    /// Whose manifests need more than their author's signature.
    pub approvals: Approvals,
    /// What the gateway's settings impose.
    pub bounds: PolicyBounds,
    /// The way to the control plane.
    pub link: Arc<dyn Link>,
    /// The version of the program, as it reports itself.
    pub version: String,
    /// How many sessions are live, for the reports.
    pub sessions: Sessions,
    /// What heartbeats are compared with.
    pub clock: Clock,
}

impl FollowOptions {
    /// Options without approvals, with a wall clock that never runs backwards, that report no sessions.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>, keys: KeyRing, bounds: PolicyBounds, link: Arc<dyn Link>) -> Self {
        Self {
            state: state.into(),
            keys,
            approvals: Approvals::default(),
            bounds,
            link,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: Box::new(|| 0),
            clock: wall_clock(),
        }
    }
}

impl fmt::Debug for FollowOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowOptions").field("state", &self.state).finish_non_exhaustive()
    }
}

/// A wall clock that never runs backwards, so that setting it back makes nothing look fresher than it is.
fn wall_clock() -> Clock {
    let (began, began_at) = (Timestamp::now(), Instant::now());
    Arc::new(move || {
        let measured = SignedDuration::try_from(began_at.elapsed()).unwrap_or_default();
        Timestamp::now().max(began.saturating_add(measured).unwrap_or(began))
    })
}

/// What the thread is told from outside. Only the last word counts.
#[derive(Debug, Clone)]
enum Orders {
    Follow,
    Rebind(Box<(Authorities, PolicyBounds)>),
    Stop,
}

/// A log that is being followed. Dropping it ends the following; what it published stays in force.
#[derive(Debug)]
pub struct FollowSource {
    orders: watch::Sender<Orders>,
    thread: Option<JoinHandle<()>>,
}

impl FollowSource {
    /// Publishes the last good policy, as stale as it is, and follows the log from then on.
    ///
    /// # Errors
    /// [`SourceFault`] when the state directory cannot be used, is in use, or is damaged. A control plane that cannot be
    /// reached is no such fault: it may come back.
    pub fn start(
        options: FollowOptions,
        feed: Arc<Feed>,
        recorder: Recorder,
        registry: &Registry,
        crls: CrlSink,
    ) -> Result<Self, SourceFault> {
        let FollowOptions { state, keys, approvals, bounds, link, version, sessions, clock } = options;
        let (metrics, follow_metrics) =
            (PolicyMetrics::register(registry)?, FollowMetrics::register(registry)?);
        let refusals = Refusals::new(follow_metrics, recorder.clone());
        let authorities = Authorities { ring: keys, approvals };
        let (intake, memory) = Intake::open(&state, authorities, bounds, feed, recorder, metrics)?;
        let kept = memory.kept.clone();
        let replica = resume(intake, &kept, refusals, crls, clock).map_err(SourceFault::State)?;
        let receipts = Receipts::new(Reached { position: replica.intake.position(), revision: 0 });
        let keeper = Keeper::start(memory).map_err(SourceFault::Thread)?;
        let runner = Runner::new(replica, (keeper, kept), receipts, link, (version, sessions));
        let (orders, obeyed) = watch::channel(Orders::Follow);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(SourceFault::Thread)?;
        let thread = thread::Builder::new().name("policy".into()).spawn(move || {
            runtime.block_on(runner.run(obeyed));
            // An errand that is still out is not waited for.
            runtime.shutdown_background();
        });
        Ok(Self { orders, thread: Some(thread.map_err(SourceFault::Thread)?) })
    }

    /// Puts other keys, approvals and bounds in force: everything held is verified anew. Returns at once.
    pub fn reload(&self, keys: KeyRing, approvals: Approvals, bounds: PolicyBounds) {
        let authorities = Authorities { ring: keys, approvals };
        self.orders.send_replace(Orders::Rebind(Box::new((authorities, bounds))));
    }
}

impl Drop for FollowSource {
    fn drop(&mut self) {
        self.orders.send_replace(Orders::Stop);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Puts in force what was kept, and takes up the course where it was left.
fn resume(
    mut intake: Intake,
    kept: &Kept,
    refusals: Refusals,
    crls: CrlSink,
    clock: Clock,
) -> std::io::Result<Replica> {
    let began = Instant::now();
    let mut holdings = Holdings::new(crls, kept.crls()?);
    kept.parked()?.into_iter().for_each(|digest| holdings.was_parked(digest));
    let authorities = intake.authorities().clone();
    for digests in kept.manifest_digests()?.chunks(READ_AT_ONCE) {
        for (digest, envelope) in errand::reprove(kept, digests, &authorities) {
            holdings.restore(&mut intake, &digest, envelope);
        }
    }
    holdings.hand_on_crls();
    intake.publish(began);
    let now = clock();
    let heard = kept.fresh().filter(|heard| *heard <= now);
    if let Some(age) = kept.age(now) {
        intake.feed().set_age(age);
    }
    tracing::info!(position = ?intake.position(), age = ?kept.age(now), "following from the last good policy");
    let course = Course::resume(intake.position(), heard);
    Ok(Replica::new(intake, course, holdings, refusals, clock))
}

#[cfg(test)]
mod tests;
