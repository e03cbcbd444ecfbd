use proptest::prelude::*;

use super::*;
use crate::problems::Problems;
use crate::reading::Source;
use crate::testing::a_network;

const FULL: &str = r#"{
  "id": "cm-987",
  "agent": "cowork-v1.0",
  "identity": {"user": "alice@example.com", "device": "device-123"},
  "role": "analyst",
  "residency": "eu",
  "capabilities": {
    "filesystem": {"read": ["/Users/alice/Projects/report"], "write": ["/Users/alice/Outbox/reports"]},
    "network": {
      "allow": ["api.internal.corp:443",
                {"host": "uploads.example.com:443", "upload_bytes_per_session": "10MiB", "upload_bytes": "100MiB"},
                {"host": "git.example.com:22", "tls": "none"}],
      "deny": ["*"],
      "upload_bytes_per_session": "10MiB",
      "upload_bytes": "250MiB",
      "sessions": 64,
      "mode": "enforce"
    },
    "secrets": {"vault": "readonly:secrets/reports/*"}
  },
  "ttl_seconds": 3600
}"#;

const LEAST: &str = r#"{"agent":"a","identity":{"user":"u","device":"d"},"capabilities":{},"ttl_seconds":1}"#;

fn read(text: &str) -> Result<ManifestDraft, Problems> {
    ManifestDraft::read(&Source::new("m.json", text))
}

/// The problems of the full manifest with one thing changed, one a line.
fn problems(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    let problems = read(&FULL.replacen(from, to, 1)).expect_err(to);
    problems.iter().map(|problem| format!("{}: {}\n", problem.path, problem.message)).collect()
}

#[test]
fn a_manifest_is_read_as_written() {
    let manifest = Manifest::read(&Source::new("m.json", FULL)).expect("valid");
    assert_eq!(manifest.id.as_str(), "cm-987");
    assert_eq!((manifest.user.as_str(), manifest.device.as_str()), ("alice@example.com", "device-123"));
    assert_eq!((manifest.role.as_deref(), manifest.residency.as_deref()), (Some("analyst"), Some("eu")));
    assert_eq!(manifest.ttl, Duration::from_secs(3600));
    let network = &manifest.network;
    assert_eq!(network.upload_bytes, Some(Limit::Bytes(250 << 20)));
    assert_eq!((network.sessions, network.mode), (Some(64), Mode::Enforce));
    assert_eq!(network.deny.iter().map(ToString::to_string).collect::<Vec<_>>(), ["*:*"]);
    let [api, uploads, git] = network.allow.as_slice() else { panic!("three entries") };
    assert_eq!(api.expected_tls(443), TlsExpectation::Sni);
    assert_eq!(uploads.upload_bytes, Some(Limit::Bytes(100 << 20)));
    assert_eq!(git.expected_tls(22), TlsExpectation::None);
    assert_eq!(manifest.secrets.expect("there")["vault"], "readonly:secrets/reports/*");
}

