//! Verifying what came over the link: one envelope at once, many on as many threads as there are processors.
//!
//! Pure: says what was proved and puts nothing in force.

use std::num::NonZero;
use std::thread;

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::log::{Entry, LogFault, Record};
use crate::signed::{SignedManifest, Statement, verify_manifest, verify_statement};
use crate::source::intake::{Authorities, Refused};

/// So many are verified without further threads.
const FEW: usize = 32;

/// What the envelope inside an entry turned out to be.
#[derive(Debug, Clone)]
pub(super) enum Checked {
    Manifest(Box<Result<SignedManifest, Refused>>),
    Statement(Result<Statement, Refused>),
    /// An entry that needs no proof of its own here.
    Plain,
}

/// An entry and what is inside.
pub(super) type Opened = (Entry, Checked);

/// What is kept under a digest, if it can be read, and what it proves.
pub(super) type Reproved = ([u8; 32], Option<Opened>);

/// A record in good order, with what is inside.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) record: Record,
    pub(super) checked: Checked,
}

/// Verifies what is inside an entry.
pub(super) fn check(entry: &Entry, authorities: &Authorities) -> Checked {
    match entry {
        Entry::Manifest(envelope) => Checked::Manifest(Box::new(manifest(envelope, authorities))),
        Entry::Revocation(envelope) | Entry::Lift(envelope) => {
            Checked::Statement(statement(envelope, authorities))
        }
        Entry::Withdrawal { .. } | Entry::Crl(_) => Checked::Plain,
    }
}

fn manifest(envelope: &[u8], authorities: &Authorities) -> Result<SignedManifest, Refused> {
    Ok(verify_manifest(&Envelope::read(envelope)?, &authorities.ring, &authorities.approvals)?)
}

fn statement(envelope: &[u8], authorities: &Authorities) -> Result<Statement, Refused> {
    Ok(verify_statement(&Envelope::read(envelope)?, &authorities.ring)?)
}

/// Verifies what is inside each of these.
pub(super) fn check_all(entries: Vec<Entry>, authorities: &Authorities) -> Vec<Opened> {
    let checked = in_parallel(&entries, |entry| check(entry, authorities));
    entries.into_iter().zip(checked).collect()
}

/// Verifies one record and what is inside.
pub(super) fn open(envelope: &[u8], authorities: &Authorities) -> Result<Proven, LogFault> {
    let record = Record::open(envelope, &authorities.ring)?;
    let checked = check(&record.entry, authorities);
    Ok(Proven { record, checked })
}

/// Verifies records and what is inside.
pub(super) fn open_all(envelopes: &[Bytes], authorities: &Authorities) -> Vec<Result<Proven, LogFault>> {
    in_parallel(envelopes, |envelope| open(envelope, authorities))
}

/// Asks the same of each, in order of the items.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    if items.len() <= FEW || threads == 1 {
        return items.iter().map(each).collect();
    }
    let each = &each;
    thread::scope(|scope| {
        let shares = items.chunks(items.len().div_ceil(threads));
        let running: Vec<_> = shares
            .map(|share| {
                let work = move || share.iter().map(each).collect::<Vec<R>>();
                (share, thread::Builder::new().name("verify".into()).spawn_scoped(scope, work))
            })
            .collect();
        let joined =
            running.into_iter().flat_map(|(share, thread)| match thread.map(|thread| thread.join()) {
                Ok(Ok(results)) => results,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // No thread to be had: then here.
                Err(_) => share.iter().map(each).collect(),
            });
        joined.collect()
    })
}
