//! `[listen]`: where the gateway can be reached, and by whom.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::{DefaultValue, SettingDoc, setting};
use crate::destination::Destination;
use crate::host::Name;
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "listen",
        "device",
        DefaultValue::Toml(r#"["0.0.0.0:8443"]"#),
        "Addresses where devices connect, with their certificates.",
    ),
    setting(
        "listen",
        "admin",
        DefaultValue::Toml(r#""127.0.0.1:9443""#),
        "Address of health, metrics, sessions, policy and the console; loopback.",
    ),
    setting(
        "listen",
        "admin_exposed",
        DefaultValue::Toml("false"),
        "Permits an admin address other than loopback: whoever reaches it sees every session.",
    ),
    setting(
        "listen",
        "admin_names",
        DefaultValue::Toml(r#"["localhost"]"#),
        "Host names that the admin address answers to, beside its own address.",
    ),
    setting(
        "listen",
        "pac",
        DefaultValue::Absent("no PAC file is served"),
        "Address where `/proxy.pac` is served.",
    ),
    setting(
        "listen",
        "pac_proxy",
        DefaultValue::Absent("required where `pac` is set"),
        "The `host:port` of the device address, as devices have to call it.",
    ),
    setting(
        "listen",
        "proxy_protocol_from",
        DefaultValue::Toml("[]"),
        "Networks of load balancers, which must send a PROXY protocol v2 header; nobody else may.",
    ),
];

/// `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Where devices connect; at least one address, none twice.
    pub device: Vec<SocketAddr>,
    /// Health, metrics, sessions, policy and the console.
    pub admin: SocketAddr,
    /// Whether `admin` may be another address than loopback.
    pub admin_exposed: bool,
    /// Host names that the admin address answers to, beside its own address.
    pub admin_names: Vec<Name>,
    /// Where `/proxy.pac` is served, if it is.
    pub pac: Option<SocketAddr>,
    /// What the PAC file calls the device address; present when `pac` is.
    pub pac_proxy: Option<Destination>,
    /// Load balancers, which must send a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
}

pub(super) fn read(mut table: Table<'_>) -> Option<ListenSettings> {
    let device = table.required("device").and_then(|field| device_addresses(&field));
    let exposed = table.required("admin_exposed").and_then(|field| field.boolean());
    let admin = table.required("admin").and_then(|field| admin_address(&field, exposed.unwrap_or(false)));
    let names = table.required("admin_names").and_then(|field| field.each(|name| name.by(Name::parse_text)));
    let pac = table.maybe("pac", |field| field.address());
    let pac_proxy = table.maybe("pac_proxy", |field| field.parsed::<Destination>());
    let balancers =
        table.required("proxy_protocol_from").and_then(|field| field.each(|network| network.network()));
    if matches!((&pac, &pac_proxy), (Some(Some(_)), Some(None))) {
        table.refuse::<()>(
            "`pac` needs `pac_proxy`",
            Some("name the device address as devices have to call it"),
        );
    }
    table.finish();
    Some(ListenSettings {
        device: device?,
        admin: admin?,
        admin_exposed: exposed?,
        admin_names: names?,
        pac: pac?,
        pac_proxy: pac_proxy?,
        proxy_protocol_from: balancers?,
    })
}

fn device_addresses(field: &Field<'_>) -> Option<Vec<SocketAddr>> {
    let addresses = field.each(|address| address.address())?;
    if addresses.is_empty() {
        return field.refuse("the list is empty: no device could connect", None);
    }
    let twice = addresses.iter().enumerate().any(|(at, address)| {
        address.port() != 0 && addresses.iter().skip(at + 1).any(|other| other == address)
    });
    if twice { field.refuse("an address is there twice", None) } else { Some(addresses) }
}

fn admin_address(field: &Field<'_>, exposed: bool) -> Option<SocketAddr> {
    let address = field.address()?;
    if address.ip().to_canonical().is_loopback() || exposed {
        return Some(address);
    }
    field.refuse(
        "the admin address is not loopback",
        Some("`admin_exposed = true` permits it, to whoever can reach it"),
    )
}
