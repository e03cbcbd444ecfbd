//! The manifest as JSON: the one rendering that is signed, and the schema of what may be written.
//!
//! The rendering is canonical: fixed order of fields, ports and limits spelled out, nothing that is absent. It reads back
//! to an equal manifest. The types here are never read into; the reader has its own walker with places.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{AllowEntry, IssuedManifest, Manifest, ManifestDraft, Mode, Network, TlsExpectation};
use crate::size::Limit;

impl Manifest {
    /// The canonical JSON of the manifest, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        ManifestDraft::from(self.clone()).to_json()
    }
}

impl ManifestDraft {
    /// The canonical JSON of the draft, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        render(&ManifestDocument::new(self, None))
    }
}

impl IssuedManifest {
    /// The payload to sign: canonical JSON on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let issued_at = jiff::Timestamp::from_second(self.issued_at).unwrap_or(jiff::Timestamp::MAX);
        render(&ManifestDocument::new(&self.draft, Some(issued_at.to_string())))
    }
}

/// The JSON Schema (2020-12) of a manifest file, for editors and other tools. The reader is stricter: it knows which
/// names are names and which suffixes are public.
#[must_use]
pub fn manifest_schema() -> Value {
    let mut schema = schemars::schema_for!(ManifestDocument).to_value();
    leave_out_null(&mut schema);
    schema
}

/// An optional field is left out, never `null`: the reader refuses that, and so does the schema.
fn leave_out_null(schema: &mut Value) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema["type"] = only;
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_mut_slice()
            && let Value::Object(mut only) = std::mem::take(only).into()
            && let Some(object) = schema.as_object_mut()
        {
            object.remove("anyOf");
            object.append(&mut only);
        }
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(leave_out_null),
        Value::Array(items) => items.iter_mut().for_each(leave_out_null),
        _ => {}
    }
}

fn render(document: &ManifestDocument) -> String {
    serde_json::to_string(document).expect("text, numbers and maps with text keys always render")
}

/// A capability manifest: what one agent, for one user, on one device, may do.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "Portcullis capability manifest", deny_unknown_fields)]
struct ManifestDocument {
    /// Which manifest this is; signing gives one when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = IDENTIFIER))]
    id: Option<String>,
    /// The program that the manifest is written for.
    #[schemars(regex(pattern = IDENTIFIER))]
    agent: String,
    /// For whom, and where.
    identity: IdentityDocument,
    /// What the agent is there for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    role: Option<String>,
    /// Where its data has to stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    residency: Option<String>,
    /// What it may do.
    capabilities: CapabilitiesDocument,
    /// How long the manifest lives from the moment it was signed.
    #[schemars(range(min = 1, max = 315_619_200))]
    ttl_seconds: u64,
    /// When it was signed; part of the payload only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    issued_at: Option<String>,
}

