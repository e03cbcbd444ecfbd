//! One certificate revocation list, reduced to what verification asks: is this serial number on it, and may it be believed?
//!
//! Relies on webpki for the entries and their extensions and on our own reader for the header. A million entries take
//! 21 MB and are searched in 20 steps; the document itself is dropped once its signer is known. A delta, indirect, partial or
//! unnumbered CRL never gets this far: treating one as complete would clear certificates that it does not speak of.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use webpki::BorrowedCertRevocationList;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::authorities::AuthorityKey;
use crate::certificate::{CertificateId, Serial, name_text, sha256};
use crate::der::{self, Reader};
use crate::signed::Signed;
use crate::trust::TrustFault;

/// How far `thisUpdate` may lie ahead of our clock, in seconds.
const SKEW: i64 = 300;

/// How many keys one CRL is tried against before it counts as unsigned.
const MOST_KEYS: usize = 16;

/// A CRL number: up to 20 bytes (RFC 5280 §5.2.3), compared as one integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; 20]);

impl CrlNumber {
    /// From big-endian bytes; leading zeros do not count.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let serial =
            Serial::read(content).filter(|_| content.first().is_some_and(|first| first & 0x80 == 0))?;
        let mut number = [0; 20];
        let digits = serial.as_bytes();
        number.get_mut(20 - digits.len()..)?.copy_from_slice(digits);
        Some(Self(number))
    }

    /// 40 hex digits.
    pub(crate) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at(4) {
            ([0, 0, 0, 0], low) => {
                write!(f, "{}", low.iter().fold(0_u128, |value, byte| (value << 8) | u128::from(*byte)))
            }
            _ => write!(f, "0x{}", self.hex()),
        }
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One CRL.
pub(crate) struct Crl {
    pub(crate) origin: String,
    /// DER `Name`, with header.
    pub(crate) issuer: Arc<[u8]>,
    pub(crate) number: CrlNumber,
    pub(crate) this_update: i64,
    next_update: i64,
    serials: Box<[Serial]>,
    /// SHA-256 of the document.
    pub(crate) digest: [u8; 32],
    /// The document, kept until a key has proved it.
    document: Option<Box<[u8]>>,
    /// Keys it was tried against, by SHA-256 of their `SubjectPublicKeyInfo`, and whether they signed it.
    proofs: Mutex<Vec<([u8; 32], bool)>>,
}

impl Crl {
    /// Parses one DER CRL.
    ///
    /// # Errors
    /// The faults of [`TrustFault`] that begin with `Crl`, except the signature's: nobody is asked for that here.
    pub(crate) fn parse(
        origin: &str,
        document: &[u8],
        most_entries: usize,
        now: i64,
    ) -> Result<Self, TrustFault> {
        let malformed = |why: &str| TrustFault::CrlMalformed { origin: origin.into(), why: why.into() };
        let signed = Signed::read(document).ok_or_else(|| malformed("it is no signed list"))?;
        let header = Header::read(signed.body).map_err(malformed)?;
        let list =
            BorrowedCertRevocationList::from_der(document).map_err(|error| unsupported(origin, &error))?;
        if header.scoped {
            let what = "a crl scoped by an issuing distribution point";
            return Err(TrustFault::CrlUnsupported { origin: origin.into(), what });
        }
        if header.this_update > now.saturating_add(SKEW) {
            return Err(TrustFault::CrlFromFuture {
                origin: origin.into(),
                issuer: name_text(header.issuer),
            });
        }
        Ok(Self {
            origin: origin.into(),
            issuer: header.issuer.into(),
            number: header.number,
            this_update: header.this_update,
            next_update: header.next_update,
            serials: serials(origin, &list, most_entries)?,
            digest: sha256(document),
            document: Some(document.into()),
            proofs: Mutex::default(),
        })
    }

    /// Whether `key` signed it. Each key is tried once; the answer is remembered.
    pub(crate) fn is_proved_by(&self, key: &AuthorityKey) -> bool {
        if !key.signs_crls || *key.subject != *self.issuer {
            return false;
        }
        if let Some(known) = self.proof(&key.key) {
            return known;
        }
        let Some(signed) = self.document.as_deref().and_then(Signed::read) else { return false };
        let proved = signed.is_by(&key.spki);
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() < MOST_KEYS {
            proofs.push((key.key, proved));
        }
        proved
    }

    /// What is known of `key` having signed it.
    pub(crate) fn proof(&self, key: &[u8; 32]) -> Option<bool> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.iter().find(|(tried, _)| tried == key).map(|(_, proved)| *proved)
    }

    /// The keys that are known to have signed it.
    pub(crate) fn signers(&self) -> Vec<[u8; 32]> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.iter().filter(|(_, proved)| *proved).map(|(key, _)| *key).collect()
    }

    /// Drops the document: only keys that were tried can prove it from now on.
    pub(crate) fn settle(&mut self) {
        self.document = None;
    }

    /// Whether it speaks for `now`: begun, and its successor not yet due.
    pub(crate) fn is_fresh(&self, now: i64) -> bool {
        now < self.next_update && self.this_update <= now.saturating_add(SKEW)
    }

    pub(crate) fn contains(&self, serial: &Serial) -> bool {
        self.serials.binary_search(serial).is_ok()
    }

    /// Ascending.
    pub(crate) fn serials(&self) -> &[Serial] {
        &self.serials
    }

    /// Unix seconds at which the next one is due.
    pub(crate) fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Later CRLs of one issuer sort higher.
    pub(crate) fn age(&self) -> (CrlNumber, i64) {
        (self.number, self.this_update)
    }
}

