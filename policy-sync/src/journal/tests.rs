//! The journal across restarts, crashes and damage.

use super::*;
use crate::assembly::Mark;
use crate::log::Position;
use crate::signed::{Lift, Statement};
use crate::target::{CertificateTarget, Target};
use crate::testing::{device, revocation};

fn entries() -> Vec<Entry> {
    let targets = [
        Target::Device(device("d")),
        Target::User("alice@example.com".parse().unwrap()),
        Target::Agent("a".parse().unwrap()),
        Target::Manifest("cm-1".parse().unwrap()),
        Target::Certificate(CertificateTarget::Fingerprint([7; 32])),
        Target::Certificate(CertificateTarget::parse_issuer_serial(b"issuer", "0a").unwrap()),
        Target::All,
    ];
    let mark = Mark { issued_at: 1_700_000_000, digest: [3; 32] };
    let lifted = revocation(Target::All);
    let lift = Lift {
        id: lifted.id,
        lifts: lifted.id,
        target: Target::All,
        reason: "\"\n\u{1}é".into(),
        timestamp: 5,
    };
    let statements = targets.into_iter().map(|target| Entry::from(&revocation(target)));
    let others = [
        Entry::Statement(Statement::Lift(lift)),
        Entry::IdMark("cm-1".parse().unwrap(), mark),
        Entry::AgentMark("a".parse().unwrap(), device("d"), mark),
        Entry::Revision(u64::MAX),
        Entry::Position(Some(Position { epoch: 1_768_653_600, sequence: 41, digest: [9; 32] })),
        Entry::Position(None),
    ];
    statements.chain(others).collect()
}

fn open(directory: &Path) -> Result<(Journal, Vec<Entry>), JournalFault> {
    let mut read = Vec::new();
    Journal::open(directory, |entry| read.push(entry)).map(|journal| (journal, read))
}

#[test]
fn every_entry_reads_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, read) = open(directory.path()).unwrap();
    assert!(read.is_empty());
    for entry in entries() {
        journal.append([entry]).unwrap();
    }
    drop(journal);
    assert_eq!(open(directory.path()).unwrap().1, entries());
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_next_entry_begins_afresh() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path()).unwrap();
    journal.append(entries()).unwrap();
    drop(journal);
    let path = directory.path().join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [last + 1, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut journal, read) = open(directory.path()).unwrap();
        assert_eq!(read.len(), entries().len() - 1);
        journal.append([Entry::Revision(1)]).unwrap();
        drop(journal);
        assert_eq!(open(directory.path()).unwrap().1.last(), Some(&Entry::Revision(1)));
    }
}

#[test]
fn damage_anywhere_else_stops_the_start_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.jsonl");
    for damage in
        ["", "{}", "null", "{\"revision\":-1}", "{\"forget\":1}", "{\"revision\":1} x", "\u{0}\u{0}"]
    {
        fs::write(&path, format!("{{\"revision\":1}}\n{damage}\n{{\"revision\":2}}\n")).unwrap();
        match open(directory.path()) {
            Err(JournalFault::Damaged { line, .. }) => assert_eq!(line, 2),
            other => panic!("{damage:?}: {other:?}"),
        }
    }
}

#[test]
fn rewriting_keeps_what_is_given_and_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path()).unwrap();
    journal.append((0..100).map(Entry::Revision)).unwrap();
    assert_eq!(journal.len(), 100);
    journal.rewrite([Entry::Revision(7)]).unwrap();
    journal.append([Entry::Revision(8)]).unwrap();
    assert_eq!(journal.len(), 2);
    drop(journal);
    assert_eq!(open(directory.path()).unwrap().1, [Entry::Revision(7), Entry::Revision(8)]);
}

#[test]
fn the_journal_is_for_its_owner_alone_and_for_one_process() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let _journal = open(directory.path()).unwrap();
    let mode = fs::metadata(directory.path().join("journal.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(open(directory.path()), Err(JournalFault::InUse { .. })));
}
