//! What one session holds to count its uploads: its own budget, its rule's and its manifest's.
//!
//! Every byte is reserved in all three before it is written, and settled right after the write: a meter holds nothing
//! between two writes, so sessions that share a budget never wait for a slow one. Reserving and settling are a few
//! atomic operations each; no lock, no allocation, no system call.
//!
//! Relies on [`super::cell`] for exactness and on [`super::lease`] for durability. Never writes to a socket.

use std::sync::Arc;

use config::{Limit, Reason};
use policy_sync::window::Window;

use super::cell::{Cell, Grant, MOST_AT_ONCE};
use super::desk::Desk;
use super::lease::{LeaseFault, SharedCell};

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `upload_bytes_per_session`: this session's alone.
    Session,
    /// `upload_bytes` of the rule: all sessions through it.
    Rule,
    /// `upload_bytes` of the manifest: all its sessions.
    Manifest,
}

/// The answer to [`Meter::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reservation that is not settled blocks the budget for every session that shares it"]
pub enum Reserved {
    /// Write at most so many bytes, then call [`Meter::settle`], before anything is awaited.
    Granted(usize),
    /// Other sessions' writes hold what is left: yield to them, then ask again.
    Busy,
    /// The limit of this scope has been sent: the session ends.
    Spent(Scope),
    /// The budget's lease is used up: wait for [`Meter::lease_extended`], then ask again.
    NeedsLease,
}

/// The upload budgets of one session.
#[derive(Debug)]
pub struct Meter {
    session: Cell,
    rule: Option<Arc<SharedCell>>,
    manifest: Arc<SharedCell>,
    desk: Arc<Desk>,
    window: Window,
}

impl Meter {
    /// A meter over these budgets. Their leases are asked for at once, so that they are there by the first write.
    pub(super) fn new(
        session: Limit,
        rule: Option<Arc<SharedCell>>,
        manifest: Arc<SharedCell>,
        desk: Arc<Desk>,
        window: Window,
    ) -> Self {
        let meter = Self { session: Cell::fleeting(session), rule, manifest, desk, window };
        meter.keep_leased();
        meter
    }

    /// Takes up to `want` bytes from every scope. What is granted is settled before the next reservation.
    pub fn reserve(&self, want: usize) -> Reserved {
        let want = u64::try_from(want).unwrap_or(u64::MAX).min(MOST_AT_ONCE);
        if want == 0 {
            return Reserved::Granted(0);
        }
        match self.reserve_everywhere(want) {
            Ok(granted) => {
                self.keep_leased();
                Reserved::Granted(usize::try_from(granted).unwrap_or(usize::MAX))
            }
            Err(refused) => refused,
        }
    }

    fn reserve_everywhere(&self, want: u64) -> Result<u64, Reserved> {
        let session = granted(self.session.reserve(want), Scope::Session)?;
        let rule = self.reserve_rule(session).inspect_err(|_| self.session.settle(session, 0))?;
        let manifest = granted(self.manifest.cell.reserve(rule), Scope::Manifest).inspect_err(|_| {
            self.session.settle(session, 0);
            self.settle_rule(rule, 0);
        })?;
        give_back(&self.session, session - manifest);
        if let Some(cell) = &self.rule {
            give_back(&cell.cell, rule - manifest);
        }
        Ok(manifest)
    }

    fn reserve_rule(&self, want: u64) -> Result<u64, Reserved> {
        self.rule.as_ref().map_or(Ok(want), |rule| granted(rule.cell.reserve(want), Scope::Rule))
    }

    /// Ends a reservation: of the `granted` bytes, `written` were handed to the upstream socket.
    pub fn settle(&self, granted: usize, written: usize) {
        let granted = u64::try_from(granted).unwrap_or(u64::MAX);
        let written = u64::try_from(written).unwrap_or(u64::MAX);
        self.session.settle(granted, written);
        self.settle_rule(granted, written);
        self.manifest.cell.settle(granted, written);
    }

    fn settle_rule(&self, granted: u64, written: u64) {
        if let Some(rule) = &self.rule {
            rule.cell.settle(granted, written);
        }
    }

    /// Waits until a reservation would not be refused for want of a lease. Dropping the future is harmless.
    ///
    /// # Errors
    /// [`LeaseFault`] when the budget cannot be written down, or nobody hands out more of it: the session ends, for without a
    /// lease it would be unlimited. A later session tries again.
    pub async fn lease_extended(&self) -> Result<(), LeaseFault> {
        if let Some(rule) = &self.rule {
            rule.leased(&self.desk).await?;
        }
        self.manifest.leased(&self.desk).await
    }

