use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::size::Limit;

const LEAST: &str = r#"
[tls]
certificate = "gateway.pem"
key = "gateway.key"
[trust]
device_ca = ["device-ca.pem"]
trust_domain = "example.org"
[policy]
source = "dir:policy"
keys = "keys.toml"
"#;

fn read(text: &str) -> Result<GatewaySettings, Problems> {
    GatewaySettings::read(&Source::new("/etc/portcullis/gateway.toml", text))
}

/// The least settings, with other lines in a section.
fn with(section: &str, lines: &str) -> String {
    let header = format!("[{section}]\n");
    match LEAST.contains(&header) {
        true => LEAST.replace(&header, &format!("{header}{lines}\n")),
        false => format!("{LEAST}{header}{lines}\n"),
    }
}

fn problem(section: &str, lines: &str) -> String {
    read(&with(section, lines)).expect_err(lines).to_string()
}

#[test]
fn every_key_has_the_default_that_the_reference_says() {
    let settings = read(LEAST).expect("the least settings are enough");
    assert_eq!(settings.gateway.state_dir, Path::new("/var/lib/portcullis"));
    assert_eq!(settings.gateway.name, None);
    assert_eq!(settings.listen.device, ["0.0.0.0:8443".parse().expect("an address")]);
    assert_eq!(settings.listen.pac, None);
    assert_eq!(settings.tls.versions, TlsVersions::Tls13);
    assert_eq!(settings.tls.resumption, Some(Duration::from_secs(3600)));
    assert_eq!(settings.tls.pac, None);
    assert_eq!(settings.trust.identity, IdentityField::Spiffe);
    assert_eq!(settings.policy.max_staleness, Duration::from_secs(60));
    assert_eq!(settings.policy.cut_after, Duration::from_secs(900));
    assert!(!settings.policy.allow_report_mode);
    assert_eq!(settings.limits.upload_bytes, Limit::Bytes(250 << 20));
    assert_eq!(settings.limits.http2_streams, 100);
    assert_eq!(settings.deadlines.session, Duration::from_secs(12 * 3600));
    assert_eq!(settings.dns.max_addresses, 32);
    assert!(settings.destinations.deny.is_empty() && settings.destinations.internal.is_empty());
    assert_eq!(settings.audit.on_failure, AuditFailure::Refuse);
}

#[test]
fn relative_paths_start_from_the_settings_file() {
    let settings = read(&with("audit", "file = \"log/events.jsonl\"")).expect("valid");
    assert_eq!(settings.tls.certificate, Path::new("/etc/portcullis/gateway.pem"));
    assert_eq!(settings.policy.source, PolicySource::Dir("/etc/portcullis/policy".into()));
    assert_eq!(settings.audit.sink, AuditSink::File("/etc/portcullis/log/events.jsonl".into()));
    assert_eq!(read(&with("audit", "file = \"-\"")).expect("valid").audit.sink, AuditSink::Stdout);
}

#[test]
fn the_reference_is_complete_without_repeats() {
    for program in Program::ALL {
        let keys: HashSet<_> =
            reference(program).iter().map(|setting| (setting.section, setting.key)).collect();
        assert_eq!(keys.len(), reference(program).len());
        assert!(reference(program).iter().all(|setting| setting.doc.ends_with('.')));
    }
}

#[test]
fn the_reference_reads_as_settings_with_any_source() {
    let required = [
        ("certificate", "\"a\""),
        ("key", "\"a\""),
        ("device_ca", "[\"a\"]"),
        ("trust_domain", "\"example.org\""),
        ("keys", "\"a\""),
        ("ca", "\"a\""),
        ("report_key", "\"a\""),
        ("report_key_id", "\"a\""),
    ];
    for (source, unused) in [
        ("dir:a", ["control", "nats"].as_slice()),
        ("control:https://control.example:7443", &["nats"]),
        ("nats:tls://nats.example:4222", &["control"]),
    ] {
        let mut whole = reference_toml(Program::Gateway);
        for (missing, value) in required {
            whole = whole.replace(&format!("\n# {missing} =\n"), &format!("\n{missing} = {value}\n"));
        }
        whole = whole.replace("\n# source =\n", &format!("\nsource = \"{source}\"\n"));
        for section in unused {
            let (before, rest) = whole.split_once(&format!("[{section}]\n")).expect("the section is there");
            let (_, after) = rest.split_once("\n[").expect("another section follows");
            whole = format!("{before}[{after}");
        }
        read(&whole).unwrap_or_else(|problems| panic!("{source}: {problems}"));
    }
}

