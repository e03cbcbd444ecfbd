//! A bus that lies: a hundred thousand seeded mutations of a true stream, none of which is believed.
//!
//! After every one of them the policy is a prefix of the true log, and the true revocations that were heard early. What
//! else was delivered is counted as refused, each time, and nothing panics.

use std::collections::BTreeSet;
use std::thread;

use bytes::Bytes;

use super::refusal::Refusal;
use super::*;
use crate::envelope::{Envelope, PayloadType};
use crate::keys::SigningKey;
use crate::log::{Entry, Heartbeat};
use crate::testing::key;
use crate::transport::Frame;

const THREADS: u64 = 2;
const ROUNDS: u64 = 50;
const MUTATIONS: usize = 1000;
/// One step in so many is an honest one.
const HONEST: u64 = 24;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// The true stream, and what an attacker could have recorded or made beside it.
struct Truth {
    plane: Plane,
    /// The log of an epoch before this one, under the same keys.
    before: Plane,
    /// The log of an epoch that has not begun.
    later: Plane,
    records: Vec<Bytes>,
    hints: Vec<Option<Bytes>>,
    heads: Vec<Bytes>,
    strangers: [SigningKey; 2],
    /// What a gateway holds after each prefix.
    prefixes: Vec<(Vec<String>, Vec<String>)>,
    /// The revocation that each entry makes or lifts, by its index in the log.
    revokes: Vec<Option<String>>,
    lifts: Vec<Option<usize>>,
}

impl Truth {
    fn new() -> Self {
        let mut plane = Plane::new();
        let (mut revokes, mut lifts, mut hints) = (Vec::new(), Vec::new(), Vec::new());
        let (mut manifests, mut revoked, mut heads): (Vec<Entry>, Vec<(usize, Entry)>, _) =
            (Vec::new(), Vec::new(), Vec::new());
        for number in 0..48 {
            let (mut revokes_now, mut lifts_now, mut hint_now) = (None, None, None);
            let entry = match number % 6 {
                0 | 1 => {
                    let entry = plane.manifest(&format!("cm-{}", number % 5), &format!("a-{}", number % 5));
                    manifests.push(entry.clone());
                    entry
                }
                2 | 3 => {
                    let name = format!("device-{number}");
                    let (Frame::Hint(hint), entry) = plane.revocation(&name) else { panic!() };
                    (revokes_now, hint_now) = (Some(format!("device:{name}")), Some(hint));
                    revoked.push((number, entry.clone()));
                    entry
                }
                4 => Plane::withdrawal(&manifests[manifests.len() / 2]),
                _ => {
                    let (index, entry) = &revoked[revoked.len() / 2];
                    lifts_now = Some(*index);
                    plane.lift(entry)
                }
            };
            plane.append(entry);
            heads.push(plane.snapshot_of(&[]).0);
            revokes.push(revokes_now);
            lifts.push(lifts_now);
            hints.push(hint_now);
        }
        let with_keys_of = |founded: i64| {
            let mut other = Plane::founded(founded);
            let copy = |key: &SigningKey| key.duplicate();
            (other.control, other.author) = (copy(&plane.control), copy(&plane.author));
            for number in 0..12 {
                let entry = other.manifest(&format!("cm-{number}"), "elsewhere");
                other.append(entry);
            }
            other
        };
        let now = Timestamp::now().as_second();
        let (before, later) = (with_keys_of(now - 100_000), with_keys_of(now + 100_000));
        let records = plane.records_after(0, usize::MAX);
        let strangers = [key("stranger"), key("control-1")];
        let prefixes = prefixes(&plane);
        Self { plane, before, later, records, hints, heads, strangers, prefixes, revokes, lifts }
    }
}

/// What an honest feed comes to, record by record.
fn prefixes(plane: &Plane) -> Vec<(Vec<String>, Vec<String>)> {
    let mut bench = Bench::new(plane);
    bench.begin(plane);
    let mut prefixes = vec![bench.contents()];
    for record in plane.records_after(0, usize::MAX) {
        bench.take(&Frame::Record(record));
        prefixes.push(bench.contents());
    }
    assert_eq!(prefixes.len(), plane.log.len() + 1);
    prefixes
}

