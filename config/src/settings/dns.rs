//! `[dns]`: how names are looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{DefaultValue, SettingDoc, setting};
use crate::host::Name;
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "dns",
        "servers",
        DefaultValue::Toml("[]"),
        "Name servers, with or without port; empty means the system's.",
    ),
    setting(
        "dns",
        "hosts",
        DefaultValue::Toml("{}"),
        "Names with fixed addresses, which are never asked for.",
    ),
    setting(
        "dns",
        "negative_ttl",
        DefaultValue::Toml(r#""30s""#),
        "How long a name that does not exist is remembered.",
    ),
    setting("dns", "max_addresses", DefaultValue::Toml("32"), "Addresses of one name that are looked at."),
];

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Name servers; empty means the system's.
    pub servers: Vec<SocketAddr>,
    /// Names with fixed addresses. They are screened like any other.
    pub hosts: BTreeMap<Name, Vec<IpAddr>>,
    /// How long a name that does not exist is remembered.
    pub negative_ttl: Duration,
    /// Addresses of one name that are looked at.
    pub max_addresses: u32,
}

pub(super) fn read(mut table: Table<'_>) -> Option<DnsSettings> {
    let servers = table.required("servers").and_then(|field| field.each(|server| name_server(&server)));
    let hosts = table.required("hosts").and_then(|field| fixed_hosts(&field));
    let negative_ttl = table.required("negative_ttl").and_then(|field| field.duration());
    let max_addresses = table.required("max_addresses").and_then(|field| field.whole(1_u32, 1000));
    table.finish();
    Some(DnsSettings {
        servers: servers?,
        hosts: hosts?,
        negative_ttl: negative_ttl?,
        max_addresses: max_addresses?,
    })
}

fn name_server(field: &Field<'_>) -> Option<SocketAddr> {
    match field.text()?.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, 53)),
        Err(_) => field.address(),
    }
}

fn fixed_hosts(field: &Field<'_>) -> Option<BTreeMap<Name, Vec<IpAddr>>> {
    let mut hosts = BTreeMap::new();
    let mut all_right = Some(());
    for (name, addresses) in field.pairs()? {
        let read = match Name::parse_text(name) {
            Err(why) => addresses.refuse(&why.to_string(), None),
            Ok(name) if hosts.contains_key(&name) => addresses.refuse("the name is there twice", None),
            Ok(name) => addresses.each(|address| address.ip()).map(|addresses| hosts.insert(name, addresses)),
        };
        all_right = all_right.and(read.map(|_| ()));
    }
    all_right.map(|()| hosts)
}