#[test]
fn every_key_of_the_reference_is_known_to_the_reader() {
    for program in Program::ALL {
        for SettingDoc { section, key, .. } in reference(program) {
            let (header, at) = match REPEATED.contains(section) {
                true => (format!("[[{section}]]"), "[0]"),
                false => (format!("[{section}]"), ""),
            };
            let source = Source::new("a.toml", format!("{header}\n{key} = \"\\u0000\"\n"));
            let problems = match program {
                Program::Gateway => GatewaySettings::read(&source).map(drop),
                Program::Control => ControlSettings::read(&source).map(drop),
            }
            .expect_err("a control character suits no key");
            let path = format!("{section}{at}.{key}");
            assert!(problems.iter().any(|problem| problem.path == path), "{path}: {problems}");
            assert!(!problems.to_string().contains("no such field"), "{path}: {problems}");
        }
    }
}

#[test]
fn a_control_plane_is_reached_with_the_certificate_of_tls_or_another() {
    let text =
        LEAST.replace("dir:policy", "control:https://control.example:7443") + "[control]\nca = \"ca.pem\"\n";
    let settings = read(&text).expect("valid");
    let PolicySource::Control(link) = settings.policy.source else { panic!("no control plane") };
    assert_eq!(link.endpoint.to_string(), "https://control.example:7443");
    assert_eq!(link.ca, Path::new("/etc/portcullis/ca.pem"));
    assert_eq!((&link.certificate, &link.key), (&settings.tls.certificate, &settings.tls.key));
    assert!(settings.budget.fleet);
    let other = read(&(text.clone() + "certificate = \"c.pem\"\nkey = \"c.key\"\n[budget]\nfleet = false\n"));
    let settings = other.expect("valid");
    let PolicySource::Control(link) = settings.policy.source else { panic!("no control plane") };
    assert_eq!(link.key, Path::new("/etc/portcullis/c.key"));
    assert!(!settings.budget.fleet);
    for (lines, wrong) in [
        ("certificate = \"c.pem\"\n", "control.certificate: `certificate` and `key` go together"),
        ("[nats]\nreport_key = \"a\"\nreport_key_id = \"a\"\n", "13:2: nats: the section has no effect"),
    ] {
        let shown = read(&(text.clone() + lines)).expect_err(lines).to_string();
        assert!(shown.contains(wrong), "{shown}");
    }
}

#[test]
fn a_nats_cluster_is_reached_by_its_urls_and_with_a_key_for_reports() {
    let section = "[nats]\nca = \"ca.pem\"\nreport_key = \"r.key\"\nreport_key_id = \"gw-1\"\n";
    let text = LEAST.replace("dir:policy", "nats:tls://a.example:4222,tls://b.example:4222") + section;
    let PolicySource::Nats(link) = read(&text).expect("valid").policy.source else { panic!("no cluster") };
    let urls: Vec<_> = link.nats.servers.urls().collect();
    assert_eq!(urls, ["tls://a.example:4222", "tls://b.example:4222"]);
    assert_eq!((link.nats.prefix.as_str(), link.report.id.as_str()), ("portcullis", "gw-1"));
    for (from, to, wrong) in [
        (section, "", "nats: the section is missing"),
        ("report_key_id = \"gw-1\"\n", "", "nats.report_key_id: the field is missing"),
        ("tls://b", "nats://b", "policy.source: some servers are named with TLS and some without"),
        (":4222,tls://b.example:4222", "", "policy.source: expected nats:tls://HOST:PORT"),
        ("ca = ", "prefix = \"a.b\"\nca = ", "nats.prefix: expected at most 32 letters"),
        (
            "tls://a.example:4222,tls://b.example",
            "nats://a.example",
            "nats: `ca` and `certificate` have no effect",
        ),
    ] {
        let shown = read(&text.replace(from, to)).expect_err(wrong).to_string();
        assert!(shown.contains(wrong), "{wrong}: {shown}");
    }
}

