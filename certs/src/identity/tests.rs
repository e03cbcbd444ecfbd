use super::*;

fn domain() -> TrustDomain {
    "example.org".parse().unwrap()
}

/// The outcome as text: `device`, `device/agent`, or the refusal.
fn text(outcome: Result<Identity, Refusal>) -> String {
    match outcome {
        Ok((device, None)) => device.to_string(),
        Ok((device, Some(agent))) => format!("{device}/{agent}"),
        Err(refusal) => refusal.as_str().to_owned(),
    }
}

#[test]
fn a_device_is_named_by_exactly_one_uri_in_exact_spelling() {
    let rows: &[(&[&str], &str)] = &[
        (&["spiffe://example.org/device/d-1"], "d-1"),
        (&["spiffe://example.org/device/D.1_x"], "D.1_x"),
        (&["spiffe://example.org/device/d-1/agent/cowork-v1.0"], "d-1/cowork-v1.0"),
        (&["https://example.org/device/d-1", "spiffe://example.org/device/d-1"], "d-1"),
        (&["spiffe://other.org/device/x", "spiffe://example.org/device/d-1"], "d-1"),
        (&["spiffe://example.org/gateway/g", "spiffe://example.org/device/d-1"], "d-1"),
        (&[], "identity_missing"),
        (&["spiffe://example.org"], "identity_missing"),
        (&["spiffe://example.org/gateway/device"], "identity_missing"),
        (&["spiffe://example.org.evil.example/device/d-1"], "identity_missing"),
        (&["spiffe://example.org:443/device/d-1"], "identity_missing"),
        (&["spiffe://u@example.org/device/d-1"], "identity_missing"),
        (&["spiffe://example.org./device/d-1"], "identity_missing"),
        (&["spiffe://example.or"], "identity_missing"),
        (&["spiffe://example.org/devices/d-1"], "identity_missing"),
        (&["spiffe://example.org/device/a", "spiffe://example.org/device/b"], "identity_ambiguous"),
        (&["spiffe://example.org/device/a", "spiffe://example.org/device/a"], "identity_ambiguous"),
        (&["spiffe://example.org/device/a", "SPIFFE://example.org/device/b"], "identity_ambiguous"),
        (&["SPIFFE://example.org/device/d-1"], "identity_malformed"),
        (&["spiffe://Example.org/device/d-1"], "identity_malformed"),
        (&["spiffe://example.org/Device/d-1"], "identity_malformed"),
        (&["spiffe://example.org/device"], "identity_malformed"),
        (&["spiffe://example.org/device/"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1/"], "identity_malformed"),
        (&["spiffe://example.org//device/d-1"], "identity_malformed"),
        (&["spiffe://example.org/device//d-1"], "identity_malformed"),
        (&["spiffe://example.org/device/.."], "identity_malformed"),
        (&["spiffe://example.org/%64evice/d-1"], "identity_malformed"),
        (&["spiffe://example.org/device/d%2d1"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1?x"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1#x"], "identity_malformed"),
        (&["spiffe://example.org?/device/d-1"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1/agent"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1/agent/"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1/agent/a/b"], "identity_malformed"),
        (&["spiffe://example.org/device/d-1/user/a"], "identity_malformed"),
    ];
    for (uris, expected) in rows {
        let names: Vec<_> = uris.iter().map(|uri| Name::Uri(uri)).collect();
        assert_eq!(text(from_uris(&domain(), &names)), *expected, "{uris:?}");
    }
}

#[test]
fn a_dns_name_is_taken_when_it_is_the_only_one_and_canonical() {
    let rows: &[(&[&str], &str)] = &[
        (&["laptop-7.corp.example"], "laptop-7.corp.example"),
        (&[], "identity_missing"),
        (&["a.example", "b.example"], "identity_ambiguous"),
        (&["*.corp.example"], "identity_malformed"),
        (&["Laptop.corp.example"], "identity_malformed"),
        (&["laptop.corp.example."], "identity_malformed"),
        (&["laptop..example"], "identity_malformed"),
        (&[""], "identity_malformed"),
    ];
    for (names, expected) in rows {
        let names: Vec<_> = names.iter().map(|name| Name::Dns(name)).collect();
        assert_eq!(text(from_dns(&names)), *expected);
    }
}

#[test]
fn a_trust_domain_is_plain_lower_case() {
    for (text, good) in [
        ("example.org", true),
        ("prod_1.example", true),
        ("", false),
        ("Example.org", false),
        ("example.org/", false),
        ("example.org.", false),
        ("-a", false),
        ("a b", false),
    ] {
        assert_eq!(text.parse::<TrustDomain>().is_ok(), good, "{text:?}");
    }
}

#[test]
fn what_is_issued_reads_back() {
    let device: DeviceId = "device-123".parse().unwrap();
    let agent: AgentName = "cowork-v1.0".parse().unwrap();
    for agent in [None, Some(agent)] {
        let uri = device_uri(&domain(), &device, agent.as_ref());
        let read = from_uris(&domain(), &[Name::Uri(&uri)]);
        assert_eq!(read, Ok((device.clone(), agent)));
    }
}
