use std::path::Path;
use std::time::Duration;

use super::*;
use crate::Limit;
use crate::access::ApiRole;
use crate::settings::{
    Approval, ApprovalRole, IdentityField, REPEATED, SignalEvent, SignalTarget, SubjectFormat, reference,
    reference_toml,
};

const LEAST: &str = r#"
[tls]
certificate = "control.pem"
key = "control-tls.key"
[trust]
gateway_ca = ["gateway-ca.pem"]
trust_domain = "example.org"
[keys]
ring = "keys.toml"
control = "control.key"
control_id = "control-1"
"#;

fn read(text: &str) -> Result<ControlSettings, Problems> {
    ControlSettings::read(&Source::new("/etc/portcullis/control.toml", text))
}

/// The least settings, with other lines in a section.
fn with(section: &str, lines: &str) -> String {
    let header = format!("[{section}]\n");
    match LEAST.contains(&header) {
        true => LEAST.replace(&header, &format!("{header}{lines}\n")),
        false => format!("{LEAST}{header}{lines}\n"),
    }
}

fn problem(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn every_key_has_the_default_that_the_reference_says() {
    let settings = read(LEAST).expect("the least settings are enough");
    assert_eq!(settings.control.state_dir, Path::new("/var/lib/portcullis-control"));
    assert_eq!(settings.listen.api, "0.0.0.0:7444".parse().expect("an address"));
    assert_eq!(settings.listen.gateways, Some("0.0.0.0:7443".parse().expect("an address")));
    assert_eq!((settings.listen.agents, settings.listen.ops.port()), (None, 7445));
    assert_eq!(settings.trust.identity, IdentityField::Spiffe);
    assert_eq!(settings.store, Store::Embedded);
    assert_eq!(settings.keys.control.path, Path::new("/etc/portcullis/control.key"));
    assert_eq!((&settings.keys.revoker, &settings.keys.approver), (&None, &None));
    assert_eq!(settings.policy.max_ttl, Duration::from_secs(24 * 3600));
    assert_eq!(settings.policy.upload_bytes, Limit::Bytes(250 << 20));
    assert_eq!(settings.api.tokens, Path::new("/etc/portcullis/tokens.toml"));
    assert_eq!((settings.api.requests_per_second, settings.api.burst), (50, 100));
    assert_eq!((settings.api.wait, settings.api.attempts_per_minute), (Duration::from_millis(500), 30));
    assert_eq!((settings.oidc, settings.signals.len()), (None, 0));
}

#[test]
fn the_reference_reads_as_settings() {
    let mut whole = reference_toml(Program::Control);
    for (missing, value) in [
        ("certificate", "\"a\""),
        ("key", "\"a\""),
        ("gateway_ca", "[\"a\"]"),
        ("trust_domain", "\"example.org\""),
        ("ring", "\"a\""),
        ("control", "\"a\""),
        ("control_id", "\"a\""),
        ("issuer", "\"https://idp.example\""),
        ("audience", "\"a\""),
        ("jwks", "\"a\""),
        ("roles", "{ a = \"viewer\" }"),
        ("name", "\"a\""),
        ("subjects", "[{ format = \"email\", to = \"user\" }]"),
        ("events", "{ \"session-revoked\" = [\"user\"] }"),
    ] {
        whole = whole.replace(&format!("\n# {missing} =\n"), &format!("\n{missing} = {value}\n"));
    }
    let embedded = whole.replacen("[nats]", "[[nats-that-nobody-reads]]", 1);
    assert!(problem(&embedded).contains("there is no such field"));
    let settings = read(&whole.replace("\"embedded\"", "\"nats:tls://nats.example:4222\""));
    let settings = settings.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(settings.listen.gateways, None);
    assert_eq!(settings.signals.len(), 1);
    assert!(reference(Program::Control).iter().any(|setting| REPEATED.contains(&setting.section)));
}

#[test]
fn sections_that_only_make_sense_together_are_compared() {
    let nats = "[store]\nsource = \"nats:nats://127.0.0.1:4222\"\n";
    for (text, wrong) in [
        (LEAST.replace("gateway_ca = [\"gateway-ca.pem\"]", ""), "trust.gateway_ca: no authority is named"),
        (with("listen", "agents = \"127.0.0.1:7446\""), "trust.device_ca: `listen.agents` is set"),
        (
            with("listen", "gateways = \"127.0.0.1:1\"") + nats,
            "13:1: listen.gateways: the address has no effect",
        ),
        (
            with("listen", "api = \"0.0.0.0:1\"\nops = \"127.0.0.1:1\"\nagents = \"0.0.0.0:1\""),
            "two listeners",
        ),
        (with("listen", "ops = \"0.0.0.0:7445\""), "listen.ops: the ops address is not loopback"),
        (with("nats", "prefix = \"a\""), "nats: the section has no effect"),
        (with("nats", "ca = \"a\"") + nats, "nats: `ca` and `certificate` have no effect"),
        (
            with("nats", "monitoring = [\"https://a:1\"]") + nats,
            "nats.monitoring[0]: expected http://HOST:PORT",
        ),
        (with("nats", "monitoring = [\"http://a\"]") + nats, "nats.monitoring[0]: expected http://HOST:PORT"),
        (with("keys", "revoker = \"a.key\""), "keys.revoker: `revoker` needs `revoker_id`"),
        (with("keys", "approver_id = \"a\""), "keys.approver_id: `approver_id` needs `approver`"),
    ] {
        assert!(problem(&text).contains(wrong), "{wrong}: {}", problem(&text));
    }
    let without_gateways = LEAST.replace("gateway_ca = [\"gateway-ca.pem\"]", "") + nats;
    let settings = read(&without_gateways).expect("gateways come over NATS");
    let Store::Nats(nats) = settings.store else { panic!("no cluster") };
    assert_eq!((nats.prefix.as_str(), nats.monitoring.len()), ("portcullis", 0));
    let monitored = "[nats]\nmonitoring = [\"http://nats-1:8222\", \"http://127.0.0.1:1/\"]\n";
    let settings = read(&(without_gateways + monitored)).expect("it reads");
    let Store::Nats(nats) = settings.store else { panic!("no cluster") };
    let addresses: Vec<String> = nats.monitoring.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["nats-1:8222", "127.0.0.1:1"]);
    assert!(read(&with("listen", "ops_exposed = true\nops = \"0.0.0.0:7445\"")).is_ok());
}

