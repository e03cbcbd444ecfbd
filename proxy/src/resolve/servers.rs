//! The name servers: one question for A, one for AAAA, at the same time.
//!
//! The library below follows aliases and repeats lost questions. Its cache is off, because how long an answer lives is
//! decided in [`super::cache`], and its search list is never used: names go out absolute.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::Duration;

use config::Name;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name as DnsName, RData, RecordType};
use tokio::time::{Instant, timeout_at};

use super::{Miss, Outcome};

/// Once one family has an answer, how long the other may still take.
const SECOND_FAMILY: Duration = Duration::from_millis(500);
/// How long an answer lives of which one family is missing by a fault.
const HALF_ANSWER_TTL: Duration = Duration::from_secs(5);

/// The resolver for the configured name servers cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the name servers cannot be used: {0}")]
pub struct NameServerFault(#[from] Box<NetError>);

/// The configured name servers, or the system's.
#[derive(Debug)]
pub(super) struct NameServers(TokioResolver);

/// What one family's question came to.
#[derive(Debug)]
enum Half {
    Found(Vec<IpAddr>, Duration),
    Absent(Option<Duration>),
    Failed,
    TimedOut,
}

impl NameServers {
    /// Uses `servers`, or the system's name servers and hosts file if there are none. A lost question is repeated once
    /// within `budget`.
    pub(super) fn new(servers: &[SocketAddr], budget: Duration) -> Result<Self, NameServerFault> {
        let (config, mut options) = match servers {
            [] => of_system(),
            servers => (named(servers), of_files(ResolveHosts::Never)),
        };
        options.timeout = budget / 2;
        options.attempts = 1;
        options.cache_size = 0;
        options.edns0 = true;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self(builder.build().map_err(Box::new)?))
    }

    /// The addresses of `name`, and how long the answer may live: none means it may not.
    pub(super) async fn ask(&self, name: &Name, deadline: Instant) -> (Outcome, Option<Duration>) {
        let Some(name) = absolute(name) else { return (Err(Miss::NoAddress), None) };
        let v4 = pin!(self.family(name.clone(), RecordType::A));
        let v6 = pin!(self.family(name, RecordType::AAAA));
        let (v4, v6) = both(v4, v6, deadline).await;
        together(v4, v6)
    }

    async fn family(&self, name: DnsName, family: RecordType) -> Half {
        match self.0.lookup(name, family).await {
            Ok(lookup) => {
                let records = lookup.answers();
                let addresses: Vec<_> =
                    records.iter().filter_map(|record| address_in(&record.data)).collect();
                // An alias in between may be shorter-lived than the address behind it.
                let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
                let ttl = Duration::from_secs(ttl.into());
                if addresses.is_empty() { Half::Absent(None) } else { Half::Found(addresses, ttl) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(absence))) => {
                Half::Absent(absence.negative_ttl.map(|ttl| Duration::from_secs(ttl.into())))
            }
            Err(NetError::Timeout) => Half::TimedOut,
            Err(_) => Half::Failed,
        }
    }
}

/// Waits for both families, but for the second only a moment once the first has addresses.
async fn both<A, B>(mut v4: Pin<&mut A>, mut v6: Pin<&mut B>, deadline: Instant) -> (Half, Half)
where
    A: Future<Output = Half>,
    B: Future<Output = Half>,
{
    tokio::select! {
        first = &mut v4 => {
            let second = by(patience(&first, deadline), v6).await;
            (first, second)
        }
        first = &mut v6 => {
            let second = by(patience(&first, deadline), v4).await;
            (second, first)
        }
        () = tokio::time::sleep_until(deadline) => (Half::TimedOut, Half::TimedOut),
    }
}

fn patience(first: &Half, deadline: Instant) -> Instant {
    match first {
        Half::Found(..) => deadline.min(Instant::now() + SECOND_FAMILY),
        Half::Absent(_) | Half::Failed | Half::TimedOut => deadline,
    }
}

async fn by(deadline: Instant, half: impl Future<Output = Half>) -> Half {
    timeout_at(deadline, half).await.unwrap_or(Half::TimedOut)
}

fn together(v4: Half, v6: Half) -> (Outcome, Option<Duration>) {
    match (v4, v6) {
        (Half::Found(mut addresses, ttl), Half::Found(others, other_ttl)) => {
            addresses.extend(others);
            (Ok(addresses.into()), Some(ttl.min(other_ttl)))
        }
        (Half::Found(addresses, ttl), Half::Absent(_)) | (Half::Absent(_), Half::Found(addresses, ttl)) => {
            (Ok(addresses.into()), Some(ttl))
        }
        (Half::Found(addresses, ttl), _) | (_, Half::Found(addresses, ttl)) => {
            (Ok(addresses.into()), Some(ttl.min(HALF_ANSWER_TTL)))
        }
        (Half::Absent(ttl), Half::Absent(other_ttl)) => (Err(Miss::NoAddress), ttl.min(other_ttl)),
        (Half::TimedOut, _) | (_, Half::TimedOut) => (Err(Miss::TimedOut), None),
        (Half::Failed, _) | (_, Half::Failed) => (Err(Miss::Failed), None),
    }
}

fn address_in(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(v6.0.into()),
        _ => None,
    }
}

/// The name with its root dot, so that no search list applies to it.
fn absolute(name: &Name) -> Option<DnsName> {
    let mut name = DnsName::from_ascii(name.as_str()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn named(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |addr: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = addr.port();
            connection
        });
        NameServerConfig::new(addr.ip(), true, connections.into())
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

fn of_system() -> (ResolverConfig, ResolverOpts) {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, mut options)) => {
            options.use_hosts_file = ResolveHosts::Always;
            let servers = config.name_servers().to_vec();
            (ResolverConfig::from_parts(None, Vec::new(), servers), options)
        }
        Err(fault) => {
            // What the C library does without resolv.conf.
            tracing::warn!(%fault, "the system names no name servers, trying the one on this machine");
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            (named(&[local]), of_files(ResolveHosts::Always))
        }
    }
}

fn of_files(hosts: ResolveHosts) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.use_hosts_file = hosts;
    options
}
