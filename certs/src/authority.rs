//! A small certificate authority for certificates of devices, gateways and control planes: what `portcullis ca` does.
//!
//! Everything it knows is in its directory: `ca.pem`, `ca.key` (0600), `chain.pem` (an intermediate's way up),
//! `trust-domain`, `issued.jsonl`, `revoked.jsonl`, `crl-number`, `crl.pem`, and `intermediates/<name>/`, each an
//! authority of its own. Every call takes the directory's lock, so that several processes can issue and revoke at once;
//! a crash between two writes loses at most the call that had not answered yet.
//!
//! Relies on the file system keeping what was synced. It never issues a certificate that its index does not list, never
//! uses a CRL number twice, and never prints or logs a key.

mod directory;
mod fault;
mod issued;
mod ledger;
mod profile;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::files::{Reach, Readers, replace};
use config::{AgentName, DeviceId, GatewayName};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::clock::{calendar, now};
use crate::files::lock;
use crate::identity::TrustDomain;

use directory::{check_key, found, random_serial, read, read_optional, short_random};

pub use fault::AuthorityFault;
pub use issued::Issued;
pub use ledger::{IssuedRecord, RevokedRecord};
pub use profile::{Profile, Standing, SubjectKey, Usage};

/// Certificates begin this much before they are issued, for devices whose clock is behind.
const BACKDATED: i64 = 300;