#[test]
fn a_source_without_the_section_that_it_needs_is_refused() {
    for (source, section, wrong) in [
        ("control:https://control.example:7443", "", "control: the section is missing"),
        ("control:http://control.example:7443", "", "policy.source: expected control:https://HOST:PORT"),
        ("control:https://control.example", "", "policy.source: expected control:https://HOST:PORT"),
        ("control:https://control.example:7443", "[control]\n", "control.ca: the field is missing"),
        ("dir:policy", "[control]\nca = \"a\"\n", "control: the section has no effect"),
        ("dir:policy", "[budget]\nfleet = true\n", "budget.fleet: there is no control plane to count with"),
        ("http://control.example", "", "policy.source: expected dir:PATH, control:"),
    ] {
        let text = LEAST.replace("dir:policy", source) + section;
        let shown = read(&text).expect_err(wrong).to_string();
        assert!(shown.contains(wrong), "{source}: {shown}");
    }
}

#[test]
fn what_is_missing_is_named_all_at_once() {
    let problems = read("").expect_err("nothing is there").to_string();
    for path in
        ["tls.certificate", "tls.key", "trust.device_ca", "trust_domain", "policy.source", "policy.keys"]
    {
        assert!(problems.contains(path), "{path}: {problems}");
    }
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (section, lines, help) in [
        ("limits", "sesions = 1", "did you mean `sessions`?"),
        ("deadlines", "idel = \"5s\"", "did you mean `idle`?"),
        (
            "tls",
            "colour = 1",
            "the fields here are certificate, key, versions, resumption, pac_certificate, pac_key",
        ),
        ("limit", "", "did you mean `limits`?"),
    ] {
        assert!(problem(section, lines).contains(help), "{lines}: {}", problem(section, lines));
    }
    let shown = problem("limits", "sesions = 1");
    assert!(
        shown.starts_with("/etc/portcullis/gateway.toml:12:1: limits.sesions: there is no such field"),
        "{shown}"
    );
}

