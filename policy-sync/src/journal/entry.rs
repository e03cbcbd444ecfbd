//! One line of the journal.

use std::io;

use config::{AgentName, DeviceId, ManifestId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assembly::{Mark, MarkOf};
use crate::log::Position;
use crate::revocations::{Revocation, StatementId};
use crate::signed::{Lift, RawStatement, Statement};
use crate::target::{Target, from_hex, to_hex};

/// Something that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A revocation or a lifting, verified before it was written.
    Statement(Statement),
    /// The latest manifest of an id.
    IdMark(ManifestId, Mark),
    /// The latest manifest for an agent on a device.
    AgentMark(AgentName, DeviceId, Mark),
    /// A revision that was not reached before this line. The last such line counts.
    Revision(u64),
    /// How far a log was followed, everything before it kept; none when no log is followed any more. The last such line
    /// counts.
    Position(Option<Position>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawEntry {
    Statement { id: String, said: RawStatement },
    IdMark { id: String, issued: i64, digest: String },
    AgentMark { agent: String, device: String, issued: i64, digest: String },
    Revision(u64),
    Position(Option<RawPosition>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPosition {
    epoch: u64,
    sequence: u64,
    digest: String,
}

impl Entry {
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        Some(match serde_json::from_slice(line).ok()? {
            RawEntry::Statement { id, said } => Self::Statement(said.into_statement(id.parse().ok()?).ok()?),
            RawEntry::IdMark { id, issued, digest } => Self::IdMark(id.parse().ok()?, mark(issued, &digest)?),
            RawEntry::AgentMark { agent, device, issued, digest } => {
                Self::AgentMark(agent.parse().ok()?, device.parse().ok()?, mark(issued, &digest)?)
            }
            RawEntry::Revision(revision) => Self::Revision(revision),
            RawEntry::Position(None) => Self::Position(None),
            RawEntry::Position(Some(RawPosition { epoch, sequence, digest })) => {
                let digest = from_hex(&digest)?.try_into().ok()?;
                Self::Position(Some(Position { epoch, sequence, digest }))
            }
        })
    }

    pub(crate) fn append_to(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let raw = match self {
            Self::Statement(statement) => {
                RawEntry::Statement { id: statement.id().to_string(), said: RawStatement::of(statement) }
            }
            Self::IdMark(id, mark) => RawEntry::IdMark {
                id: id.as_str().to_owned(),
                issued: mark.issued_at,
                digest: to_hex(&mark.digest),
            },
            Self::AgentMark(agent, device, mark) => RawEntry::AgentMark {
                agent: agent.as_str().to_owned(),
                device: device.as_str().to_owned(),
                issued: mark.issued_at,
                digest: to_hex(&mark.digest),
            },
            Self::Revision(revision) => RawEntry::Revision(*revision),
            Self::Position(position) => RawEntry::Position(position.map(|position| RawPosition {
                epoch: position.epoch,
                sequence: position.sequence,
                digest: to_hex(&position.digest),
            })),
        };
        serde_json::to_writer(&mut *buffer, &raw)?;
        buffer.push(b'\n');
        Ok(())
    }

    /// The lifting of a revocation whose own words are no longer at hand.
    pub(crate) fn lifted(lifts: StatementId, target: Target) -> Self {
        let reason = "lifted".into();
        Self::Statement(Statement::Lift(Lift { id: lifts, lifts, target, reason, timestamp: 0 }))
    }
}

impl From<&Revocation> for Entry {
    fn from(revocation: &Revocation) -> Self {
        Self::Statement(Statement::Revoke(revocation.clone()))
    }
}

impl From<MarkOf<'_>> for Entry {
    fn from(mark: MarkOf<'_>) -> Self {
        match mark {
            MarkOf::Id(id, mark) => Self::IdMark(id.clone(), mark),
            MarkOf::Agent(agent, device, mark) => Self::AgentMark(agent.clone(), device.clone(), mark),
        }
    }
}

fn mark(issued_at: i64, digest: &str) -> Option<Mark> {
    Some(Mark { issued_at, digest: from_hex(digest)?.try_into().ok()? })
}

impl RawStatement {
    fn of(statement: &Statement) -> Self {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        match statement {
            Statement::Revoke(revocation) => {
                Self::new(&revocation.target, &revocation.reason, at(revocation.timestamp))
            }
            Statement::Lift(lift) => {
                Self::new(&lift.target, &lift.reason, at(lift.timestamp)).lifting(lift.lifts)
            }
        }
    }
}
