//! The open window of one device and agent: its cells, and who still spends from earlier ones.
//!
//! Relies on its owner for exclusive access. Never reads or writes the store.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};

use config::Limit;
use policy_sync::window::Window;

use super::desk::Desk;
use super::fleet::Fleet;
use super::lease::SharedCell;
use super::store::{Place, Row, Subject};
use super::{BudgetSubject, Spending};

/// Rounds without a session before a book's leases are given back, so that a short pause costs nothing.
const QUIET_ROUNDS: u8 = 2;

/// The budgets of one device and agent.
#[derive(Debug)]
pub(super) struct Book {
    window: Window,
    manifest: Arc<SharedCell>,
    rules: HashMap<Arc<str>, Arc<SharedCell>>,
    /// Cells of ended windows, as long as sessions hold them.
    former: Vec<Weak<SharedCell>>,
    /// The `issued_at` of the manifest whose limits are in force: an older one's are not applied over them.
    granted_at: i64,
    quiet_rounds: u8,
    backing: Backing,
}

/// What the cells of a book rely on.
#[derive(Debug, Clone)]
pub(super) struct Backing {
    pub(super) desk: Arc<Desk>,
    /// Where several gateways share the budgets.
    pub(super) fleet: Option<Arc<Fleet>>,
}

/// What a round finds a book to be.
#[derive(Debug)]
pub(super) enum Use {
    /// Sessions hold it, or did a moment ago.
    Held,
    /// These cells gave back what they held: the store has to hear what was spent, and a control plane what is left.
    Returns(Vec<(Arc<SharedCell>, u64)>),
    /// Nobody holds it and the store knows all of it.
    Forgettable,
}

impl Book {
    /// A window that opens with full budgets.
    pub(super) fn open(subject: Subject, window: Window, backing: Backing) -> Self {
        Self::recall(subject, Row { window, spent: 0, rules: Vec::new() }, backing)
    }

    /// A window as the store knows it. Its limits are nil until a manifest grants them.
    pub(super) fn recall(subject: Subject, row: Row, backing: Backing) -> Self {
        let Row { window, spent, rules } = row;
        let place = |rule| Place { subject: subject.clone(), window, rule };
        let recalled = |(pattern, spent): (Arc<str>, u64)| {
            (Arc::clone(&pattern), backing.cell(place(Some(pattern)), Limit::Bytes(0), spent))
        };
        Self {
            window,
            manifest: backing.cell(place(None), Limit::Bytes(0), spent),
            rules: rules.into_iter().map(recalled).collect(),
            former: Vec::new(),
            granted_at: i64::MIN,
            quiet_rounds: 0,
            backing,
        }
    }

    /// The window that is open.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// Ends the window and opens the next. Sessions keep spending from the cells they hold.
    pub(super) fn turn_to(&mut self, window: Window) {
        let next = Self::open(self.manifest.place.subject.clone(), window, self.backing.clone());
        let ended = std::mem::replace(self, next);
        let cells = ended.cells().map(Arc::downgrade).chain(ended.former.iter().cloned());
        self.former = cells.filter(|cell| cell.strong_count() > 0).collect();
    }

    /// Applies the limits that a manifest grants, to the sessions it finds as to those to come. A manifest that has
    /// been superseded meanwhile changes nothing.
    pub(super) fn grant(&mut self, subject: &BudgetSubject<'_>) {
        let current = subject.issued_at >= self.granted_at;
        if let Some((pattern, limit)) = subject.rule {
            self.grant_rule(pattern, limit, subject.issued_at, current);
        }
        if current {
            self.granted_at = subject.issued_at;
            self.manifest.set_limit(subject.manifest_limit, subject.issued_at, &self.backing.desk);
            self.grant_former(subject);
        }
    }

    fn grant_rule(&mut self, pattern: &str, limit: Limit, issued_at: i64, current: bool) {
        match self.rules.get(pattern) {
            Some(cell) if current => cell.set_limit(limit, issued_at, &self.backing.desk),
            Some(_) => {}
            None => {
                let pattern: Arc<str> = pattern.into();
                let place = Place { rule: Some(Arc::clone(&pattern)), ..self.manifest.place.clone() };
                let cell = self.backing.cell(place, Limit::Bytes(0), 0);
                cell.set_limit(limit, issued_at, &self.backing.desk);
                self.rules.insert(pattern, cell);
            }
        }
    }

