//! How many streams may one device have open?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::DeviceId;

/// The most streams of one device: an agent each, and a few that are about to be noticed as gone.
pub(super) const MOST: usize = 16;

/// The open streams of every device.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<DeviceId, usize>>>);

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Places,
    device: DeviceId,
}

impl Places {
    pub(super) fn take(&self, device: &DeviceId) -> Option<Place> {
        let mut open = self.open();
        let count = open.entry(device.clone()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Place { of: self.clone(), device: device.clone() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<DeviceId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open();
        if let Some(count) = open.get_mut(&self.device) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.device);
            }
        }
    }
}
