//! From a file to a manifest: every field by name and type, every problem at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{AllowEntry, Filesystem, IssuedManifest, Manifest, ManifestDraft, Mode, Network, TlsExpectation};
use crate::identifiers::{AgentName, DeviceId, ManifestId, UserName};
use crate::pattern::{DefaultPorts, HostPattern, Pattern, UnfitPattern};
use crate::problems::Problems;
use crate::reading::{self, Field, Format, Source, Table, Walk};

/// Ten years, in seconds; a gateway caps what it grants far below.
const LONGEST_TTL: u64 = 3653 * 24 * 3600;
/// The longest role, residency, path or name of a store, in bytes.
const LONGEST_TEXT: usize = 1024;

const TLS: [(&str, TlsExpectation); 3] =
    [("sni", TlsExpectation::Sni), ("optional", TlsExpectation::Optional), ("none", TlsExpectation::None)];
const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("report", Mode::Report)];

impl ManifestDraft {
    /// Reads a manifest file, JSON or YAML.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        read(source, |mut table| draft(&mut table).inspect_read(table))
    }
}

impl Manifest {
    /// Reads a manifest file, JSON or YAML, whose author chose the identifier.
    ///
    /// # Errors
    /// Every problem of the file at once; a missing `id` is one.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        read(source, |mut table| {
            let id = table.required("id").and_then(|field| field.parsed::<ManifestId>());
            let draft = draft(&mut table).inspect_read(table);
            Some(draft?.identified(id?))
        })
    }
}

impl IssuedManifest {
    /// Reads the payload of a signed manifest: strict JSON, the fields of a manifest and `issued_at`.
    ///
    /// # Errors
    /// Every problem of the payload at once.
    pub fn read(payload: &[u8]) -> Result<Self, Problems> {
        let source = Source::new("payload", payload).with_format(Format::Json);
        read(&source, |mut table| {
            let issued_at = table.required("issued_at").and_then(|field| moment(&field));
            let draft = draft(&mut table).inspect_read(table);
            Some(Self { draft: draft?, issued_at: issued_at? })
        })
    }
}