const IDENTIFIER: &str = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Identity", deny_unknown_fields)]
struct IdentityDocument {
    /// The person on whose behalf the agent works.
    #[schemars(regex(pattern = IDENTIFIER))]
    user: String,
    /// The device, as its certificate names it.
    #[schemars(regex(pattern = IDENTIFIER))]
    device: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Capabilities", deny_unknown_fields)]
struct CapabilitiesDocument {
    /// Which files: for the agent's runtime to enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<FilesystemDocument>,
    /// Which destinations: enforced by the gateway.
    #[schemars(default)]
    network: NetworkDocument,
    /// Which secrets, by store: for the agent's runtime to enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Filesystem", deny_unknown_fields)]
struct FilesystemDocument {
    /// Paths that may be read.
    #[schemars(default)]
    read: Vec<String>,
    /// Paths that may be written.
    #[schemars(default)]
    write: Vec<String>,
}

#[derive(Serialize, JsonSchema, Default)]
#[schemars(rename = "Network", deny_unknown_fields)]
struct NetworkDocument {
    /// What may be reached. A pattern is `host[:port]`; without port it means 443.
    #[schemars(default)]
    allow: Vec<AllowDocument>,
    /// What may not, where it is more specific than what may. Without port a pattern means every port.
    #[schemars(default)]
    deny: Vec<String>,
    /// How much each session may upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_bytes_per_session: Option<LimitDocument>,
    /// How much all sessions together may upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_bytes: Option<LimitDocument>,
    /// How many sessions may be open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u32>,
    /// Whether destinations off the list are denied, or let through and reported.
    #[schemars(default)]
    mode: ModeDocument,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AllowEntry")]
enum AllowDocument {
    /// A pattern alone.
    Pattern(String),
    /// A pattern with limits of its own.
    Entry(EntryDocument),
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AllowEntryFields", deny_unknown_fields)]
struct EntryDocument {
    /// The pattern.
    host: String,
    /// How much each session to it may upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_bytes_per_session: Option<LimitDocument>,
    /// How much all sessions to it together may upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_bytes: Option<LimitDocument>,
    /// What the first bytes must be: TLS that names the destination (the default on 443), the same if it is TLS at all
    /// (the default elsewhere), or anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsDocument>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Tls")]
enum TlsDocument {
    Sni,
    Optional,
    None,
}

#[derive(Serialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Mode")]
enum ModeDocument {
    #[default]
    Enforce,
    Report,
}

struct LimitDocument(Limit);

impl Serialize for LimitDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Limit::Bytes(bytes) => serializer.serialize_u64(bytes),
            Limit::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

impl JsonSchema for LimitDocument {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, 0 meaning none; text with a unit; or `unlimited`, spelled out.",
            "oneOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^(unlimited|[0-9]+ ?(KiB|MiB|GiB|kB|MB|GB)|[0-9]+)$" }
            ]
        })
    }
}

impl ManifestDocument {
    fn new(draft: &ManifestDraft, issued_at: Option<String>) -> Self {
        Self {
            id: draft.id.as_ref().map(ToString::to_string),
            agent: draft.agent.to_string(),
            identity: IdentityDocument { user: draft.user.to_string(), device: draft.device.to_string() },
            role: draft.role.clone(),
            residency: draft.residency.clone(),
            capabilities: CapabilitiesDocument {
                filesystem: draft
                    .filesystem
                    .as_ref()
                    .map(|paths| FilesystemDocument { read: paths.read.clone(), write: paths.write.clone() }),
                network: NetworkDocument::new(&draft.network),
                secrets: draft.secrets.clone(),
            },
            ttl_seconds: draft.ttl.as_secs(),
            issued_at,
        }
    }
}

impl NetworkDocument {
    fn new(network: &Network) -> Self {
        Self {
            allow: network.allow.iter().map(AllowDocument::new).collect(),
            deny: network.deny.iter().map(ToString::to_string).collect(),
            upload_bytes_per_session: network.upload_bytes_per_session.map(LimitDocument),
            upload_bytes: network.upload_bytes.map(LimitDocument),
            sessions: network.sessions,
            mode: match network.mode {
                Mode::Enforce => ModeDocument::Enforce,
                Mode::Report => ModeDocument::Report,
            },
        }
    }
}

impl AllowDocument {
    fn new(entry: &AllowEntry) -> Self {
        let host = entry.pattern.to_string();
        match entry {
            AllowEntry { upload_bytes_per_session: None, upload_bytes: None, tls: None, .. } => {
                Self::Pattern(host)
            }
            _ => Self::Entry(EntryDocument {
                host,
                upload_bytes_per_session: entry.upload_bytes_per_session.map(LimitDocument),
                upload_bytes: entry.upload_bytes.map(LimitDocument),
                tls: entry.tls.map(|tls| match tls {
                    TlsExpectation::Sni => TlsDocument::Sni,
                    TlsExpectation::Optional => TlsDocument::Optional,
                    TlsExpectation::None => TlsDocument::None,
                }),
            }),
        }
    }
}
