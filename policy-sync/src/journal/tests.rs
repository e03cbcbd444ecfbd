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

/// One more revocation, and a position, again and again, until the journal has been made short.
fn grown(journal: &mut Journal) -> usize {
    let begun = std::time::Instant::now();
    let (mut rounds, mut longest) = (0, 0);
    while journal.len() >= longest {
        longest = journal.len();
        let position = Position { epoch: 1, sequence: rounds, digest: [1; 32] };
        let target = Target::Device(device(&format!("d-{}", rounds % 50)));
        let said = [Entry::from(&revocation(target)), Entry::Position(Some(position))];
        journal.append(said.into_iter().skip(usize::from(rounds >= 50))).unwrap();
        rounds += 1;
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{} lines", journal.len());
    }
    usize::try_from(rounds).unwrap()
}

/// What the journal comes to, in an order of its own.
fn comes_to(directory: &Path) -> (Vec<String>, usize) {
    let mut gist = Gist::new(crate::snapshot::PolicyBounds::default());
    let journal = Journal::open(directory, |entry| gist.take(entry)).unwrap();
    let mut lines: Vec<_> = gist.entries(i64::MIN).map(|entry| format!("{entry:?}")).collect();
    lines.sort_unstable();
    (lines, journal.len())
}

#[test]
fn a_journal_is_made_short_while_it_grows_and_comes_to_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path()).unwrap();
    journal.append(entries()).unwrap();
    let rounds = grown(&mut journal);
    assert!(journal.len() < rounds, "{} lines after {rounds} rounds", journal.len());
    journal.append([Entry::Revision(9)]).unwrap();
    let length = journal.len();
    drop(journal);
    let (lines, counted) = comes_to(directory.path());
    assert_eq!(counted, length, "the lines are counted through it");
    // The statements and marks of `entries`, fifty devices, a revision and a position.
    let last = Position { epoch: 1, sequence: u64::try_from(rounds - 1).unwrap(), digest: [1; 32] };
    assert!(lines.contains(&format!("{:?}", Entry::Position(Some(last)))), "{lines:?}");
    assert!(lines.contains(&format!("{:?}", Entry::Revision(9))));
    assert_eq!(lines.iter().filter(|line| line.contains("d-")).count(), 50);
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "the journal and its lock");
}

#[test]
fn a_crash_in_the_middle_of_making_it_short_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path()).unwrap();
    journal.append(entries()).unwrap();
    drop(journal);
    let before = comes_to(directory.path()).0;
    let beside = compaction::beside(&directory.path().join("journal.jsonl"));
    for left in ["", "{\"revision\":1}\n{\"revi", "{\"revision\":1}\n"] {
        fs::write(&beside, left).unwrap();
        assert_eq!(comes_to(directory.path()).0, before);
        assert!(!beside.exists());
    }
}

#[test]
fn a_journal_that_is_closed_while_it_is_made_short_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path()).unwrap();
    journal.append((0..5_000).map(Entry::Revision)).unwrap();
    journal.append(entries()).unwrap();
    drop(journal);
    let (lines, _) = comes_to(directory.path());
    assert!(lines.contains(&format!("{:?}", Entry::Revision(u64::MAX))));
    assert!(!compaction::beside(&directory.path().join("journal.jsonl")).exists());
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
