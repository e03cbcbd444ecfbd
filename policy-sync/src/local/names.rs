//! Does a request really mean this listener? Exact host names, no foreign origin.
//!
//! A page in a browser on the same machine can send requests here, and with DNS rebinding it can even make them look as
//! if they were meant for here. What it cannot do is choose the `Host` field freely or suppress `Origin`. So a request
//! is answered only when it names one of the listener's own names, and never when a page of another origin sent it.
//! The port in `Host` is not compared: a forwarded port is another one, and rebinding does not need it.

use std::net::{IpAddr, SocketAddr};

use config::{Destination, Host, Name};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The names to which the listener answers.
#[derive(Debug, Clone)]
pub struct Names {
    address: IpAddr,
    names: Vec<Name>,
}

/// Why a request is not meant for this listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// `Host` is missing, repeated, or not a host.
    Malformed,
    /// `Host` is somebody else.
    Host,
    /// A page of another origin sent it.
    Origin,
}

impl Names {
    /// The names of a listener bound to `address`: the address itself and `names`.
    #[must_use]
    pub fn new(address: SocketAddr, names: &[Name]) -> Self {
        Self { address: address.ip().to_canonical(), names: names.to_vec() }
    }

    /// Checks the fields by which a browser says who is speaking to whom.
    ///
    /// # Errors
    /// [`Foreign`], when the request is not to be answered.
    pub fn check(&self, fields: &HeaderMap) -> Result<(), Foreign> {
        let host = only(fields, &http::header::HOST).ok_or(Foreign::Malformed)?;
        let named = Destination::parse_with_default_port(host, 80).map_err(|_| Foreign::Malformed)?;
        if !self.own(named.host()) {
            return Err(Foreign::Host);
        }
        if fields.contains_key(http::header::ORIGIN) {
            let origin =
                only(fields, &http::header::ORIGIN).and_then(|origin| origin.strip_prefix(b"http://"));
            if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
                return Err(Foreign::Origin);
            }
        }
        match fields.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"none" | b"same-origin") => Ok(()),
            Some(_) => Err(Foreign::Origin),
        }
    }

    /// An address given as such cannot be rebound, so a listener on all addresses answers to any of them.
    fn own(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.names.contains(name),
            Host::Ip(address) => self.address.is_unspecified() || *address == self.address,
        }
    }
}

fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = fields.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let named = ["localhost", "gw-1.example.com"].map(|name| match Host::parse_wire(name.as_bytes()) {
            Ok(Host::Name(name)) => name,
            other => panic!("{other:?} is no name"),
        });
        Names::new("127.0.0.1:9443".parse().unwrap(), &named)
    }

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }

    #[test]
    fn only_own_names_are_answered() {
        for (host, expected) in [
            ("127.0.0.1:9443", Ok(())),
            ("127.0.0.1", Ok(())),
            ("localhost:9443", Ok(())),
            ("LOCALHOST.:9443", Ok(())),
            ("localhost:19443", Ok(())),
            ("gw-1.example.com:9443", Ok(())),
            ("127.0.0.1.evil.com:9443", Err(Foreign::Host)),
            ("localhost.evil.com", Err(Foreign::Host)),
            ("evil.com:9443", Err(Foreign::Host)),
            ("127.0.0.2:9443", Err(Foreign::Host)),
            ("[::1]:9443", Err(Foreign::Host)),
            ("0.0.0.0:9443", Err(Foreign::Host)),
            ("2130706433:9443", Err(Foreign::Malformed)),
            ("user@localhost", Err(Foreign::Malformed)),
            ("localhost, evil.com", Err(Foreign::Malformed)),
            ("", Err(Foreign::Malformed)),
        ] {
            assert_eq!(names().check(&fields(&[("host", host)])), expected, "{host:?}");
        }
    }

    #[test]
    fn a_request_without_a_host_or_with_two_is_malformed() {
        assert_eq!(names().check(&fields(&[])), Err(Foreign::Malformed));
        let two = fields(&[("host", "localhost"), ("host", "localhost")]);
        assert_eq!(names().check(&two), Err(Foreign::Malformed));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        for (field, value, expected) in [
            ("origin", "http://localhost:9443", Ok(())),
            ("origin", "https://localhost:9443", Err(Foreign::Origin)),
            ("origin", "http://localhost:3000", Err(Foreign::Origin)),
            ("origin", "http://evil.com", Err(Foreign::Origin)),
            ("origin", "null", Err(Foreign::Origin)),
            ("sec-fetch-site", "same-origin", Ok(())),
            ("sec-fetch-site", "none", Ok(())),
            ("sec-fetch-site", "cross-site", Err(Foreign::Origin)),
            ("sec-fetch-site", "same-site", Err(Foreign::Origin)),
        ] {
            let request = fields(&[("host", "localhost:9443"), (field, value)]);
            assert_eq!(names().check(&request), expected, "{field}: {value}");
        }
    }

    #[test]
    fn a_name_that_the_settings_do_not_list_is_foreign() {
        let unnamed = Names::new("127.0.0.1:9443".parse().unwrap(), &[]);
        assert_eq!(unnamed.check(&fields(&[("host", "localhost:9443")])), Err(Foreign::Host));
        assert_eq!(unnamed.check(&fields(&[("host", "127.0.0.1:9443")])), Ok(()));
    }

    #[test]
    fn a_listener_on_all_addresses_answers_to_any_address_but_to_no_foreign_name() {
        let everywhere = Names::new("0.0.0.0:9443".parse().unwrap(), &[]);
        assert_eq!(everywhere.check(&fields(&[("host", "192.0.2.7:9443")])), Ok(()));
        assert_eq!(everywhere.check(&fields(&[("host", "evil.com:9443")])), Err(Foreign::Host));
    }
}