/// What to revoke.
#[derive(Clone, Copy, Debug)]
pub enum Revocable<'a> {
    /// One serial number of this authority: big-endian, leading zeros ignored. It need not be in the index.
    Serial(&'a [u8]),
    /// Every certificate of this device in the index.
    Device(&'a DeviceId),
    /// Every certificate of this gateway in the index. Those that were issued before the index noted gateways are not found.
    Gateway(&'a GatewayName),
    /// This certificate, as PEM. It must have been issued by this authority.
    Certificate(&'a str),
}

/// A certificate authority in a directory.
pub struct Authority {
    dir: PathBuf,
    trust_domain: TrustDomain,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    /// Own and higher intermediates, without the root: what a holder presents after its own certificate. Empty for a root.
    presented: String,
    not_after: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new root in `dir`, which is created when missing and must not hold an authority yet.
    ///
    /// `validity` counts from now; the year 9999 is the end.
    ///
    /// # Errors
    /// [`AuthorityFault::Exists`] when there is one already; otherwise a malformed trust domain, or a file that cannot be written.
    pub fn init(dir: &Path, trust_domain: &str, validity: Duration) -> Result<Self, AuthorityFault> {
        let trust_domain: TrustDomain = trust_domain.parse().map_err(AuthorityFault::TrustDomain)?;
        let name = format!("{trust_domain} device CA {}", short_random()?);
        let profile = Profile::authority(&name, None, validity);
        let key = KeyPair::generate().map_err(AuthorityFault::Issuing)?;
        let certificate = profile.parameters()?.self_signed(&key).map_err(AuthorityFault::Issuing)?;
        found(dir, &trust_domain, &certificate.pem(), "", &key)?;
        Self::open(dir)
    }

    /// Opens what [`Authority::init`] or [`Authority::issue_intermediate`] made.
    ///
    /// # Errors
    /// A file that is missing or unreadable, named; a key that is not the certificate's.
    pub fn open(dir: &Path) -> Result<Self, AuthorityFault> {
        let trust_domain =
            read(&dir.join("trust-domain"))?.trim().parse().map_err(AuthorityFault::TrustDomain)?;
        let certificate_path = dir.join("ca.pem");
        let certificate_pem = read(&certificate_path)?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| {
            AuthorityFault::Malformed { path: certificate_path.clone(), what: "no certificate" }
        })?;
        let key_path = dir.join("ca.key");
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|_| AuthorityFault::Malformed {
            path: key_path.clone(),
            what: "no usable private key",
        })?;
        let not_after = check_key(&certificate, &key, &certificate_path, key_path)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityFault::Issuing)?;
        let presented = read_optional(&dir.join("chain.pem"))?;
        Ok(Self { dir: dir.into(), trust_domain, certificate, certificate_pem, presented, not_after, issuer })
    }

    /// A device certificate: URI SAN `spiffe://<trust domain>/device/<device>[/agent/<agent>]`, `clientAuth`.
    ///
    /// # Errors
    /// When the key cannot be made or the index cannot be written.
    pub fn issue_device(
        &self,
        device: &DeviceId,
        agent: Option<&AgentName>,
        validity: Duration,
    ) -> Result<Issued, AuthorityFault> {
        self.issue(&Profile::device(&self.trust_domain, device, agent, validity))
    }

    /// A gateway's certificate: its names and addresses, URI SAN `spiffe://<trust domain>/gateway/<name>`, `serverAuth` for
    /// its devices and `clientAuth` for its control plane.
    ///
    /// # Errors
    /// A malformed name; when the key cannot be made or the index cannot be written.
    pub fn issue_gateway(
        &self,
        name: &str,
        dns: &[&str],
        ips: &[IpAddr],
        validity: Duration,
    ) -> Result<Issued, AuthorityFault> {
        self.issue(&Profile::gateway(&self.trust_domain, name, dns, ips, validity))
    }

    /// A control plane's certificate: its names and addresses, URI SAN `spiffe://<trust domain>/control/<name>`, `serverAuth`.
    ///
    /// # Errors
    /// A malformed name; when the key cannot be made or the index cannot be written.
    pub fn issue_control(
        &self,
        name: &str,
        dns: &[&str],
        ips: &[IpAddr],
        validity: Duration,
    ) -> Result<Issued, AuthorityFault> {
        self.issue(&Profile::control(&self.trust_domain, name, dns, ips, validity))
    }

    /// Whatever the profile says: the way for certificates that [`Authority::issue_device`] would never make.
    ///
    /// The end is capped to this authority's own end, unless the profile's beginning lies behind that.
    ///
    /// # Errors
    /// A profile with text that X.509 cannot carry; a key that cannot be made; an index that cannot be written.
    pub fn issue(&self, profile: &Profile) -> Result<Issued, AuthorityFault> {
        let _lock = self.lock()?;
        let mut profile = profile.clone();
        if profile.not_before < self.not_after {
            profile.not_after = profile.not_after.min(self.not_after);
        }
        let serial = match profile.serial.take() {
            Some(serial) => serial,
            None => random_serial()?,
        };
        profile.serial = Some(serial.clone());
        let issued = profile.signed_by(&self.issuer, &self.presented)?;
        ledger::append(&self.dir.join("issued.jsonl"), &IssuedRecord::of(&profile, &issued))?;
        Ok(issued)
    }

    /// An intermediate authority below this one, in `intermediates/<name>` of this directory.
    ///
    /// # Errors
    /// A name that is no plain file name; one that exists; a file that cannot be written.
    pub fn issue_intermediate(&self, name: &str, validity: Duration) -> Result<Self, AuthorityFault> {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain {
            return Err(AuthorityFault::Name(name.into()));
        }
        let dir = self.dir.join("intermediates").join(name);
        let common_name = format!("{} intermediate {name} {}", self.trust_domain, short_random()?);
        let issued = self.issue(&Profile::authority(&common_name, None, validity))?;
        let key = KeyPair::from_pem(issued.key_pem().unwrap_or_default()).map_err(AuthorityFault::Issuing)?;
        let chain = format!("{}{}", issued.certificate_pem(), self.presented);
        found(&dir, &self.trust_domain, issued.certificate_pem(), &chain, &key)?;
        Self::open(&dir)
    }

    /// Opens the intermediate that [`Authority::issue_intermediate`] made under `name`.
    ///
    /// # Errors
    /// As [`Authority::open`].
    pub fn intermediate(&self, name: &str) -> Result<Self, AuthorityFault> {
        Self::open(&self.dir.join("intermediates").join(name))
    }

    /// Notes revocations and returns those that are new. They take effect with the next [`Authority::crl`].
    ///
    /// # Errors
    /// [`AuthorityFault::NotIssued`] when the device has no certificate here, or the certificate is another authority's.
    pub fn revoke(&self, what: Revocable<'_>) -> Result<Vec<RevokedRecord>, AuthorityFault> {
        let _lock = self.lock()?;
        let known = self.revoked()?;
        let mut fresh = Vec::new();
        for serial in self.serials_of(what)? {
            if known.iter().any(|record| record.serial == serial) {
                continue;
            }
            let record = RevokedRecord { serial, revoked_at: now() };
            ledger::append(&self.dir.join("revoked.jsonl"), &record)?;
            fresh.push(record);
        }
        Ok(fresh)
    }

    /// A new CRL as PEM, valid from now for `next_update`; also written to `crl.pem`. Its number is one higher than the last.
    ///
    /// # Errors
    /// A state file that cannot be read or written.
    pub fn crl(&self, next_update: Duration) -> Result<String, AuthorityFault> {
        let this_update = now();
        let seconds = i64::try_from(next_update.as_secs()).unwrap_or(i64::MAX);
        self.crl_between(this_update, this_update.saturating_add(seconds))
    }

    /// As [`Authority::crl`], with both ends given as Unix seconds: the way to a stale or a future CRL.
    ///
    /// # Errors
    /// As [`Authority::crl`]; also when `next_update` is not behind `this_update`.
    pub fn crl_between(&self, this_update: i64, next_update: i64) -> Result<String, AuthorityFault> {
        let _lock = self.lock()?;
        let number = self.next_crl_number()?;
        let revoked_certs = self.revoked()?.iter().map(revoked_entry).collect::<Result<_, _>>()?;
        let pem = CertificateRevocationListParams {
            this_update: calendar(this_update),
            next_update: calendar(next_update),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .and_then(|crl| crl.pem())
        .map_err(AuthorityFault::Issuing)?;
        let path = self.dir.join("crl.pem");
        replace(&path, pem.as_bytes(), Readers::Everybody, Reach::Disk)
            .map_err(|fault| AuthorityFault::file(&path, fault))?;
        Ok(pem)
    }

    /// Everything that was issued, in order.
    ///
    /// # Errors
    /// An index that cannot be read, or a line of it that makes no sense.
    pub fn issued(&self) -> Result<Vec<IssuedRecord>, AuthorityFault> {
        ledger::read(&self.dir.join("issued.jsonl"))
    }

    /// Everything that was revoked, in order.
    ///
    /// # Errors
    /// A list that cannot be read, or a line of it that makes no sense.
    pub fn revoked(&self) -> Result<Vec<RevokedRecord>, AuthorityFault> {
        ledger::read(&self.dir.join("revoked.jsonl"))
    }

    /// This authority's own certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The trust domain that certificates of this authority name.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The directory that holds all of this.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn lock(&self) -> Result<fs::File, AuthorityFault> {
        let path = self.dir.join("lock");
        lock(&path).map_err(|fault| AuthorityFault::file(&path, fault))
    }

    fn serials_of(&self, what: Revocable<'_>) -> Result<Vec<String>, AuthorityFault> {
        match what {
            Revocable::Serial(serial) => Ok(vec![issued::hex(issued::trimmed(serial))]),
            Revocable::Certificate(pem) => Ok(vec![issued::serial_under(pem, &self.certificate)?]),
            Revocable::Device(device) => {
                self.serials_where(|record| record.device.as_deref() == Some(device.as_str()))
            }
            Revocable::Gateway(gateway) => {
                self.serials_where(|record| record.gateway.as_deref() == Some(gateway.as_str()))
            }
        }
    }

    /// Of certificates in the index; at least one.
    fn serials_where(&self, is_meant: impl Fn(&IssuedRecord) -> bool) -> Result<Vec<String>, AuthorityFault> {
        let meant = self.issued()?.into_iter().filter(is_meant);
        let serials: Vec<_> = meant.map(|record| record.serial).collect();
        if serials.is_empty() { Err(AuthorityFault::NotIssued) } else { Ok(serials) }
    }

    /// Takes the next number and makes that durable before anything is signed with it.
    fn next_crl_number(&self) -> Result<u64, AuthorityFault> {
        let path = self.dir.join("crl-number");
        let last: u64 = match read_optional(&path)?.trim() {
            "" => 0,
            text => text
                .parse()
                .map_err(|_| AuthorityFault::Malformed { path: path.clone(), what: "no number" })?,
        };
        let next = last
            .checked_add(1)
            .ok_or(AuthorityFault::Malformed { path: path.clone(), what: "the last number" })?;
        replace(&path, format!("{next}\n").as_bytes(), Readers::Everybody, Reach::Disk)
            .map_err(|fault| AuthorityFault::file(&path, fault))?;
        Ok(next)
    }
}

fn revoked_entry(record: &RevokedRecord) -> Result<RevokedCertParams, AuthorityFault> {
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from(issued::unhex(&record.serial).ok_or(AuthorityFault::NotIssued)?),
        revocation_time: calendar(record.revoked_at),
        reason_code: None,
        invalidity_date: None,
    })
}

#[cfg(test)]
mod tests;
