//! A disk in memory that can be copied at any instant, that remembers every operation, and that fails when told to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use redb::{DatabaseError, StorageBackend};

type Probe = Box<dyn Fn() -> u64 + Send + Sync>;

/// One operation, and what the probe said just before it.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) probed: u64,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// The disk; clones share it.
#[derive(Clone, Default)]
pub(super) struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    tape: Arc<Mutex<Vec<Operation>>>,
    probe: Arc<Mutex<Option<Probe>>>,
    failing: Arc<AtomicBool>,
}

impl Disk {
    /// A disk that holds `bytes`.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), ..Self::default() }
    }

    pub(super) fn opener(&self) -> impl Fn() -> Result<Self, DatabaseError> + Send + Sync + use<> {
        let disk = self.clone();
        move || Ok(disk.clone())
    }

    /// What a crash at this instant leaves behind.
    pub(super) fn image(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// From now on every operation is recorded, with what `probe` says just before it.
    pub(super) fn record(&self, probe: impl Fn() -> u64 + Send + Sync + 'static) {
        *self.probe.lock().unwrap() = Some(Box::new(probe));
    }

    pub(super) fn tape(&self) -> Vec<Operation> {
        self.tape.lock().unwrap().clone()
    }

    pub(super) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn change(&self, change: Change) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if let Some(probe) = self.probe.lock().unwrap().as_ref() {
            self.tape.lock().unwrap().push(Operation { probed: probe(), change: change.clone() });
        }
        apply(&mut self.bytes.lock().unwrap(), &change);
        Ok(())
    }
}

/// Does to `bytes` what `change` did to the disk.
pub(super) fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => bytes[*offset..*offset + data.len()].copy_from_slice(data),
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Sync => {}
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let part = bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}