/// What a CRL says of itself; whether anybody signed it is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSummary {
    /// DER `Name` of its issuer.
    pub issuer: Arc<[u8]>,
    /// The same for people: escaped and capped.
    pub issuer_text: String,
    /// Its number; a later one of the same issuer has a higher one.
    pub number: CrlNumber,
    /// Unix seconds at which it began to speak.
    pub this_update: i64,
    /// Unix seconds at which its successor is due.
    pub next_update: i64,
    /// How many certificates are on it.
    pub entries: usize,
    /// Their serial numbers, ascending.
    serials: Arc<[Serial]>,
}

impl CrlSummary {
    /// Reads one DER CRL of at most `most_entries`. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The faults of [`TrustFault`] that begin with `Crl`, except the signature's.
    pub fn read(origin: &str, document: &[u8], most_entries: usize, now: i64) -> Result<Self, TrustFault> {
        Crl::parse(origin, document, most_entries, now).map(Self::of)
    }

    pub(crate) fn of(crl: Crl) -> Self {
        Self {
            issuer_text: name_text(&crl.issuer),
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            entries: crl.serials.len(),
            issuer: crl.issuer,
            serials: crl.serials.into(),
        }
    }

    /// Whether this certificate is on it.
    #[must_use]
    pub fn lists(&self, certificate: &CertificateId) -> bool {
        *certificate.issuer == *self.issuer
            && Serial::read(&certificate.serial)
                .is_some_and(|serial| self.serials.binary_search(&serial).is_ok())
    }
}

/// What stands around the entries.
struct Header<'a> {
    issuer: &'a [u8],
    this_update: i64,
    next_update: i64,
    number: CrlNumber,
    scoped: bool,
}

impl<'a> Header<'a> {
    /// Reads `TBSCertList` (RFC 5280 §5.1.2), stepping over the entries.
    fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        const SHAPE: &str = "it has not the shape of a version 2 crl";
        let mut body = Reader::new(Reader::new(body).expect(der::SEQUENCE).ok_or(SHAPE)?.content);
        body.expect(der::INTEGER).ok_or(SHAPE)?;
        body.expect(der::SEQUENCE).ok_or(SHAPE)?;
        let issuer = body.expect(der::SEQUENCE).ok_or(SHAPE)?.raw;
        let this_update = body.any().and_then(|element| time(element.raw)).ok_or("it has no thisUpdate")?;
        let next_update = body.any().and_then(|element| time(element.raw)).ok_or("it has no nextUpdate")?;
        body.optional(der::SEQUENCE);
        let extensions = body.expect(der::CONTEXT_0).ok_or("it has no crl number")?.content;
        let extensions = Reader::new(extensions).expect(der::SEQUENCE).ok_or(SHAPE)?.content;
        let (number, scoped) = Self::extensions(extensions).ok_or(SHAPE)?;
        let number = number.ok_or("it has no crl number")?;
        Ok(Self { issuer, this_update, next_update, number, scoped })
    }

    /// The CRL number, and whether there is an issuing distribution point.
    fn extensions(extensions: &[u8]) -> Option<(Option<CrlNumber>, bool)> {
        const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
        const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
        let (mut number, mut scoped) = (None, false);
        let mut extensions = Reader::new(extensions);
        while !extensions.at_end() {
            let mut extension = Reader::new(extensions.expect(der::SEQUENCE)?.content);
            let kind = extension.expect(der::OBJECT_IDENTIFIER)?.content;
            extension.optional(der::BOOLEAN);
            let value = extension.expect(der::OCTET_STRING)?.content;
            if kind == CRL_NUMBER {
                number = Some(CrlNumber::read(Reader::new(value).expect(der::INTEGER)?.content)?);
            }
            scoped |= kind == ISSUING_DISTRIBUTION_POINT;
        }
        Some((number, scoped))
    }
}

fn time(raw: &[u8]) -> Option<i64> {
    ASN1Time::from_der(raw).ok().map(|(_, time)| time.timestamp())
}

fn serials(
    origin: &str,
    list: &BorrowedCertRevocationList<'_>,
    most: usize,
) -> Result<Box<[Serial]>, TrustFault> {
    let mut serials = Vec::new();
    for entry in list {
        let entry = entry.map_err(|error| unsupported(origin, &error))?;
        if serials.len() == most {
            return Err(TrustFault::CrlTooLong { origin: origin.into(), allowed: most });
        }
        let overlong =
            || TrustFault::CrlMalformed { origin: origin.into(), why: "an overlong serial number".into() };
        serials.push(Serial::read(entry.serial_number).ok_or_else(overlong)?);
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials.into_boxed_slice())
}

fn unsupported(origin: &str, error: &webpki::Error) -> TrustFault {
    use webpki::Error as Found;
    let what = match error {
        Found::UnsupportedDeltaCrl => "a delta crl",
        Found::UnsupportedIndirectCrl => "an indirect crl",
        Found::UnsupportedRevocationReasonsPartitioning => "a crl for some reasons only",
        Found::UnsupportedCrlIssuingDistributionPoint => "a crl scoped by an issuing distribution point",
        Found::UnsupportedCriticalExtension => "a crl with an unknown critical extension",
        other => return TrustFault::CrlMalformed { origin: origin.into(), why: other.to_string() },
    };
    TrustFault::CrlUnsupported { origin: origin.into(), what }
}
