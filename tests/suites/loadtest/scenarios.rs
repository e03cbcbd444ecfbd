//! Every scenario runs, over every protocol that it knows, and gives the figures that it is for.

use crate::tool::run;

#[test]
fn sessions_are_counted_over_both_protocols() {
    let small = ["--sessions", "20", "--clients", "4", "--rounds", "1"];
    let run = run(&[&["connect", "--protocol", "h2", "--streams", "2"][..], &small].concat()).succeeds();
    for subject in ["portcullis, HTTP/2", "portcullis", "bare relay"] {
        assert!(run.figure(subject, "proxy processor time per session") > 0.0);
        assert!(run.figure(subject, "time to first byte, closed loop, p50") > 0.0);
    }
}

#[test]
fn resumed_sessions_are_told_from_full_ones() {
    let small = ["--sessions", "20", "--clients", "4", "--rounds", "1"];
    let run = run(&[&["connect", "--handshake", "resumed"][..], &small].concat()).succeeds();
    // The relay resumes every session: a tool that did not would not see what a gateway does.
    assert_eq!(run.figure("bare relay", "resumed sessions"), 100.0);
    assert!((0.0..=100.0).contains(&run.figure("portcullis", "resumed sessions")));
}

#[test]
fn messages_are_counted_from_the_moment_they_were_due() {
    let small = ["--tunnels", "4", "--trips", "5", "--messages", "5", "--rate", "50", "--rounds", "1"];
    let run = run(&[&["latency", "--protocol", "h2"][..], &small].concat()).succeeds();
    for subject in ["portcullis, HTTP/2", "portcullis", "bare relay"] {
        assert!(run.figure(subject, "flat out, proxy processor time of a round trip") > 0.0);
        let (p50, max) = ("open loop, round trip, p50", "open loop, round trip, max");
        assert!(run.figure(subject, p50) <= run.figure(subject, max));
        let late = run.figure(subject, "open loop, the load's own lateness, p50");
        assert!(late <= run.figure(subject, p50), "an answer is behind its sending");
    }
}

#[test]
fn plain_requests_are_answered_by_the_origin_through_both_proxies() {
    let small = ["--clients", "3", "--requests", "5", "--due", "3", "--rounds", "1"];
    let run = run(&[&["http"][..], &small].concat()).succeeds();
    for subject in ["portcullis", "bare relay"] {
        assert!(run.figure(subject, "flat out, proxy processor time per 1,000 requests") > 0.0);
    }
}

#[test]
fn bytes_and_idle_tunnels_are_measured_over_http_2_too() {
    run(&["transfer", "--protocol", "h2", "--mib", "4", "--rounds", "1"]).succeeds();
    run(&["idle", "--protocol", "h2", "--tunnels", "20", "--settle", "0"]).succeeds();
}