    /// Waits until a session may begin that has declared an upload of so many bytes: until something is held of every budget that
    /// several gateways share. Returns at once where nothing has to be waited for.
    ///
    /// # Errors
    /// [`LeaseFault`] when less is left than was declared, or nobody hands out anything.
    pub async fn opened(&self, declared: Option<u64>) -> Result<(), LeaseFault> {
        let bytes = declared.unwrap_or(0).max(1);
        if let Some(rule) = &self.rule {
            rule.opened(&self.desk, bytes).await?;
        }
        self.manifest.opened(&self.desk, bytes).await
    }

    /// Whether an upload of `bytes` would fit into what every scope has left.
    ///
    /// # Errors
    /// The scope that has less left.
    pub fn affords(&self, bytes: u64) -> Result<(), Scope> {
        match self.scopes().find(|scope| scope.left().is_some_and(|left| left < bytes)) {
            Some(scope) => Err(scope.name()),
            None => Ok(()),
        }
    }

    /// The scope whose limit has been sent, if any: such a session need not begin.
    #[must_use]
    pub fn spent(&self) -> Option<Scope> {
        self.scopes().find(Counted::is_spent).map(|scope| scope.name())
    }

    /// The bytes that the tightest scope has left, reservations under way deducted; `None` when nothing limits them.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.scopes().filter_map(|scope| scope.left()).min()
    }

    /// The bytes this session has handed to the upstream socket.
    #[must_use]
    pub fn uploaded(&self) -> u64 {
        self.session.committed()
    }

    /// Applies a superseding manifest's `upload_bytes_per_session` to what this session has already sent.
    pub fn set_session_limit(&self, limit: Limit) {
        self.session.set_limit(limit, 0);
    }

    /// The window this session spends from.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    fn scopes(&self) -> impl Iterator<Item = Counted<'_>> {
        let rule = self.rule.as_deref().map(Counted::Rule);
        [Counted::Session(&self.session)].into_iter().chain(rule).chain([Counted::Manifest(&self.manifest)])
    }

    fn keep_leased(&self) {
        if let Some(rule) = &self.rule {
            rule.keep_leased(&self.desk);
        }
        self.manifest.keep_leased(&self.desk);
    }
}

impl Drop for Meter {
    /// Gives back what a write that never returned had reserved, so that it blocks nobody else.
    fn drop(&mut self) {
        let under_way = self.session.taken() - self.session.committed();
        if under_way > 0 {
            self.settle_rule(under_way, 0);
            self.manifest.cell.settle(under_way, 0);
        }
    }
}

/// One of the budgets that a session is counted in.
enum Counted<'a> {
    Session(&'a Cell),
    Rule(&'a SharedCell),
    Manifest(&'a SharedCell),
}

impl Counted<'_> {
    fn name(&self) -> Scope {
        match self {
            Self::Session(_) => Scope::Session,
            Self::Rule(_) => Scope::Rule,
            Self::Manifest(_) => Scope::Manifest,
        }
    }

    fn left(&self) -> Option<u64> {
        match self {
            Self::Session(cell) => cell.left(),
            Self::Rule(cell) | Self::Manifest(cell) => cell.left(),
        }
    }

    fn is_spent(&self) -> bool {
        match self {
            Self::Session(cell) => cell.is_spent(),
            Self::Rule(cell) | Self::Manifest(cell) => cell.is_spent(),
        }
    }
}

impl Scope {
    /// The scope in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Rule => "rule",
            Self::Manifest => "manifest",
        }
    }

    /// Why a session ends that has sent the limit of this scope.
    #[must_use]
    pub fn reason(self) -> Reason {
        Reason::UploadLimitExceeded
    }
}

fn granted(grant: Grant, scope: Scope) -> Result<u64, Reserved> {
    match grant {
        Grant::Granted(bytes) => Ok(bytes),
        Grant::Busy => Err(Reserved::Busy),
        Grant::Spent => Err(Reserved::Spent(scope)),
        Grant::Unleased => Err(Reserved::NeedsLease),
    }
}

fn give_back(cell: &Cell, bytes: u64) {
    if bytes > 0 {
        cell.settle(bytes, 0);
    }
}
