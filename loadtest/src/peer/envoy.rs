//! How is Envoy set? As a forward proxy that ends CONNECT behind mTLS, with one worker and no access log.
//!
//! A filter admits the one device by the URI in its certificate; what may be reached are the hundred domains of the route
//! table, looked up by hash, each of the origin's with a static cluster. That is the cheapest way in which it can know both,
//! dearer ones being a rule for each host, and a forward cluster that resolves names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::premises::{AUTHORITY, CERTIFICATE, KEY, Premises};
use super::{Asked, Found, Protection, Recipe, ask_program, install, on_path};

/// What reports call it.
pub(super) const NAME: &str = "envoy";
/// Its settings.
const SETTINGS: &str = "envoy.json";
/// Where the types of its filters are.
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
/// Where the types of its transports are.
const TRANSPORTS: &str = "type.googleapis.com/envoy.extensions.transport_sockets";
/// No run opens as many.
const PLENTY: u32 = 1_000_000;

/// The program that the environment names, the one on the path, or the one that was installed; or why there is none.
pub(super) fn find() -> Result<Found, String> {
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    let installed = install::tool(NAME).filter(|file| file.is_file());
    let program = named
        .or_else(|| on_path(NAME))
        .or(installed)
        .ok_or("envoy is neither on the path nor named by the variable ENVOY")?;
    let version = version(&program)?;
    Ok(Found { program, version })
}

fn version(program: &Path) -> Result<String, String> {
    let said = ask_program(program, "--version")?;
    said.split('/')
        .find(|part| part.contains('.') && part.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
        .ok_or_else(|| format!("{} does not tell its version", program.display()))
}

/// How it is run.
pub(super) fn recipe(program: PathBuf, premises: &Premises) -> Recipe {
    let settings = premises.named(SETTINGS);
    let arguments =
        ["-c", &settings, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    Recipe {
        files: vec![(SETTINGS.to_owned(), settings_of(premises).to_string())],
        program,
        arguments: arguments.map(str::to_owned).to_vec(),
        hop: Protection::Tls,
        asked: Asked::Names,
    }
}

fn settings_of(premises: &Premises) -> Value {
    let address = premises.address();
    let clusters =
        premises.origins.iter().map(|(name, origin)| cluster(name, (*origin).into(), premises.origin_port));
    json!({"static_resources": {
        "listeners": [{
            "name": "devices",
            "address": socket(address.ip(), address.port()),
            "filter_chains": [{
                "filters": [{"name": "connections", "typed_config": connections(premises)}],
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls(premises)},
            }],
        }],
        "clusters": clusters.collect::<Vec<_>>(),
    }})
}

fn connections(premises: &Premises) -> Value {
    json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "devices",
        "stream_idle_timeout": "0s",
        "http_protocol_options": {"allow_absolute_url": true},
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": routes(premises)},
        "http_filters": [
            {"name": "devices", "typed_config": only(&premises.device)},
            {"name": "router", "typed_config": {"@type": format!("{FILTERS}.http.router.v3.Router")}},
        ],
    })
}

/// Admits one device.
fn only(device: &str) -> Value {
    let principal = json!({"authenticated": {"principal_name": {"exact": device}}});
    let policy = json!({"permissions": [{"any": true}], "principals": [principal]});
    json!({
        "@type": format!("{FILTERS}.http.rbac.v3.RBAC"),
        "rules": {"action": "ALLOW", "policies": {"device": policy}},
    })
}

/// A virtual host for each name of the origin, and one for all others that may be reached. Nothing answers for those.
fn routes(premises: &Premises) -> Vec<Value> {
    let port = premises.origin_port;
    let host = |name: &str, domains: Vec<String>, cluster: &str| {
        let tunnel = json!({
            "match": {"connect_matcher": {}},
            "route": {
                "cluster": cluster, "timeout": "0s", "idle_timeout": "0s",
                "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
            },
        });
        let request = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}});
        json!({"name": name, "domains": domains, "routes": [tunnel, request]})
    };
    let origins = premises.origins.iter().map(|(name, _)| host(name, vec![format!("{name}:{port}")], name));
    let nowhere = premises.origins.first().map_or("", |(name, _)| name);
    let others = host("others", premises.others().map(|other| format!("{other}:443")).collect(), nowhere);
    origins.chain([others]).collect()
}

fn cluster(name: &str, address: IpAddr, port: u16) -> Value {
    let most = json!({"max_connections": PLENTY, "max_pending_requests": PLENTY, "max_requests": PLENTY});
    json!({
        "name": name,
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address, port)}}]}],
        },
    })
}

fn tls(premises: &Premises) -> Value {
    let file = |name| json!({"filename": premises.named(name)});
    json!({
        "@type": format!("{TRANSPORTS}.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": ["X25519"],
            },
            "tls_certificates": [{"certificate_chain": file(CERTIFICATE), "private_key": file(KEY)}],
            "validation_context": {"trusted_ca": file(AUTHORITY)},
        },
    })
}

fn socket(address: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings as a program reads them.
    fn settings() -> Value {
        settings_of(&Premises::example())
    }

    #[test]
    fn certificates_are_demanded_and_one_device_admitted() {
        let settings = settings();
        let chain = &settings["static_resources"]["listeners"][0]["filter_chains"][0];
        assert_eq!(chain["transport_socket"]["typed_config"]["require_client_certificate"], true);
        let rules = &chain["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]["rules"];
        let principal = &rules["policies"]["device"]["principals"][0];
        assert_eq!(
            principal["authenticated"]["principal_name"]["exact"],
            "spiffe://loadtest.test/device/device-0"
        );
        assert_eq!(rules["action"], "ALLOW");
    }

    #[test]
    fn a_hundred_domains_have_a_route() {
        let hosts = routes(&Premises::example());
        let domains = hosts.iter().flat_map(|host| host["domains"].as_array().unwrap());
        assert_eq!(domains.count(), 100);
        assert_eq!(hosts[0]["domains"][0], "o0.origin.test:8080");
        assert_eq!(hosts[0]["routes"][0]["route"]["cluster"], "o0.origin.test");
    }

    #[test]
    fn a_cluster_is_one_address_of_the_origin() {
        let clusters = settings()["static_resources"]["clusters"].clone();
        let endpoint = &clusters[1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        let expected = json!({"address": {"socket_address": {"address": "127.0.1.2", "port_value": 8080}}});
        assert_eq!(endpoint, &expected);
    }
}
