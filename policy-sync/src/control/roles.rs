//! Who may do what at the API? One table.
//!
//! Every endpoint stands here once, with the roles of which one is enough. The API looks each request up in it before
//! any of its own code runs: what is not in the table is not reachable. A test compares the table with the routes.

use config::ApiRole;
use http::Method;

use ApiRole::{Admin, Approver, Auditor, Author, Revoker};

/// Whom an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token: nothing but what this program is and whether it lives.
    Public,
    /// Whoever has one of these roles.
    AnyOf(&'static [ApiRole]),
}

/// One endpoint: a method, a path as the router spells it, and whom it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// The path, with `{name}` for what varies.
    pub path: &'static str,
    /// Whom it answers.
    pub access: Access,
}

/// Whoever has any role at all may see what is in force.
const READERS: Access = Access::AnyOf(&ApiRole::ALL);

/// Every endpoint of the API.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/livez", Access::Public),
    endpoint("GET", "/readyz", Access::Public),
    endpoint("GET", "/api/v1/openapi.json", Access::Public),
    endpoint("POST", "/api/v1/revoke", Access::AnyOf(&[Revoker, Admin])),
    endpoint("POST", "/api/v1/revocations", Access::AnyOf(&[Revoker, Admin])),
    endpoint("GET", "/api/v1/revocations", READERS),
    endpoint("GET", "/api/v1/revocations/{sequence}", READERS),
    endpoint("DELETE", "/api/v1/revocations/{sequence}", Access::AnyOf(&[Approver, Admin])),
    endpoint("POST", "/api/v1/lifts", Access::AnyOf(&[Approver, Admin])),
    endpoint("GET", "/api/v1/manifests", READERS),
    endpoint("PUT", "/api/v1/manifests", Access::AnyOf(&[Author, Admin])),
    endpoint("GET", "/api/v1/manifests/{id}", READERS),
    endpoint("DELETE", "/api/v1/manifests/{id}", Access::AnyOf(&[Author, Admin])),
    endpoint("POST", "/api/v1/manifests/{id}/approvals", Access::AnyOf(&[Approver, Admin])),
    endpoint("GET", "/api/v1/proposals", READERS),
    endpoint("GET", "/api/v1/crls", READERS),
    endpoint("PUT", "/api/v1/crls", Access::AnyOf(&[Admin])),
    endpoint("GET", "/api/v1/gateways", READERS),
    endpoint("DELETE", "/api/v1/gateways/{name}", Access::AnyOf(&[Admin])),
    endpoint("GET", "/api/v1/policy", READERS),
    endpoint("GET", "/api/v1/records", Access::AnyOf(&[Auditor, Admin])),
];

const fn endpoint(method: &'static str, path: &'static str, access: Access) -> Endpoint {
    Endpoint { method, path, access }
}

/// The endpoint that a request has reached, by its method and the path of its route. `HEAD` is a `GET` without a body.
#[must_use]
pub fn endpoint_of(method: &Method, path: &str) -> Option<&'static Endpoint> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    ENDPOINTS.iter().find(|endpoint| endpoint.method == method && endpoint.path == path)
}

impl Access {
    /// Whether somebody with these roles is answered.
    #[must_use]
    pub fn admits(self, roles: &[ApiRole]) -> bool {
        match self {
            Self::Public => true,
            Self::AnyOf(enough) => enough.iter().any(|role| roles.contains(role)),
        }
    }
}

#[cfg(test)]
mod tests {
    use ApiRole::Viewer;

    use super::*;

    #[test]
    fn each_role_reaches_exactly_what_it_is_for() {
        let reads = |method: &str| method == "GET";
        for endpoint in ENDPOINTS {
            let Endpoint { method, path, access } = *endpoint;
            let admitted = |role| access.admits(&[role]);
            let records = path.ends_with("/records");
            assert!(admitted(Admin), "{method} {path}");
            assert_eq!(admitted(Auditor), reads(method), "{method} {path}");
            assert_eq!(admitted(Viewer), reads(method) && !records, "{method} {path}");
            let manifests = path.contains("/manifests") && !path.ends_with("/approvals");
            assert_eq!(admitted(Author), reads(method) && !records || manifests, "{method} {path}");
            let approves = path.ends_with("/approvals")
                || path.ends_with("/lifts")
                || (method, path) == ("DELETE", "/api/v1/revocations/{sequence}");
            assert_eq!(admitted(Approver), reads(method) && !records || approves, "{method} {path}");
            let revokes = method == "POST" && (path.ends_with("/revoke") || path.ends_with("/revocations"));
            assert_eq!(admitted(Revoker), reads(method) && !records || revokes, "{method} {path}");
            assert_eq!(access.admits(&[]), access == Access::Public, "{method} {path}");
        }
    }

    #[test]
    fn no_endpoint_stands_there_twice() {
        for endpoint in ENDPOINTS {
            let method = endpoint.method.parse().unwrap();
            assert_eq!(endpoint_of(&method, endpoint.path), Some(endpoint));
        }
        assert_eq!(endpoint_of(&Method::HEAD, "/livez").map(|found| found.path), Some("/livez"));
        assert_eq!(endpoint_of(&Method::PATCH, "/livez"), None);
        assert_eq!(endpoint_of(&Method::GET, "/api/v1/secrets"), None);
    }
}
