//! The same checks on heads that HTTP/2 delivers.

use config::Reason;
use http::{Method, Request as Message, request::Parts};

use super::super::{Framing, Protocol, Refused, Request, RequestHead};
use super::rules;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let message = Message::builder().method(method).uri(uri);
    let message = fields.iter().fold(message, |message, (name, value)| message.header(*name, *value));
    message.body(()).unwrap().into_parts().0
}

fn read(parts: &Parts, ended: bool) -> Result<RequestHead, Refused> {
    RequestHead::from_h2(parts, ended, &rules())
}

#[test]
fn a_tunnel_over_http2_is_the_same_request() {
    for fields in [&[][..], &[("host", "a.example:443")], &[("content-length", "0")], &[("user-agent", "x")]]
    {
        let head = read(&parts("CONNECT", "A.example.:443", fields), false).unwrap();
        let Request::Connect(destination) = head.request else { panic!("not a tunnel") };
        assert_eq!(
            (destination.to_string().as_str(), head.protocol),
            ("a.example:443", Protocol::Http2),
            "{fields:?}"
        );
    }
}

#[test]
fn a_request_over_http2_is_the_same_request() {
    let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("host", "a.example"), ("te", "trailers")];
    let head = read(&parts("GET", "http://a.example//evil/x?y", &fields), true).unwrap();
    let Request::Forward(forward) = head.request else { panic!("a tunnel") };
    assert_eq!(forward.destination.to_string(), "a.example:80");
    assert_eq!(
        (forward.path.as_str(), forward.method, forward.framing),
        ("//evil/x?y", Method::GET, Framing::Empty)
    );
    assert_eq!(forward.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert!(!forward.websocket);
}

#[test]
fn the_framing_over_http2_is_the_end_of_the_stream() {
    let table = [
        (&[][..], false, Ok(Framing::Chunked)),
        (&[("content-length", "5")], false, Ok(Framing::Sized(5))),
        (&[("content-length", "0")], true, Ok(Framing::Sized(0))),
        (&[("content-length", "5")], true, Err(Reason::MalformedRequest)),
        (&[("content-length", "5"), ("content-length", "5")], false, Err(Reason::MalformedRequest)),
        (&[("content-length", "+5")], false, Err(Reason::MalformedRequest)),
    ];
    for (fields, ended, expected) in table {
        let framing = match read(&parts("POST", "http://a.example/", fields), ended) {
            Ok(RequestHead { request: Request::Forward(forward), .. }) => Ok(forward.framing),
            Ok(_) => panic!("a tunnel"),
            Err(refused) => Err(refused.reason),
        };
        assert_eq!(framing, expected, "{fields:?}");
    }
}

#[test]
fn what_http2_lets_pass_is_refused() {
    use Reason::{
        MalformedDestination as Destination, MalformedRequest as Malformed, MethodNotAllowed, RequestLoop,
    };
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], Reason);
    let table: [Row; 21] = [
        ("CONNECT", "a.example", &[], Destination),
        ("CONNECT", "a.example:65536", &[], Destination),
        ("CONNECT", "a.example:0443", &[], Destination),
        ("CONNECT", "u@a.example:443", &[], Destination),
        ("CONNECT", "a;b:443", &[], Destination),
        ("CONNECT", "/x", &[], Malformed),
        ("CONNECT", "http://a.example:443/", &[], Malformed),
        ("CONNECT", "a.example:443", &[("host", "b.example:443")], Malformed),
        ("CONNECT", "a.example:443", &[("host", "a.example:443"), ("host", "a.example:443")], Malformed),
        ("CONNECT", "a.example:443", &[("content-length", "5")], Malformed),
        ("CONNECT", "a.example:443", &[("transfer-encoding", "chunked")], Malformed),
        ("CONNECT", "a.example:443", &[("via", "2 portcullis-gw-1")], RequestLoop),
        ("GET", "/x", &[("host", "a.example")], Malformed),
        ("GET", "https://a.example/", &[], Malformed),
        ("GET", "ftp://a.example/", &[], Malformed),
        ("GET", "http://u@a.example/", &[], Destination),
        ("GET", "http://a.example/", &[("host", "b.example")], Malformed),
        ("GET", "http://a.example/", &[("connection", "close")], Malformed),
        ("GET", "http://a.example/", &[("upgrade", "websocket")], Malformed),
        ("GET", "http://a.example/", &[("te", "gzip")], Malformed),
        ("TRACE", "http://a.example/", &[], MethodNotAllowed),
    ];
    for (method, uri, fields, expected) in table {
        let refused = read(&parts(method, uri, fields), false).map(|head| panic!("{method} {uri}: {head:?}"));
        assert_eq!(
            refused.map_err(|refused| refused.reason),
            Err::<(), _>(expected),
            "{method} {uri} {fields:?}"
        );
    }
}

#[test]
fn extended_connect_is_refused() {
    let mut parts = parts("CONNECT", "a.example:443", &[]);
    parts.extensions.insert(h2::ext::Protocol::from_static("websocket"));
    assert_eq!(read(&parts, false).unwrap_err().reason, Reason::MalformedRequest);
}

#[test]
fn too_many_fields_over_http2_are_too_many() {
    let many: Vec<(String, String)> = (0..65).map(|n| (format!("x-{n}"), String::new())).collect();
    let fields: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        read(&parts("GET", "http://a.example/", &fields), true).unwrap_err().reason,
        Reason::HeadTooLarge
    );
}