/// One attack on a gateway.
struct Attack<'a> {
    truth: &'a Truth,
    dice: Dice,
    bench: Bench,
    /// The indices of true revocations that were heard before their turn.
    early: BTreeSet<usize>,
    /// What was delivered in good order last, to be repeated.
    beat: Frame,
    beats: u64,
}

impl<'a> Attack<'a> {
    fn new(truth: &'a Truth, seed: u64) -> Self {
        let mut bench = Bench::new(&truth.plane);
        bench.begin(&truth.plane);
        let beat = truth.plane.heartbeat_at(Timestamp::now() - SignedDuration::from_secs(3000));
        Self { truth, dice: Dice(seed), bench, early: BTreeSet::new(), beat, beats: 0 }
    }

    fn at(&self) -> usize {
        usize::try_from(self.bench.sequence()).unwrap()
    }

    /// What has to be in force now.
    fn expected(&self) -> (Vec<String>, Vec<String>) {
        let (manifests, mut revocations) = self.truth.prefixes[self.at()].clone();
        let lifted: BTreeSet<_> = self.truth.lifts[..self.at()].iter().flatten().collect();
        let early = self.early.iter().filter(|index| **index >= self.at() && !lifted.contains(index));
        revocations.extend(early.filter_map(|index| self.truth.revokes[*index].clone()));
        revocations.sort();
        (manifests, revocations)
    }

    fn refusals(&self) -> u64 {
        Refusal::ALL.iter().map(|reason| self.bench.refused(*reason)).sum()
    }

    /// Something true.
    fn honest(&mut self) {
        match self.dice.roll(4) {
            0 => {
                let index = self.dice.roll(self.truth.records.len());
                if let Some(hint) = &self.truth.hints[index] {
                    self.bench.take(&Frame::Hint(hint.clone()));
                    self.early.insert(index);
                }
            }
            1 => {
                self.beats += 1;
                let at = Timestamp::now() - SignedDuration::from_secs(90)
                    + SignedDuration::from_millis(i64::try_from(self.beats).unwrap());
                let heartbeat = Heartbeat {
                    epoch: self.truth.plane.position.epoch,
                    sequence: self.bench.sequence(),
                    now: at,
                };
                self.beat = Frame::Heartbeat(heartbeat.seal(&self.truth.plane.control));
                self.bench.take(&self.beat.clone());
            }
            _ => {
                let next = self.truth.records.get(self.at()).cloned();
                let before = self.at();
                if let Some(next) = next {
                    self.bench.take(&Frame::Record(next));
                    assert_eq!(self.at(), before + 1);
                }
            }
        }
    }

    /// A true envelope that this gateway might believe: mostly one that is due.
    fn target(&mut self) -> Frame {
        let records = &self.truth.records;
        let due = records[self.at().min(records.len() - 1)].clone();
        let any = self.dice.roll(records.len());
        match self.dice.roll(6) {
            0 => Frame::Record(records[any].clone()),
            1 => self.beat.clone(),
            2 => self.truth.hints[any].clone().map_or(Frame::Record(due), Frame::Hint),
            _ => Frame::Record(due),
        }
    }

    /// Something that must not be believed, and whether it was delivered at all.
    fn mutation(&mut self) -> bool {
        let frame = match self.dice.roll(12) {
            0 | 1 => self.altered(),
            2 => self.cut_off(),
            3 => self.forged(),
            4 => self.replayed(),
            5 => return self.ahead(),
            6 => self.beat.clone(),
            7 => self.other_epoch(),
            8 => self.other_kind(),
            9 => self.garbage(),
            10 => return self.fetched(),
            _ => return self.head(),
        };
        let Some(frame) = self.unless_the_same(frame) else { return false };
        self.bench.take(&frame);
        true
    }

    /// One byte is another one.
    fn altered(&mut self) -> Frame {
        let (frame, bits) = (self.target(), self.dice.roll(255) + 1);
        let at = self.dice.roll(bytes_of(&frame).len());
        changed(&frame, |bytes| bytes[at] ^= u8::try_from(bits).unwrap())
    }

