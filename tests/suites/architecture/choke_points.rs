//! Calls that may stand in one place only, counted in the source.

use crate::source::{PRODUCT, files};

/// Where the product's code says `needle`: the file, once for each time.
fn places(needle: &str) -> Vec<String> {
    let product = files(&PRODUCT).into_iter().filter(|file| !file.is_tests());
    product.flat_map(|file| vec![file.path.clone(); file.code().matches(needle).count()]).collect()
}

#[test]
fn one_function_decides_for_every_protocol() {
    let calls: Vec<_> =
        places("authorize(").into_iter().filter(|path| !path.ends_with("authorize.rs")).collect();
    assert_eq!(calls.len(), 1, "every session passes the same call: {calls:?}");
}

#[test]
fn only_dial_opens_connections_to_destinations() {
    for needle in ["TcpSocket::new_v4", "TcpSocket::new_v6", ".connect(", "connect_timeout("] {
        for path in places(needle) {
            let blocking_command =
                path.starts_with("proxy/src/cli/") || path.starts_with("proxy/src/quickstart/");
            let to_an_issuer = path == "policy-sync/src/control/jwks/fetch.rs";
            let to_the_control_plane = path == "policy-sync/src/transport/embedded/link.rs";
            let to_nats = path.starts_with("policy-sync/src/transport/nats/");
            let elsewhere = blocking_command || to_an_issuer || to_the_control_plane || to_nats;
            let allowed = path.starts_with("proxy/src/dial") || elsewhere;
            assert!(allowed, "{needle} in {path}");
        }
    }
}

#[test]
fn only_resolve_looks_names_up() {
    for needle in ["hickory_resolver", "lookup_host", "to_socket_addrs", "getaddrinfo"] {
        for path in places(needle) {
            assert!(path.starts_with("proxy/src/resolve"), "{needle} in {path}");
        }
    }
}

#[test]
fn nothing_waits_in_a_queue_without_bound() {
    for needle in ["unbounded_channel", "mpsc::channel()", "unbounded()"] {
        assert_eq!(places(needle), Vec::<String>::new(), "{needle}");
    }
}

#[test]
fn only_the_projects_own_tickets_resume_and_no_key_is_logged() {
    for needle in ["KeyLogFile", "SSLKEYLOGFILE", "Ticketer::new", "ServerSessionMemoryCache"] {
        assert_eq!(places(needle), Vec::<String>::new(), "{needle}");
    }
    assert_eq!(places("impl ProducesTickets"), ["certs/src/tickets.rs"]);
}

#[test]
fn permits_and_screened_addresses_are_made_in_one_place_each() {
    for (needle, home) in [("Permit {", "proxy/src/authorize"), ("EgressAddr(", "proxy/src/")] {
        for path in places(needle) {
            assert!(path.starts_with(home), "{needle} in {path}");
        }
    }
}

#[test]
fn the_library_is_silent_and_panics_nowhere_on_purpose() {
    for needle in ["todo!(", "unimplemented!(", "dbg!("] {
        assert_eq!(places(needle), Vec::<String>::new(), "{needle}");
    }
}
