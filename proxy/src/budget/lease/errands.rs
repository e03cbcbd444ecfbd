//! What a cell and the control plane say to each other: what is asked for, and what an answer comes to.

use std::time::Instant;

use policy_sync::lease::{LeaseAnswer, LeaseRequest};

use super::{Dealings, SharedCell};
use crate::budget::account::Heard;
use crate::budget::cell::NOT_NOW;

impl SharedCell {
    /// Whether the control plane is to hear something, or to hand out more.
    pub(in crate::budget) fn has_errand(&self) -> bool {
        let dealings = self.dealings();
        self.fleet.is_some() && !dealings.drawing && (dealings.has_news() || self.next_part(&dealings) > 0)
    }

    /// Whether the control plane holds nothing of the cell any more, so that nothing is lost by forgetting it.
    pub(in crate::budget) fn is_settled(&self) -> bool {
        let dealings = self.dealings();
        !dealings.drawing && !dealings.account.is_open()
    }

    /// The next request, if there is any errand; then one is under way until it is answered or not.
    pub(in crate::budget) fn next_request(&self) -> Option<LeaseRequest> {
        let mut dealings = self.dealings();
        let part = self.next_part(&dealings);
        if dealings.drawing || (part == 0 && !dealings.has_news()) {
            return None;
        }
        dealings.drawing = true;
        dealings.needed = 0;
        self.cell.hand(self.cell.handed(), NOT_NOW);
        let closes = dealings.closes && dealings.account.is_open();
        let want = if closes { 0 } else { part };
        Some(dealings.account.request(&self.place, dealings.issued_at, want, closes))
    }

    fn next_part(&self, dealings: &Dealings) -> u64 {
        let held = self.cell.held().unwrap_or(u64::MAX);
        let over = dealings.closes || dealings.is_spent() || !self.cell.may_draw();
        if over || !(self.cell.draws() || held < dealings.needed) {
            return 0;
        }
        let behind = self.cell.taken().saturating_sub(self.cell.handed());
        let needed = dealings.needed.saturating_sub(held);
        let ahead = dealings.account.next_part().min(self.cell.largest_part());
        ahead.max(needed).saturating_add(behind).min(self.cell.undrawn())
    }

    /// The control plane has answered the request that is under way. Says what that comes to, and how many bytes it has just taken back.
    pub(in crate::budget) fn answered(&self, request: &LeaseRequest, answer: &LeaseAnswer) -> (Heard, u64) {
        let heard = {
            let mut dealings = self.dealings();
            dealings.drawing = false;
            dealings.answers += 1;
            dealings.left = answer.left;
            let (heard, returned) = dealings.account.hear(request, answer);
            dealings.spent_since = (answer.left == Some(0)).then(Instant::now);
            match heard {
                Heard::More(bytes) if self.cell.is_sealed() => {
                    dealings.account.give_back(bytes);
                }
                Heard::More(bytes) => {
                    let handed = self.cell.handed().saturating_add(bytes);
                    self.cell.hand(handed, handed.saturating_sub(dealings.account.low_water()));
                }
                Heard::Nothing | Heard::Spent | Heard::BegunAnew => {
                    self.cell.hand(self.cell.handed(), NOT_NOW)
                }
            }
            (heard, returned)
        };
        self.moved.notify_waiters();
        heard
    }

    /// The request that was under way was not answered.
    pub(in crate::budget) fn unanswered(&self) {
        {
            let mut dealings = self.dealings();
            dealings.drawing = false;
            let handed = self.cell.handed();
            let low_water = dealings.account.low_water();
            let draws_at = if low_water > 0 { handed.saturating_sub(low_water) } else { NOT_NOW };
            self.cell.hand(handed, draws_at);
        }
        self.moved.notify_waiters();
    }
}