    fn cut_off(&mut self) -> Frame {
        let frame = self.target();
        let length = self.dice.roll(bytes_of(&frame).len());
        changed(&frame, |bytes| bytes.truncate(length))
    }

    /// The very payload, signed by a stranger, by a stranger under a true name, or by a true key of another role.
    fn forged(&mut self) -> Frame {
        let frame = self.target();
        let read = Envelope::read(bytes_of(&frame)).unwrap();
        let [stranger, namesake] = &self.truth.strangers;
        let signer = match (self.dice.roll(3), &frame) {
            (0, _) => stranger,
            (1, _) => namesake,
            (_, Frame::Hint(_)) => &self.truth.plane.control,
            _ => &self.truth.plane.author,
        };
        let payload = read.unverified_payload().to_vec();
        let forged = Bytes::from(Envelope::sign(read.payload_type(), payload, signer).to_json());
        rewrapped(&frame, forged)
    }

    fn replayed(&mut self) -> Frame {
        match self.at() {
            0 => self.beat.clone(),
            at => Frame::Record(self.truth.records[self.dice.roll(at)].clone()),
        }
    }

    /// A record before its turn: it does not count, but a revocation in it does.
    fn ahead(&mut self) -> bool {
        let at = self.at();
        let left = self.truth.records.len() - at;
        if left < 2 {
            return false;
        }
        let index = at + 1 + self.dice.roll(left - 1);
        self.bench.take(&Frame::Record(self.truth.records[index].clone()));
        if self.truth.revokes[index].is_some() {
            self.early.insert(index);
        }
        true
    }

    fn other_epoch(&mut self) -> Frame {
        let other = if self.dice.roll(2) == 0 { &self.truth.before } else { &self.truth.later };
        match self.dice.roll(2) {
            0 => other.heartbeat(),
            _ => Frame::Record(other.log[self.dice.roll(other.log.len())].1.clone()),
        }
    }

    /// A true envelope in the place of another kind, or what a true author signed where a control plane's word is needed.
    fn other_kind(&mut self) -> Frame {
        let index = self.dice.roll(self.truth.records.len());
        let record = self.truth.records[index].clone();
        let inner = match &self.truth.plane.log[index].0 {
            Entry::Manifest(envelope) | Entry::Revocation(envelope) | Entry::Lift(envelope) => {
                envelope.clone()
            }
            Entry::Withdrawal { .. } | Entry::Crl(_) => record.clone(),
        };
        match self.dice.roll(5) {
            0 => Frame::Heartbeat(record),
            1 => Frame::Hint(record),
            2 => Frame::Record(inner),
            3 => Frame::Heartbeat(self.truth.heads[index].clone()),
            _ => Frame::Record(bytes_of(&self.beat).clone()),
        }
    }