fn read<T>(source: &Source, fields: impl FnOnce(Table<'_>) -> Option<T>) -> Result<T, Problems> {
    let walk = Walk::new(source);
    let root = match source.format() {
        Format::Toml => walk.refuse_file("a manifest is JSON or YAML"),
        Format::Json | Format::Yaml => reading::tree(source, &walk),
    };
    let value = root.as_ref().and_then(|root| Field::root(&walk, root).table()).and_then(fields);
    walk.finish(value)
}

/// Ends the reading of a table: whatever was read, its unknown fields are problems too.
trait InspectRead {
    fn inspect_read(self, table: Table<'_>) -> Self;
}

impl<T> InspectRead for Option<T> {
    fn inspect_read(self, table: Table<'_>) -> Self {
        table.finish();
        self
    }
}

fn draft(table: &mut Table<'_>) -> Option<ManifestDraft> {
    let id = table.maybe("id", |field| field.parsed::<ManifestId>());
    let agent = table.required("agent").and_then(|field| field.parsed::<AgentName>());
    let identity = table.required("identity").and_then(|field| identity(field.table()?));
    let role = table.maybe("role", |field| text(&field));
    let residency = table.maybe("residency", |field| text(&field));
    let capabilities = table.required("capabilities").and_then(|field| capabilities(field.table()?));
    let ttl = table.required("ttl_seconds").and_then(|field| field.whole(1, LONGEST_TTL));
    let (user, device) = identity?;
    let Capabilities { network, filesystem, secrets } = capabilities?;
    Some(ManifestDraft {
        id: id?,
        agent: agent?,
        user,
        device,
        role: role?,
        residency: residency?,
        network,
        filesystem,
        secrets,
        ttl: Duration::from_secs(ttl?),
    })
}

fn identity(mut table: Table<'_>) -> Option<(UserName, DeviceId)> {
    let user = table.required("user").and_then(|field| field.parsed());
    let device = table.required("device").and_then(|field| field.parsed());
    table.finish();
    user.zip(device)
}

struct Capabilities {
    network: Network,
    filesystem: Option<Filesystem>,
    secrets: Option<BTreeMap<String, String>>,
}

fn capabilities(mut table: Table<'_>) -> Option<Capabilities> {
    let filesystem = table.maybe("filesystem", |field| filesystem(field.table()?));
    let network = table.maybe("network", |field| network(field.table()?));
    let secrets = table.maybe("secrets", |field| secrets(&field));
    table.finish();
    Some(Capabilities { network: network?.unwrap_or_default(), filesystem: filesystem?, secrets: secrets? })
}

fn filesystem(mut table: Table<'_>) -> Option<Filesystem> {
    let read = table.maybe("read", |field| field.each(|path| text(&path)));
    let write = table.maybe("write", |field| field.each(|path| text(&path)));
    table.finish();
    Some(Filesystem { read: read?.unwrap_or_default(), write: write?.unwrap_or_default() })
}

fn secrets(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let grants = field.pairs()?.into_iter().map(|(store, grant)| {
        if store.is_empty() || store.len() > LONGEST_TEXT || store.chars().any(char::is_control) {
            return grant.refuse("the name of a store is one line of text", None);
        }
        Some((store.to_owned(), text(&grant)?))
    });
    // All of them are read before the first wrong one counts, so that each is reported.
    grants.collect::<Vec<_>>().into_iter().collect()
}

fn network(mut table: Table<'_>) -> Option<Network> {
    let allow = table.maybe("allow", |field| allow(&field));
    let deny = table.maybe("deny", |field| field.each(|entry| deny_entry(&entry)));
    let upload_bytes_per_session = table.maybe("upload_bytes_per_session", |field| field.limit());
    let upload_bytes = table.maybe("upload_bytes", |field| field.limit());
    let sessions = table.maybe("sessions", |field| field.whole(0, u32::MAX));
    let mode = table.maybe("mode", |field| field.one_of(&MODES));
    table.finish();
    Some(Network {
        allow: allow?.unwrap_or_default(),
        deny: deny?.unwrap_or_default(),
        upload_bytes_per_session: upload_bytes_per_session?,
        upload_bytes: upload_bytes?,
        sessions: sessions?,
        mode: mode?.unwrap_or_default(),
    })
}

fn allow(field: &Field<'_>) -> Option<Vec<AllowEntry>> {
    let items = field.list()?;
    let read: Vec<Option<AllowEntry>> = items.iter().map(allow_entry).collect();
    let patterns = items.iter().zip(&read).filter_map(|(item, entry)| Some((item, &entry.as_ref()?.pattern)));
    refuse_overlaps(patterns.collect());
    read.into_iter().collect()
}

/// One entry: a pattern alone, or a table with `host`.
fn allow_entry(field: &Field<'_>) -> Option<AllowEntry> {
    if field.is_text() {
        let pattern = allow_pattern(field)?;
        return Some(AllowEntry { pattern, upload_bytes_per_session: None, upload_bytes: None, tls: None });
    }
    let mut table = field.table()?;
    let pattern = table.required("host").and_then(|field| allow_pattern(&field));
    let upload_bytes_per_session = table.maybe("upload_bytes_per_session", |field| field.limit());
    let upload_bytes = table.maybe("upload_bytes", |field| field.limit());
    let tls = table.maybe("tls", |field| field.one_of(&TLS));
    table.finish();
    Some(AllowEntry {
        pattern: pattern?,
        upload_bytes_per_session: upload_bytes_per_session?,
        upload_bytes: upload_bytes?,
        tls: tls?,
    })
}

fn allow_pattern(field: &Field<'_>) -> Option<Pattern> {
    let pattern = field.by(|text| Pattern::parse(text, DefaultPorts::Https))?;
    fit(field, pattern.fit_to_allow())?;
    Some(pattern)
}

fn deny_entry(field: &Field<'_>) -> Option<Pattern> {
    let pattern = field.by(|text| Pattern::parse(text, DefaultPorts::Every))?;
    fit(field, pattern.fit_to_deny())?;
    Some(pattern)
}

fn fit(field: &Field<'_>, fit: Result<(), UnfitPattern>) -> Option<()> {
    let help = match &fit {
        Ok(()) => return Some(()),
        Err(UnfitPattern::Any | UnfitPattern::EveryAddress) => "list the hosts that are needed",
        Err(UnfitPattern::PublicSuffix(_)) => "name at least one label more, such as `*.yourname.…`",
    };
    let why = fit.err().map(|why| why.to_string()).unwrap_or_default();
    field.refuse(&why, Some(help))
}

/// Two entries of the same hosts whose ports overlap and are equally many would deny each other: neither is the more
/// specific one. An entry that is there twice is the plain case of it.
fn refuse_overlaps(patterns: Vec<(&Field<'_>, &Pattern)>) {
    let mut by_host: HashMap<(&HostPattern, u32), Vec<(&Field<'_>, &Pattern)>> = HashMap::new();
    for (field, pattern) in patterns {
        by_host.entry((&pattern.host, pattern.ports.width())).or_default().push((field, pattern));
    }
    for mut same in by_host.into_values() {
        same.sort_by_key(|(_, pattern)| pattern.ports.bounds());
        for pair in same.windows(2) {
            if let [(_, first), (field, second)] = pair
                && first.ports.overlaps(second.ports)
            {
                let message = match first == second {
                    true => format!("{first} is there twice"),
                    false => {
                        format!("the ports overlap with those of {first}, and neither are the narrower ones")
                    }
                };
                field.refuse::<()>(&message, Some("of equally specific entries none would decide"));
            }
        }
    }
}

/// One line of text of a bounded length.
fn text(field: &Field<'_>) -> Option<String> {
    match field.line()? {
        long if long.len() > LONGEST_TEXT => field.refuse("the text is longer than 1024 bytes", None),
        text => Some(text.to_owned()),
    }
}

/// A moment in RFC 3339, to the second, in UTC.
fn moment(field: &Field<'_>) -> Option<i64> {
    let text = field.text()?;
    let moment = text.parse::<jiff::Timestamp>().ok().filter(|moment| moment.to_string() == text);
    match moment {
        Some(moment) if moment.subsec_nanosecond() == 0 => Some(moment.as_second()),
        _ => field.refuse("expected a moment such as 2026-01-17T12:40:00Z", None),
    }
}