#[test]
fn wrong_values_are_refused_and_never_replaced_by_a_default() {
    for (section, lines) in [
        ("control", "name = \"a b\""),
        ("control", "log_format = \"xml\""),
        ("listen", "api = \"localhost:7444\""),
        ("listen", "ops_names = [\"*.example.com\"]"),
        ("trust", "identity = \"email\""),
        ("trust", "crl_max_entries = 0"),
        ("store", "source = \"redis://127.0.0.1\""),
        ("policy", "max_ttl = \"0s\""),
        ("policy", "upload_bytes = \"10 mb\""),
        ("policy", "approval = [{ agent = \"*\", roles = [\"author\"] }]"),
        ("api", "requests_per_second = 0"),
        ("api", "burst = \"many\""),
        ("api", "wait = \"2m\""),
        ("api", "attempts_per_minute = -1"),
        ("audit", "file = 1"),
    ] {
        let shown = problem(&with(section, lines));
        let key = lines.split(' ').next().expect("a key");
        assert!(shown.contains(&format!("{section}.{key}")), "{lines}: {shown}");
    }
}

#[test]
fn a_provider_of_tokens_is_read_as_written() {
    let section = "[oidc]\nissuer = \"https://idp.example\"\naudience = \"portcullis\"\n\
                   jwks = \"https://idp.example/keys\"\nca = \"idp.pem\"\nalgorithms = [\"EdDSA\"]\n\
                   role_claim = \"groups\"\nroles = { \"sec ops\" = \"revoker\", staff = \"viewer\" }\nleeway = \"5s\"\n";
    let oidc = read(&format!("{LEAST}{section}")).expect("valid").oidc.expect("set");
    assert_eq!(oidc.jwks, "https://idp.example/keys");
    assert_eq!(oidc.algorithms, ["EdDSA"]);
    assert_eq!(oidc.roles.get("sec ops"), Some(&ApiRole::Revoker));
    assert_eq!((oidc.role_claim.as_str(), oidc.leeway), ("groups", Duration::from_secs(5)));
    for (from, to, wrong) in [
        (
            "https://idp.example/keys",
            "http://idp.example/keys",
            "oidc.jwks: expected an https:// URL or a file",
        ),
        ("https://idp.example/keys", "keys.json", "oidc.ca: it has no effect: `jwks` is a file"),
        ("\"EdDSA\"", "\"HS256\"", "oidc.algorithms[0]: expected `ES256`"),
        ("\"EdDSA\"", "\"none\"", "oidc.algorithms[0]: expected `ES256`"),
        ("[\"EdDSA\"]", "[]", "oidc.algorithms: the list is empty"),
        ("\"viewer\"", "\"root\"", "oidc.roles.staff: expected `viewer`"),
        ("{ \"sec ops\" = \"revoker\", staff = \"viewer\" }", "{}", "oidc.roles: the table is empty"),
        ("issuer = \"https://idp.example\"\n", "", "oidc.issuer: the field is missing"),
    ] {
        let shown = problem(&format!("{LEAST}{}", section.replace(from, to)));
        assert!(shown.contains(wrong), "{wrong}: {shown}");
    }
}