    fn grant_former(&self, subject: &BudgetSubject<'_>) {
        let set =
            |cell: &Arc<SharedCell>, limit| cell.set_limit(limit, subject.issued_at, &self.backing.desk);
        for cell in self.former.iter().filter_map(Weak::upgrade) {
            match (&cell.place.rule, subject.rule) {
                (None, _) => set(&cell, subject.manifest_limit),
                (Some(of), Some((pattern, limit))) if of.as_ref() == pattern => set(&cell, limit),
                (Some(_), _) => {}
            }
        }
    }

    /// The cells that a session under `subject` spends from: its rule's, and the manifest's.
    pub(super) fn cells_for(
        &mut self,
        subject: &BudgetSubject<'_>,
    ) -> (Option<Arc<SharedCell>>, Arc<SharedCell>) {
        self.quiet_rounds = 0;
        let rule = subject.rule.and_then(|(pattern, _)| self.rules.get(pattern)).map(Arc::clone);
        rule.iter().chain([&self.manifest]).for_each(|cell| cell.keep_open());
        (rule, Arc::clone(&self.manifest))
    }

    /// Called once a round, with nobody able to open a session meanwhile.
    pub(super) fn age(&mut self) -> Use {
        self.former.retain(|cell| cell.strong_count() > 0);
        if self.is_held() {
            self.quiet_rounds = 0;
            let former: Vec<_> = self.former.iter().filter_map(Weak::upgrade).collect();
            let idle = self.cells().chain(&former).filter(|cell| cell.rests()).map(exactly);
            return Use::of(idle.collect(), Use::Held);
        }
        self.quiet_rounds = self.quiet_rounds.saturating_add(1);
        if self.quiet_rounds < QUIET_ROUNDS {
            return Use::Held;
        }
        let kept = |cell: &&Arc<SharedCell>| !cell.is_clean() || !cell.is_settled();
        let returns = self.cells().filter(kept).map(end_lease).collect();
        Use::of(returns, if self.former.is_empty() { Use::Forgettable } else { Use::Held })
    }

    /// Ends every lease for good, sessions or not; what they had taken is what was spent.
    pub(super) fn seal(&self) -> Vec<(Arc<SharedCell>, u64)> {
        self.cells().map(|cell| (Arc::clone(cell), cell.seal())).collect()
    }

    /// What has been sent in this window.
    pub(super) fn spending(&self) -> Spending {
        let rules = self.rules.iter().map(|(pattern, cell)| (Arc::clone(pattern), cell.sent()));
        Spending { window: self.window, bytes: self.manifest.sent(), rules: rules.collect() }
    }

    fn is_held(&self) -> bool {
        let held = self.cells().any(|cell| Arc::strong_count(cell) > 1);
        // What the last holder did to the cell happened before it let go of it.
        fence(Ordering::Acquire);
        held
    }

    fn cells(&self) -> impl Iterator<Item = &Arc<SharedCell>> {
        std::iter::once(&self.manifest).chain(self.rules.values())
    }
}

impl Use {
    fn of(returns: Vec<(Arc<SharedCell>, u64)>, otherwise: Self) -> Self {
        if returns.is_empty() { otherwise } else { Self::Returns(returns) }
    }
}

impl Backing {
    fn cell(&self, place: Place, limit: Limit, spent: u64) -> Arc<SharedCell> {
        SharedCell::new(place, limit, spent, self.fleet.clone())
    }
}

fn end_lease(cell: &Arc<SharedCell>) -> (Arc<SharedCell>, u64) {
    (Arc::clone(cell), cell.end_lease())
}

fn exactly(cell: &Arc<SharedCell>) -> (Arc<SharedCell>, u64) {
    (Arc::clone(cell), cell.as_spent(cell.cell.taken()))
}