#[test]
fn yaml_says_the_same_as_json() {
    let yaml = r#"
id: cm-987
agent: cowork-v1.0
identity: {user: alice@example.com, device: device-123}
role: analyst
residency: eu
capabilities:
  filesystem:
    read: [/Users/alice/Projects/report]
    write: [/Users/alice/Outbox/reports]
  network:
    allow:
      - api.internal.corp:443
      - host: uploads.example.com:443
        upload_bytes_per_session: 10MiB
        upload_bytes: 100MiB
      - host: git.example.com:22
        tls: none
    deny: ["*"]
    upload_bytes_per_session: 10MiB
    upload_bytes: 250MiB
    sessions: 64
    mode: enforce
  secrets:
    vault: readonly:secrets/reports/*
ttl_seconds: 3600
"#;
    assert_eq!(ManifestDraft::read(&Source::new("m.yaml", yaml)), read(FULL));
}

#[test]
fn the_least_manifest_allows_nothing_and_is_silent_about_limits() {
    let draft = read(LEAST).expect("valid");
    assert_eq!(draft.network, Network::default());
    assert_eq!(draft.id, None);
    let problems = Manifest::read(&Source::new("m.json", LEAST)).expect_err("it has no id").to_string();
    assert!(problems.contains("id: the field is missing"), "{problems}");
}

#[test]
fn every_wrong_field_is_refused_with_its_path() {
    for (from, to, expected) in [
        (r#""cm-987""#, r#""cm 987""#, "id: the identifier has a character"),
        (r#""agent": "cowork-v1.0","#, "", "agent: the field is missing"),
        (r#""device-123""#, "123", "identity.device: expected text, found a number"),
        (r#""device": "device-123""#, r#""devise": "x""#, "identity.devise: there is no such field"),
        (r#""role": "analyst""#, r#""role": null"#, "role: expected text, found nothing (null)"),
        (r#""role": "analyst""#, r#""role": """#, "role: the text is empty"),
        (r#""role": "analyst""#, r#""role": "a\nb""#, "role: the text has a control character"),
        (r#""role""#, r#""__proto__""#, "__proto__: there is no such field"),
        (r#""role""#, r#""agent""#, ": `agent` is there twice"),
        (r#""role""#, r#""\u0061gent""#, ": `agent` is there twice"),
        ("3600", "0", "ttl_seconds: expected at least 1"),
        ("3600", "-1", "ttl_seconds: the number is negative"),
        ("3600", "1e3", "ttl_seconds: expected a whole number, found `1e3`"),
        ("3600", "3600.0", "ttl_seconds: expected a whole number"),
        ("3600", "\"1h\"", "ttl_seconds: expected a whole number, found text"),
        ("3600", "NaN", ": expected a value"),
        ("3600", "18446744073709551616", "ttl_seconds: the number is too large"),
        ("64", "-1", "capabilities.network.sessions: the number is negative"),
        ("64", "4294967296", "capabilities.network.sessions: the number is too large"),
        (r#""enforce""#, r#""enforced""#, "capabilities.network.mode: expected `enforce` or `report`"),
        (r#""none"}"#, r#""off"}"#, "capabilities.network.allow[2].tls: expected `sni`"),
        (r#""250MiB""#, "-1", "capabilities.network.upload_bytes: the number is negative"),
        (r#""250MiB""#, "1e3", "capabilities.network.upload_bytes: expected a size"),
        (r#""250MiB""#, "1.5", "capabilities.network.upload_bytes: expected a size"),
        (r#""250MiB""#, "18446744073709551616", "capabilities.network.upload_bytes: the number is too large"),
        (r#""250MiB""#, r#""250mb""#, "capabilities.network.upload_bytes: the unit of a size"),
        (r#""250MiB""#, r#""99999999999GiB""#, "capabilities.network.upload_bytes: the size is too large"),
        (r#""250MiB""#, "null", "capabilities.network.upload_bytes: expected a size"),
        (r#""100MiB""#, "true", "capabilities.network.allow[1].upload_bytes: expected a size"),
        (r#""host": "git.example.com:22", "#, "", "capabilities.network.allow[2].host: the field is missing"),
        ("git.example.com:22", "*", "capabilities.network.allow[2].host: `*` stands in deny only"),
        ("git.example.com:22", "0.0.0.0/0", "capabilities.network.allow[2].host: a network of all addresses"),
        ("git.example.com:22", "*.co.uk", "allow[2].host: `*.co.uk` is a wildcard over a public suffix"),
        (
            "git.example.com:22",
            "*.github.io",
            "allow[2].host: `*.github.io` is a wildcard over a public suffix",
        ),
        ("git.example.com:22", "https://a.example", "allow[2].host: a pattern is host:port, not a URL"),
        ("git.example.com:22", "uploads.example.com", "allow[2]: uploads.example.com:443 is there twice"),
        (
            r#"["*"]"#,
            r#"["*.com"]"#,
            "capabilities.network.deny[0]: `*.com` is a wildcard over a public suffix",
        ),
        (r#"["*"]"#, r#"[{"host":"*"}]"#, "capabilities.network.deny[0]: expected text, found a table"),
        (r#"["*"]"#, r#""*""#, "capabilities.network.deny: expected a list, found text"),
        (r#""deny""#, r#""denny""#, "capabilities.network.denny: there is no such field"),
        (r#"{"vault""#, r#"{"": "x", "vault""#, "capabilities.secrets.: the name of a store"),
        (r#"{"read""#, r#"{"reed""#, "capabilities.filesystem.reed: there is no such field"),
    ] {
        let found = problems(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
}

#[test]
fn all_problems_come_at_once_with_line_and_column() {
    let text = "{\n  \"agent\": 7,\n  \"identity\": {\"user\": \"u\"},\n  \"capabilities\": {\"network\": {\"alow\": []}},\n  \"ttl_seconds\": 0\n}";
    let problems = read(text).expect_err("four problems");
    let places: Vec<_> =
        problems.iter().map(|problem| (problem.line, problem.column, problem.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, 12, "agent"),
            (3, 15, "identity.device"),
            (4, 32, "capabilities.network.alow"),
            (5, 18, "ttl_seconds")
        ]
    );
    assert!(problems.to_string().contains("did you mean `allow`?"), "{problems}");
}

#[test]
fn entries_that_would_deny_each_other_are_refused() {
    let allow = |list: &str| read(&LEAST.replace("{}", &format!(r#"{{"network":{{"allow":{list}}}}}"#)));
    for list in [
        r#"["a.example:443", "A.EXAMPLE."]"#,
        r#"["a.example:8000-8100", "b.example", "a.example:8050-8150"]"#,
        r#"["10.0.0.1", "10.0.0.1/32"]"#,
        r#"["*.a.example:*", {"host": "*.a.example:*", "tls": "none"}]"#,
    ] {
        assert!(allow(list).is_err(), "{list}");
    }
    for list in [
        r#"["a.example:443", "a.example:80"]"#,
        r#"["a.example:8000-8100", "a.example:8050-8160"]"#,
        r#"["a.example", "*.a.example", "b.a.example"]"#,
    ] {
        assert!(allow(list).is_ok(), "{list}");
    }
}

/// Each of these took minutes while the work for a problem grew with the file or with the problems before it.
#[test]
fn a_hostile_file_of_full_length_is_refused_with_a_hundred_problems() {
    let keys = |between: &str| (0..80_000).map(|n| format!("\"k{n}\": 1")).collect::<Vec<_>>().join(between);
    let same = vec!["\"k\": 1"; 100_000].join(",");
    for (name, text) in [
        ("unknown.json", format!("{{{}}}", keys(","))),
        ("unknown.yaml", keys("\n")),
        ("twice.json", format!("{{{same}}}")),
        ("twice.yaml", format!("{{{same}}}")),
    ] {
        assert!(text.len() < 1 << 20 && text.len() > 700_000, "{name}: {}", text.len());
        let problems = ManifestDraft::read(&Source::new(name, text)).expect_err(name);
        assert_eq!(problems.len(), 100, "{name}");
        assert!(problems.to_string().len() < 100_000, "{name}");
    }
}

#[test]
fn a_payload_is_strict_json_with_its_moment_of_signing() {
    let payload = |moment: &str| LEAST.replacen('{', &format!(r#"{{"issued_at":{moment},"#), 1);
    let issued = IssuedManifest::read(payload(r#""2026-01-17T12:40:00Z""#).as_bytes()).expect("valid");
    assert_eq!(issued.issued_at, 1_768_653_600);
    for moment in [
        "1768653600",
        r#""2026-01-17""#,
        r#""2026-01-17T12:40:00""#,
        r#""2026-01-17T12:40:00+00:00""#,
        r#""2026-01-17T12:40:00.5Z""#,
        r#""2026-02-30T12:40:00Z""#,
        r#""2026-01-17t12:40:00z""#,
    ] {
        let problems = IssuedManifest::read(payload(moment).as_bytes()).expect_err(moment).to_string();
        assert!(problems.contains("issued_at"), "{problems}");
    }
    assert!(IssuedManifest::read(LEAST.as_bytes()).is_err(), "issued_at is missing");
    assert!(IssuedManifest::read(b"agent: a\n").is_err(), "a payload is never YAML");
    assert!(read(&payload(r#""2026-01-17T12:40:00Z""#)).is_err(), "a source file has no moment of signing");
}

#[test]
fn a_manifest_is_not_toml() {
    let problems =
        ManifestDraft::read(&Source::new("m.toml", "agent = \"a\"")).expect_err("TOML").to_string();
    assert_eq!(problems, "m.toml: a manifest is JSON or YAML");
}

/// Any manifest that can be read: entries that would deny each other are left out.
fn a_draft() -> impl Strategy<Value = ManifestDraft> {
    let name = "[A-Za-z0-9][A-Za-z0-9._@+-]{0,12}";
    let line = || prop::option::of("[^\\p{C}]{1,12}");
    let paths = || prop::collection::vec("[^\\p{C}]{1,12}", 0..3);
    let filesystem =
        prop::option::of((paths(), paths()).prop_map(|(read, write)| Filesystem { read, write }));
    let secrets = prop::option::of(prop::collection::btree_map("[^\\p{C}]{1,8}", "[^\\p{C}]{1,8}", 0..3));
    let whose = (prop::option::of(name), name, name, name);
    (whose, line(), line(), a_network(), filesystem, secrets, 1_u64..1_000_000).prop_map(
        |((id, agent, user, device), role, residency, network, filesystem, secrets, ttl)| ManifestDraft {
            id: id.map(|id| id.parse().expect("an identifier")),
            agent: agent.parse().expect("an identifier"),
            user: user.parse().expect("an identifier"),
            device: device.parse().expect("an identifier"),
            role,
            residency,
            network: without_overlaps(network),
            filesystem,
            secrets,
            ttl: Duration::from_secs(ttl),
        },
    )
}

fn without_overlaps(mut network: Network) -> Network {
    let mut kept: Vec<AllowEntry> = Vec::new();
    for entry in network.allow {
        let clashes = kept.iter().any(|other| {
            let (one, two) = (&other.pattern, &entry.pattern);
            one.host == two.host && one.ports.width() == two.ports.width() && one.ports.overlaps(two.ports)
        });
        if !clashes {
            kept.push(entry);
        }
    }
    network.allow = kept;
    network
}

proptest! {
    #[test]
    fn a_printed_manifest_reads_back_and_prints_the_same(draft in a_draft(), issued_at in 0_i64..4_000_000_000) {
        let printed = draft.to_json();
        prop_assert_eq!(read(&printed), Ok(draft.clone()));
        // The rendering is JSON, and all JSON is YAML.
        prop_assert_eq!(ManifestDraft::read(&Source::new("m.yaml", printed.as_str())), Ok(draft.clone()));
        let issued = IssuedManifest { draft, issued_at };
        prop_assert_eq!(IssuedManifest::read(issued.to_json().as_bytes()), Ok(issued));
    }

    #[test]
    fn no_change_of_a_byte_makes_the_reader_stumble(at in 0_usize..900, byte in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        if let Some(changed) = bytes.get_mut(at) {
            *changed = byte;
        }
        for name in ["m.json", "m.yaml"] {
            if let Ok(draft) = ManifestDraft::read(&Source::new(name, bytes.clone())) {
                prop_assert_eq!(read(&draft.to_json()), Ok(draft));
            }
        }
    }
}

#[test]
fn the_shipped_schema_is_the_one_that_the_types_make() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/schema/manifest.schema.json");
    let made = manifest_schema();
    if std::env::var_os("PORTCULLIS_WRITE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("a schema is JSON") + "\n";
        std::fs::write(path, text).expect("the schema can be written");
    }
    let shipped = std::fs::read_to_string(path).unwrap_or_default();
    let shipped: serde_json::Value = serde_json::from_str(&shipped).unwrap_or_default();
    assert!(shipped == made, "run this test with PORTCULLIS_WRITE_SCHEMA=1 and commit {path}");
}

#[test]
fn the_schema_knows_the_fields_that_the_reader_knows() {
    let schema = manifest_schema().to_string();
    for field in [
        "id",
        "agent",
        "identity",
        "user",
        "device",
        "role",
        "residency",
        "capabilities",
        "filesystem",
        "read",
        "write",
        "network",
        "allow",
        "deny",
        "host",
        "tls",
        "upload_bytes_per_session",
        "upload_bytes",
        "sessions",
        "mode",
        "secrets",
        "ttl_seconds",
    ] {
        assert!(schema.contains(&format!("\"{field}\":")), "{field}");
    }
    assert!(!schema.contains("issued_at") && !schema.contains("null"));
}
