//! `[listen]`: where the control plane can be reached, and by whom.

use std::net::{Ipv4Addr, SocketAddr};

use super::Store;
use crate::host::Name;
use crate::reading::{Field, Table};
use crate::settings::reference::Sections;
use crate::settings::{DefaultValue, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "listen",
        "api",
        DefaultValue::Toml(r#""0.0.0.0:7444""#),
        "Address of the API: HTTPS, with a token on every request.",
    ),
    setting(
        "listen",
        "gateways",
        DefaultValue::Absent("0.0.0.0:7443, and none where gateways come over NATS"),
        "Address where gateways connect, with their certificates.",
    ),
    setting(
        "listen",
        "agents",
        DefaultValue::Absent("agents are told nothing"),
        "Address where agents follow what is revoked of theirs, with their device's certificate.",
    ),
    setting(
        "listen",
        "ops",
        DefaultValue::Toml(r#""127.0.0.1:7445""#),
        "Address of health and metrics: plain HTTP; loopback.",
    ),
    setting(
        "listen",
        "ops_exposed",
        DefaultValue::Toml("false"),
        "Permits an ops address other than loopback: whoever reaches it sees the metrics.",
    ),
    setting(
        "listen",
        "ops_names",
        DefaultValue::Toml(r#"["localhost"]"#),
        "Host names that the ops address answers to, beside its own address.",
    ),
];

/// Where gateways connect when the settings do not say it.
const GATEWAYS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443);

/// `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlListen {
    /// The API.
    pub api: SocketAddr,
    /// Where gateways connect; none exactly where they come over NATS.
    pub gateways: Option<SocketAddr>,
    /// Where agents follow what is revoked, if they can.
    pub agents: Option<SocketAddr>,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// Whether `ops` may be another address than loopback.
    pub ops_exposed: bool,
    /// Host names that the ops address answers to, beside its own address.
    pub ops_names: Vec<Name>,
}

impl ControlListen {
    /// Settles whether gateways connect here, which the store decides.
    pub(super) fn with(self, store: &Store, sections: &Sections<'_>) -> Option<Self> {
        match (store, self.gateways) {
            (Store::Embedded, gateways) => Some(Self { gateways: gateways.or(Some(GATEWAYS)), ..self }),
            (Store::Nats(_), None) => Some(self),
            (Store::Nats(_), Some(_)) => sections.refuse(
                "listen.gateways",
                "the address has no effect: gateways come over NATS",
                Some("remove it, or keep the log with `store.source = \"embedded\"`"),
            ),
        }
    }
}

pub(super) fn read(mut table: Table<'_>) -> Option<ControlListen> {
    let api = table.required("api").and_then(|field| field.address());
    let gateways = table.maybe("gateways", |field| field.address());
    let agents = table.maybe("agents", |field| field.address());
    let exposed = table.required("ops_exposed").and_then(|field| field.boolean());
    let ops = table.required("ops").and_then(|field| ops_address(&field, exposed.unwrap_or(false)));
    let names = table.required("ops_names").and_then(|field| field.each(|name| name.by(Name::parse_text)));
    let all = [api, gateways.flatten(), agents.flatten(), ops];
    let mut taken = all.iter().flatten().filter(|address| address.port() != 0).collect::<Vec<_>>();
    taken.sort();
    if taken.windows(2).any(|two| two.first() == two.last()) {
        table.refuse::<()>("two listeners have one address", None);
    }
    table.finish();
    Some(ControlListen {
        api: api?,
        gateways: gateways?,
        agents: agents?,
        ops: ops?,
        ops_exposed: exposed?,
        ops_names: names?,
    })
}

fn ops_address(field: &Field<'_>, exposed: bool) -> Option<SocketAddr> {
    let address = field.address()?;
    if address.ip().to_canonical().is_loopback() || exposed {
        return Some(address);
    }
    field.refuse(
        "the ops address is not loopback",
        Some("`ops_exposed = true` permits it, to whoever can reach it"),
    )
}