#[test]
fn wrong_values_are_refused_and_never_replaced_by_a_default() {
    for (section, lines) in [
        ("gateway", "name = \"a b\""),
        ("gateway", "workers = -1"),
        ("gateway", "log_format = \"xml\""),
        ("gateway", "state_dir = \"\""),
        ("listen", "device = []"),
        ("listen", "device = [\"localhost:8443\"]"),
        ("listen", "device = [\"0.0.0.0:8443\", \"0.0.0.0:8443\"]"),
        ("listen", "device = \"0.0.0.0:8443\""),
        ("listen", "admin = \"0.0.0.0:9443\""),
        ("listen", "admin_names = [\"*.example.com\"]"),
        ("listen", "pac = \"127.0.0.1:8080\""),
        ("listen", "pac_proxy = \"gateway.example.com\""),
        ("listen", "proxy_protocol_from = [\"10.0.0.1/8\"]"),
        ("tls", "versions = \"1.2\""),
        ("tls", "pac_key = \"a\""),
        ("trust", "identity = \"email\""),
        ("trust", "crl_max_entries = 0"),
        ("policy", "max_staleness = \"0s\""),
        ("policy", "max_staleness = \"16m\""),
        ("policy", "max_ttl = \"400d\""),
        ("policy", "max_ttl = 60"),
        ("policy", "allow_report_mode = \"no\""),
        ("policy", "approval = [{ agent = \"*\", roles = [] }]"),
        ("policy", "approval = [{ agent = \"*\", roles = [\"author\"] }]"),
        ("destinations", "deny = [\"a*b\"]"),
        ("destinations", "internal = [\"10.0.0.0\", \"ten\"]"),
        ("destinations", "metadata_override = [\"169.254.0.0/16\"]"),
        ("limits", "sessions = 0"),
        ("limits", "sessions = 1.5"),
        ("limits", "upload_bytes = \"10 mb\""),
        ("limits", "upload_bytes = -1"),
        ("deadlines", "idle = \"5 minutes\""),
        ("deadlines", "idle = \"99999999999999999999s\""),
        ("dns", "servers = [\"dns.example\"]"),
        ("dns", "hosts = { \"a.example\" = [\"b.example\"] }"),
        ("dns", "hosts = { \"a.example\" = [\"10.0.0.1\"], \"A.example.\" = [] }"),
        ("audit", "on_failure = \"ignore\""),
        ("audit", "file = 1"),
    ] {
        let shown = problem(section, lines);
        let key = lines.split(' ').next().expect("a key");
        assert!(shown.contains(key) || key.starts_with("pac"), "{lines}: {shown}");
    }
    assert!(read(&LEAST.replace("device_ca = [\"device-ca.pem\"]", "device_ca = []")).is_err());
    assert!(read(&LEAST.replace("dir:policy", "ftp:policy")).is_err());
    assert!(read(&LEAST.replace("dir:policy", "dir:")).is_err());
}

#[test]
fn settings_are_read_as_written() {
    let text = with("policy", "approval = [{ agent = \"*\", roles = [\"approver\", \"security\"] }]")
        + "[listen]\npac = \"127.0.0.1:8080\"\npac_proxy = \"gateway.example.com:8443\"\n\
           admin = \"0.0.0.0:9443\"\nadmin_exposed = true\n\
           [destinations]\ndeny = [\"*.ru\", \"evil.example:25\"]\ninternal = [\"10.20.0.0/16\", \"127.0.0.1\"]\n\
           [dns]\nservers = [\"9.9.9.9\", \"[::1]:5353\"]\nhosts = { \"Git.example\" = [\"10.20.0.1\", \"::ffff:10.20.0.2\"] }\n\
           [limits]\nupload_bytes = \"unlimited\"\nupload_bytes_per_session = 0\n[deadlines]\nidle = \"250ms\"\n";
    let settings = read(&text).expect("valid");
    assert_eq!(
        settings.policy.approval,
        [Approval { agent: None, roles: vec![ApprovalRole::Approver, ApprovalRole::Security] }]
    );
    assert_eq!(settings.listen.pac_proxy.expect("set").to_string(), "gateway.example.com:8443");
    let denied: Vec<_> = settings.destinations.deny.iter().map(ToString::to_string).collect();
    assert_eq!(denied, ["*.ru:*", "evil.example:25"]);
    assert_eq!(settings.dns.servers, ["9.9.9.9:53", "[::1]:5353"].map(|text| text.parse().expect(text)));
    let (name, addresses) = settings.dns.hosts.first_key_value().expect("one name");
    assert_eq!((name.as_str(), addresses.len()), ("git.example", 2));
    assert!(addresses.iter().all(std::net::IpAddr::is_ipv4));
    assert_eq!(settings.limits.upload_bytes, Limit::Unlimited);
    assert_eq!(settings.limits.upload_bytes_per_session, Limit::Bytes(0));
    assert_eq!(settings.deadlines.idle, Duration::from_millis(250));
}

#[test]
fn a_hostile_file_of_full_length_is_refused_with_a_hundred_problems() {
    let keys = |between: &str| (0..80_000).map(|n| format!("k{n} = 1")).collect::<Vec<_>>().join(between);
    for text in [keys("\n"), format!("limits = {{{}}}", keys(", "))] {
        assert_eq!(read(&text).expect_err("no such fields").len(), 100);
    }
}
