//! `[store]`: where the log of policy is.

use crate::reading::Table;
use crate::settings::nats::{self, Files, NatsServers, NatsSettings};
use crate::settings::reference::Sections;
use crate::settings::{DefaultValue, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[setting(
    "store",
    "source",
    DefaultValue::Toml(r#""embedded""#),
    "Where the log of policy is: `embedded`, in the state directory, or `nats:URLS`, in a NATS cluster.",
)];

/// Where the log of policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In the state directory of the only control plane.
    Embedded,
    /// In a NATS cluster, where several control planes write.
    Nats(NatsSettings),
}

/// A store by its name alone; how to reach it stands in a section of its own.
#[derive(Debug)]
pub(super) enum NamedStore {
    Embedded,
    Nats(NatsServers),
}

impl NamedStore {
    /// The store, as the section `[nats]` says how to reach it; without one that section would do nothing.
    pub(super) fn with(self, nats: Option<Files>, sections: &Sections<'_>) -> Option<Store> {
        match self {
            Self::Embedded if !sections.is_there("nats") => Some(Store::Embedded),
            Self::Embedded => sections.refuse(
                "nats",
                "the section has no effect: `store.source` is not nats:URLS",
                Some("remove the section"),
            ),
            Self::Nats(servers) => match nats?.reach(servers) {
                Ok(nats) => Some(Store::Nats(nats)),
                Err(why) => sections.refuse("nats", why, None),
            },
        }
    }
}

pub(super) fn read(mut table: Table<'_>) -> Option<NamedStore> {
    let source = table.required("source").and_then(|field| match field.line()? {
        "embedded" => Some(NamedStore::Embedded),
        text => match text.strip_prefix("nats:") {
            Some(urls) => nats::servers(&field, urls).map(NamedStore::Nats),
            None => field.refuse("expected `embedded` or nats:tls://HOST:PORT", None),
        },
    });
    table.finish();
    source
}