#[test]
fn transmitters_of_signals_are_read_one_by_one() {
    let section = |name: &str, more: &str| {
        format!(
            "[[signals]]\nname = \"{name}\"\nissuer = \"https://{name}.example\"\naudience = \"portcullis\"\n\
             jwks = \"keys.json\"\n{more}\n"
        )
    };
    let plain =
        "subjects = [{ format = \"email\", to = \"user\" }]\nevents = { \"account-disabled\" = [\"user\"] }";
    let mapped = "subjects = [{ member = \"device\", format = \"opaque\", to = \"device\", lowercase = true, add_prefix = \"d-\" }]\n\
                  events = { \"device-not-compliant\" = [\"device\", \"user\"] }\nmax_age = \"5m\"\nburst = 3\n";
    let settings = read(&format!("{LEAST}{}{}", section("a", plain), section("b", mapped))).expect("valid");
    let [first, second] = settings.signals.as_slice() else { panic!("two transmitters") };
    assert_eq!((first.name.as_str(), first.issuer.as_str()), ("a", "https://a.example"));
    assert_eq!((first.max_age, first.tokens_per_second, first.burst), (Duration::from_secs(86_400), 10, 50));
    assert_eq!(first.events.get(&SignalEvent::AccountDisabled), Some(&vec![SignalTarget::User]));
    assert_eq!((second.max_age, second.burst), (Duration::from_secs(300), 3));
    let [mapping] = second.subjects.as_slice() else { panic!("one mapping") };
    assert_eq!((mapping.member.as_deref(), mapping.format), (Some("device"), SubjectFormat::Opaque));
    assert_eq!((mapping.lowercase, mapping.add_prefix.as_str()), (true, "d-"));
    for (from, to, wrong) in [
        ("\"email\"", "\"telepathy\"", "signals[0].subjects[0].format"),
        ("to = \"user\"", "to = \"all\"", "signals[0].subjects[0].to"),
        ("to = \"user\"", "to = \"user\", trim = true", "signals[0].subjects[0].trim"),
        ("account-disabled", "account-envied", "signals[0].events.account-envied"),
        ("[\"user\"]", "[]", "signals[0].events: nothing would happen"),
        ("events = ", "authorization_sha256 = \"Bearer x\"\nevents = ", "signals[0].authorization_sha256"),
        ("events = ", "tokens_per_second = 0\nevents = ", "signals[0].tokens_per_second"),
        ("name = \"a\"", "name = \"a b\"", "signals[0].name"),
    ] {
        let shown = problem(&format!("{LEAST}{}", section("a", plain).replace(from, to)));
        assert!(shown.contains(wrong), "{wrong}: {shown}");
    }
    let twice = problem(&format!("{LEAST}{}{}", section("a", plain), section("a", plain)));
    assert!(twice.contains("signals: two transmitters have one name"), "{twice}");
}

#[test]
fn approvals_are_read_as_a_gateway_reads_them() {
    let settings = read(&with("policy", "approval = [{ agent = \"*\", roles = [\"security\"] }]"));
    let expected = [Approval { agent: None, roles: vec![ApprovalRole::Security] }];
    assert_eq!(settings.expect("valid").policy.approval, expected);
}
