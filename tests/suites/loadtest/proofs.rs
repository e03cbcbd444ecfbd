//! What the load tool proves of a gateway: exact limits, attacks refused and written down, nothing left behind.

use serde_json::Value;

use crate::tool::run;

#[test]
fn uploads_stop_at_exactly_their_limit() {
    for protocol in ["h1", "h2"] {
        let run = run(&["limit", "--rounds", "3", "--protocol", protocol]).succeeds();
        for kind in ["one session", "parallel sessions"] {
            for off in ["bytes over the limit", "bytes short of it"] {
                assert_eq!(run.figure("portcullis", &format!("{kind}, {off}")), 0.0, "{protocol}");
            }
        }
    }
}

#[test]
fn every_simulated_attack_is_refused_and_evented() {
    let run = run(&["redteam", "--pause", "0"]).succeeds();
    let findings = run.report["findings"].as_array().expect("findings");
    assert!(findings.len() >= 40, "{} attacks", findings.len());
    for finding in findings {
        assert_eq!((&finding["refused"], &finding["evented"]), (&true.into(), &true.into()), "{finding}");
        assert!(finding["reason"].is_string() || served_as_asked(finding), "{finding}");
    }
    let reason = |name: &str| {
        let found = findings.iter().find(|finding| finding["name"] == name);
        found.unwrap_or_else(|| panic!("no {name:?}"))["reason"].clone()
    };
    assert_eq!(reason("a host off the list"), "destination_denied");
    assert_eq!(reason("domain fronting: TLS to another name inside a tunnel"), "sni_mismatch");
    assert_eq!(reason("a listed name that leads to a metadata service"), "address_prohibited");
    assert_eq!(reason("an upload over its budget, split over parallel sessions"), "upload_limit_exceeded");
    assert_eq!(reason("another session once the budget is spent"), "upload_budget_spent");
}

/// A plain request whose `Host` lies is served as what its target asks for, and has no reason.
fn served_as_asked(finding: &Value) -> bool {
    finding["answer"]
        .as_str()
        .is_some_and(|answer| answer.starts_with("200, at the origin as o0.origin.test:"))
}

#[test]
fn sessions_that_come_and_go_leave_nothing_behind() {
    let brief =
        ["--minutes", "0.05", "--readings", "6", "--clients", "8", "--rate", "40", "--protocol", "h2"];
    // Two seconds say nothing about memory: whatever rises in them is let pass.
    let lenient = ["--memory-rise", "1000000", "--descriptor-rise", "1000"];
    let run = run(&[&["soak"][..], &brief, &lenient].concat()).succeeds();
    let figure = |name| run.figure("portcullis, HTTP/2", name);
    assert!(figure("sessions") >= 8.0);
    assert_eq!((figure("sessions that went wrong"), figure("sessions left at the end")), (0.0, 0.0));
}
