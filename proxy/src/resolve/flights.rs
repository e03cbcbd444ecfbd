//! Questions under way: one for each name, however many wait for it.
//!
//! A question flies on its own task, so the session that asked first may go away without taking the others' answer
//! along. If that task dies, its flight leaves the board and whoever waits is told that the look-up failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::Name;
use tokio::sync::watch;

use super::{Miss, Outcome};

/// Questions under way at a time, for all devices together.
const MOST_FLIGHTS: usize = 4096;

type Landed = Option<Outcome>;
type Board = HashMap<Name, watch::Receiver<Landed>>;

/// All questions under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Flights(Arc<Mutex<Board>>);

/// A question whose asker is this very task.
#[derive(Debug)]
pub(super) struct Flight {
    name: Name,
    landing: watch::Sender<Landed>,
    board: Flights,
}

/// A place from which to wait for the answer.
#[derive(Debug)]
pub(super) struct Passenger(watch::Receiver<Landed>);

/// Who somebody turns out to be who wants an answer.
#[derive(Debug)]
pub(super) enum Seat {
    /// The one who has to ask, and waits too.
    Pilot(Flight, Passenger),
    /// One who waits.
    Passenger(Passenger),
}

impl Flights {
    /// A place in the question for `name`, if one is under way.
    pub(super) fn join(&self, name: &Name) -> Option<Passenger> {
        self.lock().get(name).cloned().map(Passenger)
    }

    /// A place in the question for `name`, or the task to ask it; `None` when too many are under way.
    pub(super) fn join_or_start(&self, name: &Name) -> Option<Seat> {
        let mut board = self.lock();
        if let Some(landing) = board.get(name) {
            return Some(Seat::Passenger(Passenger(landing.clone())));
        }
        if board.len() >= MOST_FLIGHTS {
            return None;
        }
        let (landing, landed) = watch::channel(None);
        board.insert(name.clone(), landed.clone());
        Some(Seat::Pilot(Flight { name: name.clone(), landing, board: self.clone() }, Passenger(landed)))
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // The board is whole between any two statements under the lock, so a poisoned one is as good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The name that is asked for.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Tells everybody who waits.
    pub(super) fn land(self, outcome: Outcome) {
        self.landing.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.board.lock().remove(&self.name);
    }
}

impl Passenger {
    /// The answer, once it is there.
    pub(super) async fn landed(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Err(Miss::Failed)),
            Err(_) => Err(Miss::Failed),
        }
    }
}
