//! May a device come back without a full handshake? Tickets that end with the trust under which they were given out.
//!
//! A ticket spares the signatures of a handshake and nothing else: whoever takes a resumed connection asks
//! [`DeviceVerifier::identify`] about the chain in it, as after a full handshake. Beyond that a ticket opens only under the
//! epoch of its making, so that a device whose standing changed has to show its certificate again; and it remembers when
//! the device last proved that it holds its key, so that tickets given out for tickets do not prolong that proof.
//!
//! Relies on rustls for the protocol: TLS 1.3 with a fresh key exchange each time. Keys are random, belong to one
//! configuration of one process and are never written down; they are replaced after one lifetime and gone after two.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use crate::verifier::DeviceVerifier;

/// The longest lifetime of a ticket.
pub const LONGEST_TICKET: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes by which a ticket names its key.
const NAME: usize = 16;
/// Bytes that say when the device proved that it holds its key.
const SINCE: usize = 8;

/// What one handshake knows about the proof that its device holds the key of its certificate.
///
/// Both calls happen inside the handshake, on the thread and in the task that drives it. Times are Unix seconds.
pub trait Possession: Send + Sync {
    /// A ticket was opened whose device gave its proof at `since`.
    fn resumed(&self, since: i64);

    /// When the device of this handshake gave its proof: `now`, unless a ticket said otherwise. `None` when no handshake
    /// is known to be under way; then no ticket is given out.
    fn since(&self, now: i64) -> Option<i64>;
}

/// Gives out tickets and opens them.
pub struct Tickets {
    verifier: Arc<DeviceVerifier>,
    possession: Arc<dyn Possession>,
    clock: Arc<dyn TimeProvider>,
    lifetime: u32,
    keys: ArcSwapOption<Keys>,
    /// Held while keys are made.
    making: Mutex<()>,
}

/// The keys of one epoch.
struct Keys {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME],
    epoch: u64,
    /// Unix seconds.
    made: i64,
    cipher: RandomizedNonceKey,
}

impl Tickets {
    /// Tickets for the devices that `verifier` knows. A device has to prove anew that it holds its key after `lifetime`,
    /// which is taken in whole seconds and cut at [`LONGEST_TICKET`].
    #[must_use]
    pub fn new(
        verifier: Arc<DeviceVerifier>,
        possession: Arc<dyn Possession>,
        clock: Arc<dyn TimeProvider>,
        lifetime: Duration,
    ) -> Self {
        let lifetime = u32::try_from(lifetime.min(LONGEST_TICKET).as_secs()).unwrap_or(0);
        Self { verifier, possession, clock, lifetime, keys: ArcSwapOption::empty(), making: Mutex::default() }
    }

    fn now(&self) -> Option<i64> {
        i64::try_from(self.clock.current_time()?.as_secs()).ok()
    }

    /// The key to seal with now, made if there is none.
    fn current(&self, now: i64) -> Option<Arc<Key>> {
        let epoch = self.verifier.epoch();
        let fitting = |keys: &Keys| self.seals(&keys.current, epoch, now).then(|| Arc::clone(&keys.current));
        if let Some(key) = self.keys.load().as_deref().and_then(fitting) {
            return Some(key);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.keys.load();
        if let Some(key) = held.as_deref().and_then(fitting) {
            return Some(key);
        }
        let previous = held.as_deref().map(|keys| &keys.current).filter(|key| self.opens(key, epoch, now));
        let current = Arc::new(Key::make(epoch, now)?);
        let keys = Keys { current: Arc::clone(&current), previous: previous.cloned() };
        self.keys.store(Some(Arc::new(keys)));
        Some(current)
    }

    fn seals(&self, key: &Key, epoch: u64, now: i64) -> bool {
        key.epoch == epoch && (0..i64::from(self.lifetime)).contains(&(now - key.made))
    }

    fn opens(&self, key: &Key, epoch: u64, now: i64) -> bool {
        key.epoch == epoch && (0..2 * i64::from(self.lifetime)).contains(&(now - key.made))
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        let since = self.possession.since(now)?;
        self.current(now)?.seal(since, plain)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let now = self.now()?;
        let (name, sealed) = ticket.split_first_chunk::<NAME>()?;
        let epoch = self.verifier.epoch();
        let keys = self.keys.load();
        let keys = keys.as_deref()?;
        let mut usable = std::iter::once(&keys.current).chain(&keys.previous);
        let key = usable.find(|key| key.name == *name && self.opens(key, epoch, now))?;
        let (since, plain) = key.open(sealed)?;
        if !(0..i64::from(self.lifetime)).contains(&(now - since)) {
            return None;
        }
        self.possession.resumed(since);
        Some(plain)
    }
}

impl Key {
    fn make(epoch: u64, now: i64) -> Option<Self> {
        let mut secret = [0; 32];
        let mut name = [0; NAME];
        rand::fill(&mut secret).ok()?;
        rand::fill(&mut name).ok()?;
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?;
        Some(Self { name, epoch, made: now, cipher })
    }

    /// `name ‖ nonce ‖ AES-256-GCM(since ‖ plain)`; the name is authenticated too.
    fn seal(&self, since: i64, plain: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(SINCE + plain.len() + AES_256_GCM.tag_len());
        body.extend_from_slice(&since.to_be_bytes());
        body.extend_from_slice(plain);
        let nonce = self.cipher.seal_in_place_append_tag(Aad::from(self.name), &mut body).ok()?;
        Some([&self.name[..], nonce.as_ref(), &body].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<(i64, Vec<u8>)> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher.open_in_place(nonce, Aad::from(self.name), &mut body).ok()?;
        let (since, plain) = opened.split_first_chunk::<SINCE>()?;
        Some((i64::from_be_bytes(*since), plain.to_vec()))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
