//! What does an attacker try? One list: what each attack sends, and what has to become of it.

use std::net::{IpAddr, SocketAddr};

use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use super::strike::Scene;
use crate::subject::{Hop, Subject};

/// A name that no manifest lists: reserved, so that it leads nowhere even when it comes through.
const ELSEWHERE: &str = "exfiltration.invalid";

/// One attack.
#[derive(Debug)]
pub(super) struct Attack {
    /// What it is, in words.
    pub(super) name: String,
    /// How it is done.
    pub(super) means: Means,
}

/// How an attack is done.
#[derive(Debug)]
pub(super) enum Means {
    /// These bytes, on a connection of their own. They are refused, and nobody is dialled.
    Head(Vec<u8>),
    /// A CONNECT on a stream of HTTP/2. The same.
    Stream(String),
    /// A request whose `Host` lies. It is served as what it asks for: the origin sees the authority of its target.
    Lie(Vec<u8>),
    /// A tunnel to an allowed destination, and these first bytes in it. None of them arrives.
    FirstFlight(String, Vec<u8>),
    /// A connection by somebody else. It does not get to a request.
    Stranger(Box<Subject>),
    /// Tunnels that together send several times what they may. No byte over the limit arrives.
    Split(String, u64),
}

/// Every attack that can be tried in a scene.
///
/// # Errors
/// When a ClientHello cannot be made.
pub(super) fn all(scene: &Scene) -> anyhow::Result<Vec<Attack>> {
    let mut attacks = destinations(scene);
    attacks.extend(shapes(&scene.open));
    if let Some(tls) = &scene.tls {
        let fronted = hello(&scene.subject, ServerName::try_from(ELSEWHERE)?)?;
        let nameless = hello(&scene.subject, ServerName::from(IpAddr::from([192, 0, 2, 1])))?;
        let flight =
            |name: &str, bytes| Attack { name: name.into(), means: Means::FirstFlight(tls.clone(), bytes) };
        attacks.push(flight("domain fronting: TLS to another name inside a tunnel", fronted));
        attacks.push(flight("TLS without a name inside a tunnel", nameless));
        attacks.push(flight("no TLS where TLS is expected", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    }
    for (kind, stranger) in &scene.strangers {
        let means = Means::Stranger(Box::new(stranger.clone()));
        attacks.push(Attack { name: format!("{kind} certificate"), means });
    }
    if let Some((limited, limit)) = &scene.limited {
        let name = "an upload over its budget, split over parallel sessions".into();
        attacks.push(Attack { name, means: Means::Split(limited.clone(), *limit) });
        attacks.push(connect("another session once the budget is spent", limited));
    }
    Ok(attacks)
}

/// What was not given for a gateway that runs already, and is therefore not tried.
pub(super) fn left_out(scene: &Scene) -> Vec<&'static str> {
    let has = |kind: &str| scene.strangers.iter().any(|(name, _)| *name == kind);
    let parts = [
        ("first flights, for want of --tls-destination", scene.tls.is_some()),
        ("budgets, for want of --limited-destination", scene.limited.is_some()),
        ("a revoked certificate", has("revoked")),
        ("an expired certificate", has("expired")),
        ("a listed name that leads to a metadata service", scene.metadata.is_some()),
    ];
    parts.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

fn connect(name: &str, destination: &str) -> Attack {
    let head = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    head_attack(name, head)
}

fn head_attack(name: &str, head: impl Into<Vec<u8>>) -> Attack {
    Attack { name: name.into(), means: Means::Head(head.into()) }
}

/// Where a manifest does not let anybody go.
fn destinations(scene: &Scene) -> Vec<Attack> {
    let (host, port) = scene.open.rsplit_once(':').unwrap_or((&scene.open, "443"));
    let mut attacks = vec![
        connect("a host off the list", &format!("{ELSEWHERE}:443")),
        connect("a listed name as the beginning of another", &format!("{host}.{ELSEWHERE}:{port}")),
        connect("a label in front of a listed name", &format!("x.{host}:{port}")),
        connect("another port of a listed host: SSH", &format!("{host}:22")),
        connect("another port of a listed host: one higher", &format!("{host}:{}", next(port))),
        connect("the gateway itself", &scene.subject.address.to_string()),
        connect("a metadata service by address", "169.254.169.254:80"),
        connect("a metadata service by IPv6 address", "[fd00:ec2::254]:80"),
        connect("a metadata service by its decimal address", "2852039166:80"),
        connect("a metadata service by name", "metadata.google.internal:80"),
        head_attack(
            "a host off the list, in plain HTTP",
            format!("GET http://{ELSEWHERE}/ HTTP/1.1\r\nHost: {ELSEWHERE}\r\n\r\n"),
        ),
        head_attack(
            "a metadata service, in plain HTTP",
            "GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        ),
        Attack {
            name: "a host off the list, over HTTP/2".into(),
            means: Means::Stream(format!("{ELSEWHERE}:443")),
        },
    ];
    attacks.extend(spellings(scene.origin).into_iter().map(|(name, spelled)| connect(&name, &spelled)));
    let metadata = scene.metadata.as_deref();
    attacks.extend(metadata.map(|name| connect("a listed name that leads to a metadata service", name)));
    attacks
}

fn next(port: &str) -> u16 {
    port.parse::<u16>().map_or(81, |port| port.checked_add(1).unwrap_or(1))
}

/// The address of the origin in every spelling that some reader takes for it.
fn spellings(origin: SocketAddr) -> Vec<(String, String)> {
    let port = origin.port();
    let named =
        |kind: &str, host: String| (format!("the origin by address, {kind}"), format!("{host}:{port}"));
    let IpAddr::V4(v4) = origin.ip() else {
        return vec![("the origin by address".into(), origin.to_string())];
    };
    let [a, b, c, d] = v4.octets();
    vec![
        named("dotted", v4.to_string()),
        named("as one number", v4.to_bits().to_string()),
        named("octal", format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}")),
        named("hexadecimal", format!("0x{:08x}", v4.to_bits())),
        named("in two parts", format!("{a}.{}", v4.to_bits() & 0x00ff_ffff)),
        named("with a dot behind", format!("{v4}.")),
        named("mapped to IPv6", format!("[{}]", v4.to_ipv6_mapped())),
        named(
            "through NAT64",
            format!("[64:ff9b::{:x}:{:x}]", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        ),
    ]
}

/// Requests that two readers could read differently.
fn shapes(open: &str) -> Vec<Attack> {
    let post = |fields: &str, body: &str| {
        format!("POST http://{open}/ HTTP/1.1\r\nHost: {open}\r\n{fields}\r\n{body}")
    };
    let inner = format!("GET http://{open}/smuggled HTTP/1.1\r\nHost: {open}\r\n\r\n");
    let connect = |target: &str, host: &str, rest: &str| {
        head_attack("", format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n{rest}"))
    };
    let named = |name: &str, attack: Attack| Attack { name: name.into(), ..attack };
    let lie = format!("GET http://{open}/ HTTP/1.1\r\nHost: {ELSEWHERE}\r\n\r\n");
    vec![
        named("a user in front of a CONNECT's host", connect(&format!("{ELSEWHERE}@{open}"), open, "\r\n")),
        named("a CONNECT whose Host is another", connect(open, ELSEWHERE, "\r\n")),
        named(
            "a request behind a CONNECT that is refused",
            connect(&format!("{ELSEWHERE}:443"), &format!("{ELSEWHERE}:443"), &format!("\r\n{inner}")),
        ),
        Attack { name: "a plain request whose Host is another".into(), means: Means::Lie(lie.into()) },
        head_attack(
            "Content-Length beside Transfer-Encoding",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{inner}")),
        ),
        head_attack("two lengths", post("Content-Length: 0\r\nContent-Length: 5\r\n", "12345")),
        head_attack("a length with a sign", post("Content-Length: +5\r\n", "12345")),
        head_attack("an unknown transfer coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        head_attack("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        head_attack("a blank before a colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        head_attack("a folded field", post("X-Folded: a\r\n b\r\n", "")),
        head_attack(
            "a line that ends in LF alone",
            format!("GET http://{open}/ HTTP/1.1\nHost: {open}\r\n\r\n"),
        ),
        head_attack("a NUL in a field", post("X-Nul: a\0b\r\n", "")),
        head_attack("two Hosts", post(&format!("Host: {ELSEWHERE}\r\n"), "")),
        head_attack("a target without a host", format!("GET / HTTP/1.1\r\nHost: {open}\r\n\r\n")),
        head_attack(
            "a user in front of a plain request's host",
            format!("GET http://{ELSEWHERE}@{open}/ HTTP/1.1\r\nHost: {open}\r\n\r\n"),
        ),
    ]
}

/// The first flight of a TLS client that wants `name`.
fn hello(subject: &Subject, name: ServerName<'static>) -> anyhow::Result<Vec<u8>> {
    let Hop::Tls { config, .. } = &subject.hop else {
        anyhow::bail!("a proxy without TLS is nothing to attack")
    };
    let mut bytes = Vec::new();
    ClientConnection::new(config.clone(), name)?.write_tls(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_spelled_in_every_way() {
        let spelled: Vec<String> =
            spellings(([127, 0, 1, 1], 80).into()).into_iter().map(|(_, spelled)| spelled).collect();
        let expected = [
            "127.0.1.1:80",
            "2130706689:80",
            "0177.00.01.01:80",
            "0x7f000101:80",
            "127.257:80",
            "127.0.1.1.:80",
            "[::ffff:127.0.1.1]:80",
            "[64:ff9b::7f00:101]:80",
        ];
        assert_eq!(spelled, expected);
    }

    #[test]
    fn no_two_attacks_are_the_same() {
        let mut names: Vec<String> = shapes("a.test:80").into_iter().map(|attack| attack.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn another_port_is_another() {
        assert_eq!((next("443"), next("65535"), next("x")), (444, 1, 81));
    }
}