    fn garbage(&mut self) -> Frame {
        let length = self.dice.roll(300);
        let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(self.dice.roll(256)).unwrap()).collect();
        rewrapped(&self.target(), bytes.into())
    }

    /// An answer to a question for records: out of order, with holes, or with something else among them.
    fn fetched(&mut self) -> bool {
        let (at, records) = (self.at(), &self.truth.records);
        let mut answer: Vec<_> = records.iter().skip(at).take(4).cloned().collect();
        if answer.is_empty() {
            return false;
        }
        match self.dice.roll(4) {
            0 => answer.reverse(),
            1 => drop(answer.remove(0)),
            2 => answer.insert(0, self.truth.before.log[at % 12].1.clone()),
            _ => {
                let place = self.dice.roll(answer.len());
                let altered = self.altered();
                if self.unless_the_same(altered.clone()).is_none() {
                    return false;
                }
                answer[place] = bytes_of(&altered).clone();
            }
        }
        if answer.is_empty() || (answer.len() == 1 && answer[0] == records[at]) {
            return false;
        }
        self.bench.fetch(answer);
        true
    }

    /// The head of a snapshot that is older than this gateway, altered, or of another epoch.
    fn head(&mut self) -> bool {
        let at = self.at();
        let head = match self.dice.roll(3) {
            0 if at > 1 => self.truth.heads[self.dice.roll(at - 1)].clone(),
            1 => {
                let mut head = self.truth.heads[self.dice.roll(self.truth.heads.len())].to_vec();
                let place = self.dice.roll(head.len());
                head[place] = head[place].wrapping_add(1);
                head.into()
            }
            _ => self.truth.before.snapshot_of(&[]).0,
        };
        let frame = Frame::Record(head);
        let Some(frame) = self.unless_the_same(frame) else { return false };
        let taken = self.bench.replica.take_head(bytes_of(&frame));
        assert!(taken.is_err(), "{taken:?}");
        true
    }

    /// The frame, unless altering it has left what it says untouched: another spelling of base64 is no mutation.
    fn unless_the_same(&self, frame: Frame) -> Option<Frame> {
        let Ok(read) = Envelope::read(bytes_of(&frame)) else { return Some(frame) };
        let true_ones = match (&frame, read.payload_type()) {
            (Frame::Record(_), PayloadType::Record) => &self.truth.records[self.at().min(47)..],
            (Frame::Record(_), PayloadType::Snapshot) => &self.truth.heads[self.at().saturating_sub(1)..],
            _ => &[],
        };
        let same = true_ones.iter().any(|known| Envelope::read(known).is_ok_and(|known| known == read));
        let hint = matches!(frame, Frame::Hint(_)) && {
            let mut hints = self.truth.hints.iter().flatten();
            hints.any(|known| Envelope::read(known).is_ok_and(|known| known == read))
        };
        (!same && !hint).then_some(frame)
    }

    fn run(mut self) {
        let mut mutations = 0;
        while mutations < MUTATIONS {
            if self.dice.roll(usize::try_from(HONEST).unwrap()) == 0 {
                self.honest();
            }
            let (refused, revision) = (self.refusals(), self.bench.feed.current().revision);
            if !self.mutation() {
                continue;
            }
            mutations += 1;
            assert!(self.refusals() > refused, "mutation {mutations} was not counted");
            if self.bench.feed.current().revision != revision || mutations % 50 == 0 {
                assert_eq!(self.bench.contents(), self.expected(), "after mutation {mutations}");
            }
            assert!(
                self.bench.feed.age().is_none_or(|age| age.as_secs() >= 80),
                "it looks fresher than it is"
            );
            if mutations == MUTATIONS / 2 {
                let fresh = self.bench;
                self.bench = fresh.restart(&self.truth.plane);
                if self.bench.replica.course.position().is_none() {
                    self.bench.begin(&self.truth.plane);
                }
            }
        }
        assert_eq!(self.bench.contents(), self.expected());
        let often =
            [Refusal::Malformed, Refusal::Forged, Refusal::Replayed, Refusal::Rollback, Refusal::Future];
        assert!(often.iter().all(|reason| self.bench.refused(*reason) > 10));
        // None of it has kept the truth out.
        self.bench.catch_up(&self.truth.plane);
        assert_eq!(self.bench.contents(), *self.truth.prefixes.last().unwrap());
    }
}

fn bytes_of(frame: &Frame) -> &Bytes {
    match frame {
        Frame::Hint(bytes) | Frame::Record(bytes) | Frame::Heartbeat(bytes) => bytes,
    }
}

fn rewrapped(frame: &Frame, bytes: Bytes) -> Frame {
    match frame {
        Frame::Hint(_) => Frame::Hint(bytes),
        Frame::Record(_) => Frame::Record(bytes),
        Frame::Heartbeat(_) => Frame::Heartbeat(bytes),
    }
}

fn changed(frame: &Frame, change: impl FnOnce(&mut Vec<u8>)) -> Frame {
    let mut bytes = bytes_of(frame).to_vec();
    change(&mut bytes);
    rewrapped(frame, bytes.into())
}

#[test]
fn none_of_a_hundred_thousand_lies_of_a_bus_is_believed() {
    let truth = Truth::new();
    let truth = &truth;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    Attack::new(truth, thread << 32 | round).run();
                }
            });
        }
    });
}
