//! What a cell has with the control plane: an account of totals, and what to ask for next.
//!
//! The numbers go as [`policy_sync::lease`] explains. An account belongs to one cell of one process and is given a random name, so
//! that nothing a process forgot can be taken for something it heard. Pure bookkeeping: never sends anything.

use policy_sync::lease::{LeaseAnswer, LeaseRequest, MOST_GRANTED};

use super::store::Place;

/// The first part that is asked for, in bytes, and the least.
const LEAST_PART: u64 = 64 << 10;
/// Each part that is asked for is so many times the one before: whoever uploads much soon asks seldom.
const GROWTH: u64 = 2;

/// An account with the control plane.
#[derive(Debug)]
pub(super) struct Account {
    name: u64,
    granted: u64,
    returned: u64,
    /// How much of it the control plane is known to have taken back.
    taken_back: u64,
    /// The last part that was handed out.
    last: u64,
}

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes more may be spent.
    More(u64),
    /// Nothing more, although something is left: an answer to a request that was asked before.
    Nothing,
    /// The budget is used up.
    Spent,
    /// The control plane does not know the account; another one was begun.
    BegunAnew,
}

impl Account {
    /// An account that nobody knows yet.
    pub(super) fn new() -> Self {
        let name = uuid::Uuid::now_v7().as_u64_pair();
        Self { name: name.0.rotate_left(32) ^ name.1, granted: 0, returned: 0, taken_back: 0, last: 0 }
    }

    /// Asks for up to `want` bytes, and says what was given back. With `closes` the account ends.
    pub(super) fn request(&self, place: &Place, issued_at: i64, want: u64, closes: bool) -> LeaseRequest {
        LeaseRequest {
            device: place.subject.device.to_string(),
            agent: place.subject.agent.to_string(),
            rule: place.rule.as_deref().map(str::to_owned),
            issued_at,
            account: self.name,
            granted: self.granted,
            returned: self.returned,
            want,
            closes,
        }
    }

    /// Takes over the answer to `request`. Says what it comes to, and how many bytes were taken back by it.
    pub(super) fn hear(&mut self, request: &LeaseRequest, answer: &LeaseAnswer) -> (Heard, u64) {
        let Some(granted) = answer.granted.filter(|granted| (self.granted..=MOST_GRANTED).contains(granted))
        else {
            *self = Self::new();
            return (Heard::BegunAnew, 0);
        };
        let returned = request.returned.saturating_sub(self.taken_back);
        self.taken_back += returned;
        let more = granted - self.granted;
        self.granted = granted;
        if request.closes {
            *self = Self::new();
        } else if more > 0 {
            self.last = more;
            return (Heard::More(more), returned);
        }
        (if answer.left == Some(0) { Heard::Spent } else { Heard::Nothing }, returned)
    }

    /// Gives back up to `bytes`; says how many that are.
    pub(super) fn give_back(&mut self, bytes: u64) -> u64 {
        let given = bytes.min(self.granted - self.returned);
        self.returned += given;
        // Whoever stopped uploading begins again with a small part.
        self.last = 0;
        given
    }

    /// Whether the control plane has still to hear of what was given back.
    pub(super) fn owes(&self) -> bool {
        self.taken_back < self.returned
    }

    /// Whether the control plane knows of it.
    pub(super) fn is_open(&self) -> bool {
        self.granted > 0
    }

    /// How much to ask for next, in bytes.
    pub(super) fn next_part(&self) -> u64 {
        self.last.saturating_mul(GROWTH).max(LEAST_PART)
    }

    /// With how many bytes left it is time to ask.
    pub(super) fn low_water(&self) -> u64 {
        self.last / 2
    }
}
