//! How many questions a device may have under way: the rest wait their turn, and hold up nobody but that device.
//!
//! Remembers only devices that are asking or waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::DeviceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions under way for one device, each being an A and an AAAA.
const PER_DEVICE: usize = 8;

/// All devices' turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<DeviceId, Arc<Semaphore>>>);

/// A turn; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Fields are dropped in this order: the permit first, so that the queue finds the semaphore unused.
    _permit: OwnedSemaphorePermit,
    _queue: Queue,
}

/// A device's place in the map, for as long as somebody of it waits or asks.
#[derive(Debug)]
struct Queue {
    turns: Arc<Turns>,
    device: DeviceId,
}

impl Turns {
    /// Waits for a turn of `device`.
    pub(super) async fn wait(self: &Arc<Self>, device: &DeviceId) -> Option<Turn> {
        let queue = Queue { turns: Arc::clone(self), device: device.clone() };
        let semaphore = self.semaphore_of(device);
        // Never closed, so waiting does not fail.
        let permit = semaphore.acquire_owned().await.ok()?;
        Some(Turn { _permit: permit, _queue: queue })
    }

    fn semaphore_of(&self, device: &DeviceId) -> Arc<Semaphore> {
        let mut devices = self.lock();
        Arc::clone(devices.entry(device.clone()).or_insert_with(|| Arc::new(Semaphore::new(PER_DEVICE))))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Semaphore>>> {
        // The map is whole between any two statements under the lock, so a poisoned one is as good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut devices = self.turns.lock();
        // Semaphores are only handed out under this lock: if the map's is the last, nobody is about to use it.
        if devices.get(&self.device).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            devices.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::DeviceId;

    use super::{PER_DEVICE, Turns};

    #[tokio::test]
    async fn a_device_waits_for_its_own_turns_only_and_is_forgotten_afterwards() {
        let turns = Arc::<Turns>::default();
        let (busy, other): (DeviceId, DeviceId) = ("device-1".parse().unwrap(), "device-2".parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..PER_DEVICE {
            held.push(turns.wait(&busy).await.unwrap());
        }
        let mut waiting = Box::pin(turns.wait(&busy));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(turns.wait(&other).await.unwrap());
        held.pop();
        drop(waiting.await.unwrap());
        let abandoned = Box::pin(turns.wait(&busy));
        drop(abandoned);
        drop(held);
        assert!(turns.lock().is_empty());
    }
}
