//! Resolution: from a destination the policy allows to addresses the screen allows.
//!
//! Asks only with a [`Permit`]: a name that the policy denies never reaches a name server. Fixed addresses from the
//! settings come first, then the cache, then the name servers, A and AAAA together and always by absolute name. One
//! question is under way for a name at a time, whoever waits for it, and a device has a bounded number of them.
//!
//! Every address of an answer is screened, in all families and after all aliases, each time it is used. If one is
//! prohibited, the whole answer is refused: an answer that mixes public and internal addresses is an attack or a
//! mistake, and picking the good ones would hide it. What is cached is the answer, never the verdict.
//!
//! Never dials, and never follows a search list.

mod cache;
mod flights;
mod servers;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use config::settings::DnsSettings;
use config::{Destination, DeviceId, Host, Name, Reason};
use tokio::time::Instant;

use self::cache::Cache;
use self::flights::{Flights, Seat};
pub use self::servers::NameServerFault;
use self::servers::NameServers;
use self::turns::Turns;
use crate::authorize::Permit;
use crate::screen::{EgressAddr, Prohibited, Screen};

/// Names that are remembered at a time.
const REMEMBERED_NAMES: usize = 4096;

/// Looks destinations up.
#[derive(Debug)]
pub struct Resolver {
    screen: Arc<Screen>,
    hosts: HashMap<Name, Vec<IpAddr>>,
    max_addresses: usize,
    budget: Duration,
    questions: Arc<Questions>,
}

/// What outlives the session that asked: a question goes on when its session goes away, for others may wait for it.
#[derive(Debug)]
struct Questions {
    servers: NameServers,
    cache: Cache,
    flights: Flights,
    turns: Arc<Turns>,
}

/// The addresses of a destination, all of them screened; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenedAddrs(Vec<EgressAddr>);

/// Why a destination has no address to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveFault {
    /// The name does not exist, or has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The name servers failed, or cannot be reached.
    #[error("the name servers failed")]
    Failed,
    /// The name servers did not answer in time.
    #[error("the name servers did not answer in time")]
    TimedOut,
    /// An address in the answer is prohibited.
    #[error(transparent)]
    Prohibited(#[from] Prohibited),
    /// The name itself is one of a metadata service.
    #[error("the name belongs to a cloud metadata service")]
    ProhibitedName,
}

/// The addresses the name servers gave, before screening, or why there are none. Cheap to clone.
type Outcome = Result<Arc<[IpAddr]>, Miss>;

/// Why the name servers gave no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Miss {
    NoAddress,
    Failed,
    TimedOut,
}

impl Resolver {
    /// A resolver by `settings` that gives every look-up `budget` time, and screens with `screen`.
    ///
    /// # Errors
    /// When the resolver for the configured name servers cannot be built.
    pub fn new(
        settings: &DnsSettings,
        budget: Duration,
        screen: Arc<Screen>,
    ) -> Result<Self, NameServerFault> {
        let max_addresses = usize::try_from(settings.max_addresses).unwrap_or(usize::MAX);
        let questions = Questions {
            servers: NameServers::new(&settings.servers, budget)?,
            cache: Cache::new(REMEMBERED_NAMES, max_addresses, settings.negative_ttl),
            flights: Flights::default(),
            turns: Arc::default(),
        };
        let hosts = settings.hosts.iter().map(|(name, addresses)| (name.clone(), addresses.clone()));
        Ok(Self { screen, hosts: hosts.collect(), max_addresses, budget, questions: Arc::new(questions) })
    }

    /// The screened addresses of the permitted destination, within the look-up budget.
    ///
    /// # Errors
    /// [`ResolveFault`].
    pub async fn resolve(&self, permit: &Permit) -> Result<ScreenedAddrs, ResolveFault> {
        self.addresses_of(permit.destination(), permit.device()).await
    }

