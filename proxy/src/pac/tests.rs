//! The file in a JavaScript engine, and the listener through real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::*;

fn proxy() -> Destination {
    Destination::parse_authority(b"gateway.example.com:8443").unwrap()
}

#[test]
fn the_file_is_exactly_this() {
    let golden = "function FindProxyForURL(url, host) {\n  return \"HTTPS gateway.example.com:8443\";\n}\n";
    assert_eq!(file(&proxy()), golden);
    let address = Destination::parse_authority(b"[2001:db8::1]:8443").unwrap();
    assert!(std::str::from_utf8(&file(&address)).unwrap().contains("\"HTTPS [2001:db8::1]:8443\""));
}

#[test]
fn nothing_ever_goes_direct() {
    assert!(!file(&proxy()).to_ascii_uppercase().windows(6).any(|window| window == b"DIRECT"));
}

#[test]
fn every_destination_is_sent_to_the_gateway_by_a_real_engine() {
    let script = format!(
        "{}\nvar hosts = ['x.example', 'localhost', '127.0.0.1', 'intranet', '::1', ''];\n\
         for (var i = 0; i < hosts.length; i++) console.log(FindProxyForURL('https://' + hosts[i] + '/', hosts[i]));\n",
        std::str::from_utf8(&file(&proxy())).unwrap()
    );
    let Ok(mut node) = Command::new("node")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
    else {
        return eprintln!("skipped: no node on this machine");
    };
    node.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let said = String::from_utf8(node.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(said, "HTTPS gateway.example.com:8443\n".repeat(6));
}

/// Serves a PAC while `work` runs on a thread of its own with the listener's address.
fn while_served<T: Send + 'static>(work: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (done, finished) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || done.send(work(address)).map_err(drop));
        let mut outcome = None;
        let shutdown = async { outcome = finished.await.ok() };
        serve(listener, Arc::new(Pac::new(&proxy(), None)), shutdown).await.unwrap();
        outcome.expect("the client thread has panicked")
    })
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream =
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn only_a_get_of_the_pac_is_served() {
    for (request, status) in [
        ("GET /proxy.pac HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
        ("GET /proxy.pac?v=2 HTTP/1.1\r\n\r\n", "200 OK"),
        ("GET /proxy.pac HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /proxy.pac/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /proxy.pac/../../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET http://a/proxy.pac HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("HEAD /proxy.pac HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("POST /proxy.pac HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = while_served(move |address| ask(address, request.as_bytes()));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
        assert_eq!(answer.contains("FindProxyForURL"), status == "200 OK", "{request:?}: {answer}");
        assert!(!answer.contains("passwd"), "an answer repeats the request: {answer}");
    }
}

#[test]
fn the_file_is_served_with_its_type_and_may_be_cached() {
    let answer = while_served(|address| ask(address, b"GET /proxy.pac HTTP/1.1\r\n\r\n"));
    assert!(answer.contains("\r\nContent-Type: application/x-ns-proxy-autoconfig\r\n"), "{answer}");
    assert!(answer.contains("\r\nCache-Control: public, max-age=300\r\n"), "{answer}");
    assert!(answer.ends_with("}\n"), "{answer}");
}

#[test]
fn a_head_without_end_is_refused() {
    let endless = [b"GET /proxy.pac HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 9000]].concat();
    let answer = while_served(move |address| ask(address, &endless));
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}
