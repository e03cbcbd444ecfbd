//! What would be decided, and why? The decision of the data path, put into words.
//!
//! The decision function itself is asked, so an explanation cannot differ from what happens. What it cannot know is said
//! by leaving it out: whether a certificate is still good, what a name resolves to, how much of a budget is spent.
//! Opens nothing, resolves nothing, counts nothing.

use config::settings::Limits;
use config::{AgentName, AllowEntry, Destination, DeviceId, TlsExpectation};
use policy_sync::{Asking, Denial, Grant, LiveManifest, Snapshot};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Which device would go there.
    pub device: &'a DeviceId,
    /// For which agent, if the device says so.
    pub agent: Option<&'a AgentName>,
    /// Where to.
    pub destination: &'a Destination,
    /// When: Unix seconds.
    pub now: i64,
}

/// The answer. Fields that do not apply are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub decision: String,
    /// Why it is denied, or would be if report mode did not let it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The destination in canonical form.
    pub destination: String,
    /// The device.
    pub device: String,
    /// The pattern that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The manifest that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When its life is over: Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// What the first bytes must be: `sni`, `optional` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What the session may upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_bytes_per_session: Option<String>,
    /// What all sessions to the rule's destinations may upload together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_bytes_of_rule: Option<String>,
    /// What all sessions of the manifest may upload together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_bytes_of_manifest: Option<String>,
    /// The policy revision that was asked.
    pub revision: u64,
}

/// Asks the decision function and explains its answer; `defaults` are the gateway's, for what a manifest leaves open.
#[must_use]
pub fn explain(snapshot: &Snapshot, question: Question<'_>, defaults: &Limits) -> Explanation {
    let Question { device, agent, destination, now } = question;
    let asking = Asking {
        device,
        certificate_agent: None,
        requested_agent: agent,
        certificates: &[],
        destination,
        now,
    };
    match snapshot.decide(&asking) {
        Ok(grant) => granted(&grant, question, defaults),
        Err(denial) => denied(&denial, question),
    }
}

fn granted(grant: &Grant, question: Question<'_>, defaults: &Limits) -> Explanation {
    let port = question.destination.port();
    let network = &grant.manifest.manifest.network;
    let entry = grant.rule.and_then(|rule| grant.manifest.rules.allow_entry(rule));
    let tls = entry.map_or_else(|| TlsExpectation::default_for(port), |entry| entry.expected_tls(port));
    let per_session = entry
        .and_then(|entry| entry.upload_bytes_per_session)
        .or(network.upload_bytes_per_session)
        .unwrap_or(defaults.upload_bytes_per_session);
    Explanation {
        rule: entry.map(|entry| entry.pattern.to_string()),
        reason: grant.would_deny.map(|reason| reason.as_str().into()),
        hint: grant.would_deny.map(|_| "Let through because the manifest is in report mode.".into()),
        tls: Some(word(tls).into()),
        upload_bytes_per_session: Some(per_session.to_string()),
        upload_bytes_of_rule: entry.and_then(rule_limit),
        upload_bytes_of_manifest: Some(network.upload_bytes.unwrap_or(defaults.upload_bytes).to_string()),
        ..about("allow", question, Some(&grant.manifest), grant.revision)
    }
}

fn denied(denial: &Denial, question: Question<'_>) -> Explanation {
    Explanation {
        rule: denial.rule.clone(),
        reason: Some(denial.reason.as_str().into()),
        hint: Some(denial.reason.hint().into()),
        ..about("deny", question, denial.manifest.as_deref(), denial.revision)
    }
}

fn about(
    decision: &str,
    question: Question<'_>,
    manifest: Option<&LiveManifest>,
    revision: u64,
) -> Explanation {
    let named = manifest.map(|live| &live.manifest);
    Explanation {
        decision: decision.into(),
        reason: None,
        hint: None,
        destination: question.destination.to_string(),
        device: question.device.to_string(),
        rule: None,
        manifest: named.map(|manifest| manifest.id.to_string()),
        agent: named.map(|manifest| manifest.agent.to_string()),
        user: named.map(|manifest| manifest.user.to_string()),
        expires_at: manifest.map(|live| live.expires_at),
        tls: None,
        upload_bytes_per_session: None,
        upload_bytes_of_rule: None,
        upload_bytes_of_manifest: None,
        revision,
    }
}

fn rule_limit(entry: &AllowEntry) -> Option<String> {
    entry.upload_bytes.map(|limit| limit.to_string())
}

fn word(tls: TlsExpectation) -> &'static str {
    match tls {
        TlsExpectation::Sni => "sni",
        TlsExpectation::Optional => "optional",
        TlsExpectation::None => "none",
    }
}