    async fn addresses_of(
        &self,
        destination: &Destination,
        device: &DeviceId,
    ) -> Result<ScreenedAddrs, ResolveFault> {
        match destination.host() {
            Host::Ip(ip) => self.screened(&[*ip], destination.port()),
            Host::Name(name) => self.screened(&self.answer_for(name, device).await?, destination.port()),
        }
    }

    async fn answer_for(&self, name: &Name, device: &DeviceId) -> Result<Arc<[IpAddr]>, ResolveFault> {
        if self.screen.prohibits_name(name.as_str()) {
            return Err(ResolveFault::ProhibitedName);
        }
        if let Some(fixed) = self.hosts.get(name) {
            return Ok(fixed.as_slice().into());
        }
        let deadline = Instant::now() + self.budget;
        // A waiter that gives up leaves the question to the others.
        let outcome = tokio::time::timeout_at(deadline, self.questions.ask(name, device, deadline)).await;
        Ok(outcome.unwrap_or(Err(Miss::TimedOut))?)
    }

    /// All of `addresses`, or the refusal of one; those beyond the maximum are screened too, then left out.
    fn screened(&self, addresses: &[IpAddr], port: u16) -> Result<ScreenedAddrs, ResolveFault> {
        let admitted = addresses.iter().map(|ip| self.screen.admit(SocketAddr::new(*ip, port)));
        let mut admitted = admitted.collect::<Result<Vec<_>, _>>()?;
        admitted.truncate(self.max_addresses);
        ScreenedAddrs::new(admitted).ok_or(ResolveFault::NoAddress)
    }
}

impl Questions {
    async fn ask(self: &Arc<Self>, name: &Name, device: &DeviceId, deadline: Instant) -> Outcome {
        if let Some(known) = self.cache.find(name, Instant::now()) {
            return known;
        }
        if let Some(seat) = self.flights.join(name) {
            return seat.landed().await;
        }
        // The turn comes before the flight: were it the other way round, a device that is out of turns would hold up
        // everybody who asks for the same name.
        let turn = self.turns.wait(device).await;
        match self.flights.join_or_start(name) {
            None => Err(Miss::Failed),
            Some(Seat::Passenger(seat)) => seat.landed().await,
            Some(Seat::Pilot(flight, seat)) => {
                let questions = Arc::clone(self);
                tokio::spawn(async move {
                    let (outcome, ttl) = questions.servers.ask(flight.name(), deadline).await;
                    questions.cache.keep(flight.name(), &outcome, ttl, Instant::now());
                    flight.land(outcome);
                    drop(turn);
                });
                seat.landed().await
            }
        }
    }
}

impl ScreenedAddrs {
    /// Addresses that have passed the screen, in the order of the answer; `None` if there are none.
    #[must_use]
    pub(crate) fn new(addresses: Vec<EgressAddr>) -> Option<Self> {
        if addresses.is_empty() { None } else { Some(Self(addresses)) }
    }

    /// The addresses, in the order of the answer.
    pub fn iter(&self) -> impl Iterator<Item = EgressAddr> + '_ {
        self.0.iter().copied()
    }
}

impl ResolveFault {
    /// The word for it in answers and events.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAddress => Reason::DnsRefused,
            Self::Failed => Reason::DnsFailed,
            Self::TimedOut => Reason::DnsTimeout,
            Self::Prohibited(refusal) => refusal.reason(),
            Self::ProhibitedName => Reason::AddressProhibited,
        }
    }

    /// Which rule of the screen refused it, in fixed words.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Prohibited(refusal) => Some(refusal.why.as_str()),
            Self::ProhibitedName => Some("the name of a cloud metadata service"),
            Self::NoAddress | Self::Failed | Self::TimedOut => None,
        }
    }
}

impl From<Miss> for ResolveFault {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NoAddress => Self::NoAddress,
            Miss::Failed => Self::Failed,
            Miss::TimedOut => Self::TimedOut,
        }
    }
}
