//! What has been handed out of one budget in one window: an account for each gateway that holds some of it.
//!
//! An account has two totals that only grow: granted, and given back. What a request says of them is compared, never added.
//! A request that comes twice, late or out of order changes nothing, and an answer that was lost is given again. Pure bookkeeping:
//! whoever keeps a share sees to it that nobody else changes it meanwhile.

use config::Limit;
use serde::{Deserialize, Serialize};

use super::LeaseRefusal;
use super::terms::Terms;
use crate::lease::{LeaseAnswer, LeaseRequest, MOST_GRANTED};
use crate::window::Window;

/// The least that is handed out while there is as much.
pub(super) const LEAST_PART: u64 = 64 << 10;
/// A part is at most so much of what is left, so that the last bytes go round in small parts.
const PARTS: u64 = 4;
/// Accounts that are remembered of one budget. Beyond that the one that has been quiet for longest counts as spent.
pub(super) const MOST_ACCOUNTS: usize = 64;

/// What has been handed out of one budget in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Share {
    ends_at: i64,
    /// When the manifest was issued whose limit was applied last. An older one is not applied over it.
    issued_at: i64,
    /// What accounts held that are forgotten by now: it counts as spent.
    settled: u64,
    /// The one that was used last comes last.
    accounts: Vec<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    gateway: String,
    account: u64,
    granted: u64,
    returned: u64,
}

impl Share {
    /// A budget of which nothing is handed out yet.
    pub(super) fn new(window: Window) -> Self {
        Self { ends_at: window.ends_at, issued_at: i64::MIN, settled: 0, accounts: Vec::new() }
    }

    /// When the window ends, in Unix seconds.
    pub(super) fn ends_at(&self) -> i64 {
        self.ends_at
    }

    /// Takes back what `gateway` returns, and hands out what it asks for, within the limit.
    pub(super) fn serve(
        &mut self,
        gateway: &str,
        request: &LeaseRequest,
        terms: &Terms,
    ) -> Result<LeaseAnswer, LeaseRefusal> {
        if terms.issued_at < self.issued_at {
            return Err(LeaseRefusal::Behind);
        }
        self.issued_at = terms.issued_at;
        let Some(mut account) = self.take(gateway, request) else {
            return Ok(LeaseAnswer { granted: None, left: self.left(terms.limit) });
        };
        // A gateway that has heard of more than is written down is believed: then something was lost here. What one that
        // closes its account has not heard of, it will never spend.
        let forgoes = request.closes || request.granted > account.granted;
        account.granted = if forgoes { request.granted } else { account.granted };
        account.returned = account.returned.max(request.returned).min(account.granted);
        let heard_all = account.granted == request.granted;
        self.accounts.push(account);
        let part = if heard_all && !request.closes { self.part(request.want, terms.limit) } else { 0 };
        let granted = self.accounts.last_mut().map_or(0, |account| {
            account.granted = account.granted.saturating_add(part).min(MOST_GRANTED);
            account.granted
        });
        self.settle(request);
        Ok(LeaseAnswer { granted: Some(granted), left: self.left(terms.limit) })
    }

    /// Takes the account out of the list, or opens it. One that was granted something before and is not known is not opened.
    fn take(&mut self, gateway: &str, request: &LeaseRequest) -> Option<Account> {
        let known = |account: &Account| account.account == request.account && account.gateway == gateway;
        if let Some(index) = self.accounts.iter().position(known) {
            return Some(self.accounts.remove(index));
        }
        let (gateway, account) = (gateway.to_owned(), request.account);
        (request.granted == 0).then_some(Account { gateway, account, granted: 0, returned: 0 })
    }

    fn part(&self, want: u64, limit: Limit) -> u64 {
        match self.left(limit) {
            None => want,
            Some(left) => want.min((left / PARTS).max(LEAST_PART.min(left))),
        }
    }

    /// Forgets accounts that need not be remembered: closed ones, empty ones, and the quietest of too many.
    fn settle(&mut self, request: &LeaseRequest) {
        if self.accounts.last().is_some_and(|account| request.closes || account.granted == 0) {
            self.accounts
                .pop()
                .iter()
                .for_each(|closed| self.settled = self.settled.saturating_add(closed.held()));
        }
        while self.accounts.len() > MOST_ACCOUNTS {
            let quiet = self.accounts.remove(0);
            self.settled = self.settled.saturating_add(quiet.held());
        }
    }

    /// What nobody holds; `None` when there is no limit.
    fn left(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Unlimited => None,
            Limit::Bytes(bytes) => Some(bytes.saturating_sub(self.held())),
        }
    }

    /// What is spent or may be.
    fn held(&self) -> u64 {
        self.accounts.iter().map(Account::held).fold(self.settled, u64::saturating_add)
    }
}

impl Account {
    fn held(&self) -> u64 {
        self.granted.saturating_sub(self.returned)
    }
}

#[cfg(test)]
mod tests;
