//! What does one agent see of the policy, and what is new in it?
//!
//! A view is made of the policy for one caller alone. The reason of a revocation is one of the closed list: what somebody wrote
//! about it stays with those who may read the log.

use std::collections::BTreeMap;

use config::{ManifestId, Reason, UserName};
use serde_json::{Value, json};

use super::board::Current;
use super::caller::Caller;
use crate::revocations::StatementId;
use crate::snapshot::{LiveManifest, Snapshot};
use crate::target::{CertificateTarget, Target};

/// What an agent sees of the policy at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Whether it has authority, or why not.
    pub(super) standing: Result<(), Reason>,
    /// The manifest that applies, whatever its standing.
    pub(super) manifest: Option<Seen>,
    /// Every revocation in force that takes authority from it.
    pub(super) revocations: BTreeMap<StatementId, Reason>,
}

/// What is seen of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: ManifestId,
    pub(super) digest: [u8; 32],
    pub(super) user: UserName,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
}

/// What has changed from one view to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// How things stand, told to whoever connects.
    Standing,
    /// Authority was withdrawn.
    Revoked(StatementId, Reason),
    /// It is not withdrawn by this any more.
    Lifted(StatementId, Reason),
    /// A manifest is live.
    Manifest,
    /// It took the place of this one.
    Superseded(ManifestId),
    /// The manifest is not live any more.
    Withdrawn(ManifestId),
    /// The life of the manifest is over.
    Expired(ManifestId),
}

impl News {
    /// The name of the event.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Standing => "standing",
            Self::Revoked(..) => "revoked",
            Self::Lifted(..) => "lifted",
            Self::Manifest => "manifest",
            Self::Superseded(_) => "superseded",
            Self::Withdrawn(_) => "withdrawn",
            Self::Expired(_) => "expired",
        }
    }

    /// The event's data: how things stand now, and what is new.
    pub(super) fn data(&self, caller: &Caller, view: &View) -> Value {
        let mut data = view.describe(caller);
        let (key, value) = match self {
            Self::Standing | Self::Manifest => return data,
            Self::Revoked(id, reason) | Self::Lifted(id, reason) => {
                ("revocation", json!({"id": id.to_string(), "reason": reason.as_str()}))
            }
            Self::Superseded(id) => ("superseded", json!(id.as_str())),
            Self::Withdrawn(id) => ("withdrawn", json!(id.as_str())),
            Self::Expired(id) => ("expired", json!(id.as_str())),
        };
        if let Some(fields) = data.as_object_mut() {
            fields.insert(key.into(), value);
        }
        data
    }
}

impl View {
    /// What this caller sees at `now`, in Unix seconds.
    pub(super) fn of(caller: &Caller, current: &Current, now: i64) -> Self {
        let policy = &current.policy;
        let (device, agent) = (&caller.device.device, caller.agent.as_ref());
        let selected = policy.manifest_of(device, agent, now);
        let standing = policy.standing(device, &caller.device.chain).and_then(|()| {
            current.certificates_hold(caller).map_err(|_| Reason::CertificateRevoked)?;
            let manifest = selected?;
            policy.manifest_standing(manifest, now)
        });
        let manifest = selected.ok().map(|live| Seen::of(live));
        let revocations = revocations(caller, manifest.as_ref(), selected.ok(), policy);
        Self { standing, manifest, revocations }
    }

    /// What is new since `before`, in the order in which it is told.
    pub(super) fn since(&self, before: &Self) -> Vec<News> {
        let mut news = Vec::new();
        match (&before.manifest, &self.manifest) {
            (Some(old), Some(new)) if old.digest != new.digest => {
                news.push(News::Superseded(old.id.clone()));
                news.push(News::Manifest);
            }
            (None, Some(_)) => news.push(News::Manifest),
            (Some(old), None) => news.push(News::Withdrawn(old.id.clone())),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let missing = |from: &Self, id: &StatementId| !from.revocations.contains_key(id);
        let came = self.revocations.iter().filter(|(id, _)| missing(before, id));
        news.extend(came.map(|(id, reason)| News::Revoked(*id, *reason)));
        let went = before.revocations.iter().filter(|(id, _)| missing(self, id));
        news.extend(went.map(|(id, reason)| News::Lifted(*id, *reason)));
        if let Some(over) = &self.manifest
            && self.standing == Err(Reason::ManifestExpired)
            && before.standing != Err(Reason::ManifestExpired)
        {
            news.push(News::Expired(over.id.clone()));
        }
        // Whatever else changed the standing, such as a second manifest, is told as what it comes to.
        if news.is_empty() && self.standing != before.standing {
            news.push(News::Standing);
        }
        news
    }

    /// The view as JSON.
    pub(super) fn describe(&self, caller: &Caller) -> Value {
        let standing = match self.standing {
            Ok(()) => "live",
            Err(reason) => reason.as_str(),
        };
        json!({
            "device": caller.device.device.as_str(),
            "agent": caller.agent.as_ref().map(|agent| agent.as_str()),
            "standing": standing,
            "manifest": self.manifest.as_ref().map(Seen::describe),
        })
    }
}

impl Seen {
    fn of(live: &LiveManifest) -> Self {
        Self {
            id: live.manifest.id.clone(),
            digest: live.digest,
            user: live.manifest.user.clone(),
            issued_at: live.issued_at,
            expires_at: live.expires_at,
        }
    }

    fn describe(&self) -> Value {
        json!({
            "id": self.id.as_str(),
            "user": self.user.as_str(),
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
        })
    }
}

fn revocations(
    caller: &Caller,
    seen: Option<&Seen>,
    live: Option<&std::sync::Arc<LiveManifest>>,
    policy: &Snapshot,
) -> BTreeMap<StatementId, Reason> {
    let mut targets = vec![
        (Target::All, Reason::AllRevoked),
        (Target::Device(caller.device.device.clone()), Reason::DeviceRevoked),
    ];
    let agent = live.map(|live| &live.manifest.agent).or(caller.agent.as_ref());
    targets.extend(agent.map(|agent| (Target::Agent(agent.clone()), Reason::AgentRevoked)));
    if let Some(seen) = seen {
        targets.push((Target::User(seen.user.clone()), Reason::UserRevoked));
        targets.push((Target::Manifest(seen.id.clone()), Reason::ManifestRevoked));
    }
    for target in certificate_targets(caller) {
        targets.push((Target::Certificate(target), Reason::CertificateRevoked));
    }
    let aimed = |(target, reason): (Target, Reason)| {
        let all = policy.revocations().aimed_at(&target).iter().map(|known| known.id);
        all.map(move |id| (id, reason)).collect::<Vec<_>>()
    };
    targets.into_iter().flat_map(aimed).collect()
}

/// Every name of every certificate on the caller's path.
pub(super) fn certificate_targets(caller: &Caller) -> impl Iterator<Item = CertificateTarget> {
    caller.device.chain.iter().flat_map(|certificate| {
        let (issuer, serial) = (certificate.issuer.clone(), certificate.serial.clone());
        [
            CertificateTarget::Fingerprint(certificate.fingerprint),
            CertificateTarget::IssuerSerial { issuer, serial },
        ]
    })
}
