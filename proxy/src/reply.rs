//! What does a device hear when it is refused? Status, `Proxy-Status` and a JSON body, from a reason and nothing else.
//!
//! One total mapping from [`Reason`] to the answer, without a catch-all arm, so that a new reason does not compile until
//! somebody has decided how it is answered. Nothing of a request is repeated except the destination, in canonical form.

use std::fmt::Write as _;

use bytes::Bytes;
use config::{Destination, ManifestId, Reason};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

/// The head of the answer to a CONNECT over HTTP/1 that has opened (RFC 9110 §9.3.6: no content fields).
pub const OPENED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The name under which this proxy speaks of itself in `Proxy-Status` and `Via`.
pub const PSEUDONYM: &str = "portcullis";

/// A refusal, ready to be answered and recorded.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What was asked for, if the request was understood that far.
    pub destination: Option<Destination>,
    /// The manifest that decided, if one did.
    pub manifest: Option<ManifestId>,
    /// The deciding rule as the manifest spells it.
    pub rule: Option<String>,
    /// The policy revision that decided.
    pub revision: u64,
    /// The session, if one had begun.
    pub session: Option<Uuid>,
    /// What exactly was wrong with the request; fixed text.
    pub detail: Option<&'static str>,
}

impl Refusal {
    /// A refusal of a request that never became a session.
    #[must_use]
    pub fn of_request(reason: Reason, detail: Option<&'static str>) -> Self {
        Self { reason, destination: None, manifest: None, rule: None, revision: 0, session: None, detail }
    }

    /// The status code of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        answer(self.reason).0
    }

    /// The answer as an HTTP response.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let body = self.body();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(value) = HeaderValue::from_str(&self.proxy_status()) {
            headers.insert("proxy-status", value);
        }
        match self.status() {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                headers.insert(header::PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"agent\""));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let allowed = "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }

    /// The answer as the bytes of an HTTP/1.1 response, after which the connection closes.
    #[must_use]
    pub fn to_http1(&self) -> Vec<u8> {
        let response = self.response();
        let status = response.status();
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Refused"));
        for (name, value) in response.headers() {
            let _infallible = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let _infallible =
            write!(head, "content-length: {}\r\nconnection: close\r\n\r\n", response.body().len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(response.body());
        bytes
    }

    fn proxy_status(&self) -> String {
        format!("{PSEUDONYM}; error={}; details=\"{}\"", answer(self.reason).1, self.reason.as_str())
    }

    fn body(&self) -> String {
        let mut hint = self.reason.hint().to_owned();
        if let Some(detail) = self.detail {
            let _infallible = write!(hint, " ({detail})");
        }
        let body = json!({
            "decision": "deny",
            "reason": self.reason.as_str(),
            "destination": self.destination.as_ref().map(ToString::to_string),
            "manifest": self.manifest.as_ref().map(ManifestId::as_str),
            "rule": self.rule,
            "revision": self.revision,
            "session": self.session.map(|id| id.to_string()),
            "hint": hint,
        });
        let mut text = body.to_string();
        text.push('\n');
        text
    }
}

/// The status code and the RFC 9209 error type of a reason.
#[must_use]
pub fn answer(reason: Reason) -> (StatusCode, &'static str) {
    use Reason as R;
    match reason {
        R::MalformedRequest | R::MalformedDestination => (StatusCode::BAD_REQUEST, "http_request_error"),
        // RFC 9110 §15.5.6.
        R::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "http_request_denied"),
        // RFC 6585 §5.
        R::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error"),
        // RFC 5842 §7.2, RFC 9209 §2.3.
        R::RequestLoop => (StatusCode::LOOP_DETECTED, "proxy_loop_detected"),
        R::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "http_request_error"),
        // RFC 9110 §15.5.8: carries Proxy-Authenticate.
        R::ManifestRequired => (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "http_request_denied"),
        R::NoManifest
        | R::ManifestExpired
        | R::ManifestRevoked
        | R::DeviceRevoked
        | R::UserRevoked
        | R::AgentRevoked
        | R::CertificateRevoked
        | R::CertificateExpired
        | R::CertificateUnverified
        | R::AllRevoked
        | R::DestinationNotListed
        | R::DestinationDenied
        | R::DestinationAmbiguous
        | R::DestinationForbidden
        | R::SniMissing
        | R::SniMismatch
        | R::NotTls
        | R::ClientHelloMalformed
        | R::OperatorCut => (StatusCode::FORBIDDEN, "http_request_denied"),
        R::AddressProhibited => (StatusCode::FORBIDDEN, "destination_ip_prohibited"),
        R::UploadLimitExceeded | R::UploadBudgetSpent => {
            (StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied")
        }
        // RFC 6585 §4.
        R::SessionLimitReached | R::RateLimited | R::ConnectionLimitReached => {
            (StatusCode::TOO_MANY_REQUESTS, "connection_limit_reached")
        }
        R::Draining
        | R::PolicyStale
        | R::NoPolicy
        | R::AuditUnavailable
        | R::BudgetUnavailable
        | R::InternalFault => (StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response"),
        R::DnsFailed | R::DnsRefused => (StatusCode::BAD_GATEWAY, "dns_error"),
        R::DnsTimeout => (StatusCode::GATEWAY_TIMEOUT, "dns_timeout"),
        R::ConnectionRefused => (StatusCode::BAD_GATEWAY, "connection_refused"),
        R::ConnectionTimeout => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
        R::ConnectionFailed => (StatusCode::BAD_GATEWAY, "destination_unavailable"),
        R::UpstreamFault | R::Completed => (StatusCode::BAD_GATEWAY, "connection_terminated"),
        R::FirstFlightTimeout
        | R::DownstreamClosed
        | R::DownstreamFault
        | R::IdleTimeout
        | R::SessionLifetime => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_an_error_status_with_its_reason_in_header_and_body() {
        for reason in Reason::ALL {
            let response = Refusal::of_request(*reason, None).response();
            assert!(response.status().as_u16() >= 400, "{reason}");
            let status = response.headers()["proxy-status"].to_str().unwrap();
            assert!(status.contains(&format!("details=\"{reason}\"")), "{status}");
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["reason"], reason.as_str());
            assert_eq!(body["decision"], "deny");
        }
    }

    #[test]
    fn a_407_says_how_to_name_the_agent() {
        let response = Refusal::of_request(Reason::ManifestRequired, None).response();
        assert_eq!(response.headers()[header::PROXY_AUTHENTICATE], "Basic realm=\"agent\"");
    }

    #[test]
    fn a_refusal_over_http1_closes_the_connection() {
        let bytes = Refusal::of_request(Reason::MalformedRequest, Some("bare line feed")).to_http1();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("(bare line feed)"), "{text}");
    }
}
