//! The settings files of gateways and control planes, edited key by key before the process starts or before it is told to read it again.

use std::path::Path;

use policy_sync::transport::nats::NatsOptions;
use toml::{Table, Value};

/// Settings of a gateway, as the table that becomes its file.
#[derive(Debug, Clone)]
pub struct Settings(Table);

impl Settings {
    /// What every lab begins with: loopback, port 0, the lab's own files, short names for the origins.
    #[must_use]
    pub fn of_lab() -> Self {
        let text = r#"
            [gateway]
            name = "gw-lab"
            state_dir = "state"
            log = "info"
            log_format = "text"
            [listen]
            device = ["127.0.0.1:0"]
            admin = "127.0.0.1:0"
            [tls]
            certificate = "gateway.pem"
            key = "gateway.key"
            [trust]
            device_ca = ["ca/ca.pem"]
            crls = ["device-ca.crl"]
            trust_domain = "example.org"
            [policy]
            source = "dir:policy"
            keys = "keys.toml"
            [destinations]
            internal = ["127.0.0.0/8", "::1/128"]
            [limits]
            connects_per_second = 0
            [dns.hosts]
            "origin.test" = ["127.0.0.1"]
            "other.test" = ["127.0.0.1"]
            "origin6.test" = ["::1"]
            "both.test" = ["::1", "127.0.0.1"]
            [audit]
            file = "events.jsonl"
        "#;
        Self(text.parse().expect("the lab's own settings are TOML"))
    }

    /// What every gateway of a fleet begins with: as a lab's, over the files of the fleet. Name and source are added later.
    #[must_use]
    pub fn of_member() -> Self {
        let mut settings = Self::of_lab();
        settings.set("trust.device_ca", vec!["../ca/ca.pem"]);
        settings.set("trust.crls", vec!["../device-ca.crl"]);
        settings.set("policy.keys", "../keys.toml");
        settings.set("control.ca", "../ca/ca.pem");
        settings
    }

    /// What every control plane begins with: the fleet's files, keys to revoke and to lift, no limit that a test would
    /// run into. Its listeners are added later.
    #[must_use]
    pub fn of_control() -> Self {
        let text = r#"
            [control]
            name = "control-1"
            state_dir = "state"
            log = "info"
            log_format = "text"
            [tls]
            certificate = "tls.pem"
            key = "tls.key"
            [trust]
            gateway_ca = ["../ca/ca.pem"]
            trust_domain = "example.org"
            [keys]
            ring = "../keys.toml"
            control = "control.key"
            control_id = "control-1"
            revoker = "revoker.key"
            revoker_id = "revoker-1"
            approver = "approver.key"
            approver_id = "approver-1"
            [api]
            tokens = "tokens.toml"
            requests_per_second = 10000
            burst = 10000
            [audit]
            file = "events.jsonl"
        "#;
        Self(text.parse().expect("the fleet's own settings are TOML"))
    }

    /// Sets a key by its dotted path, such as `limits.sessions`.
    ///
    /// # Panics
    /// When a part of the path is no table.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let (sections, key) = path.rsplit_once('.').expect("a path has a section and a key");
        let table = sections.split('.').fold(&mut self.0, |table, section| {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().expect("a section is a table")
        });
        table.insert(key.to_owned(), value.into());
        self
    }

    /// Adds an entry to a section that there may be several of, such as `signals`; its keys by their dotted paths. Of the
    /// same key the last one counts.
    ///
    /// # Panics
    /// When the section is no list, or a path has no section.
    pub fn entry(&mut self, section: &str, keys: &[(&str, Value)]) -> &mut Self {
        let mut entry = Table::new();
        for (path, value) in keys {
            let (_, key) = path.rsplit_once('.').expect("a path has a section and a key");
            entry.insert(key.to_owned(), value.clone());
        }
        let entries = self.0.entry(section).or_insert_with(|| Value::Array(Vec::new()));
        entries.as_array_mut().expect("a list of entries").push(Value::Table(entry));
        self
    }

    /// Adds a name that the gateway resolves without DNS.
    ///
    /// # Panics
    /// Never, for the settings of a lab.
    pub fn host(&mut self, name: &str, addresses: &[&str]) -> &mut Self {
        let addresses = addresses.iter().map(|address| Value::from(*address)).collect::<Vec<_>>();
        let dns = self.0.entry("dns").or_insert_with(|| Value::Table(Table::new()));
        let hosts = dns.as_table_mut().expect("dns is a table").entry("hosts");
        let hosts = hosts.or_insert_with(|| Value::Table(Table::new()));
        hosts.as_table_mut().expect("hosts is a table").insert(name.to_owned(), addresses.into());
        self
    }

    /// The text at a dotted path, if there is one.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        let (section, key) = path.split_once('.')?;
        self.0.get(section)?.get(key)?.as_str()
    }

    /// Removes a key by its dotted path.
    ///
    /// # Panics
    /// When a section of the path does not exist.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        let (sections, key) = path.rsplit_once('.').expect("a path has a section and a key");
        let table = sections.split('.').fold(&mut self.0, |table, section| {
            table.get_mut(section).and_then(Value::as_table_mut).expect("the section exists")
        });
        table.remove(key);
        self
    }

    /// Leaves a whole section out.
    pub fn leave_out(&mut self, section: &str) -> &mut Self {
        self.0.remove(section);
        self
    }

    /// Says how a NATS cluster is reached; the key of the section that says what comes from there.
    pub fn reach(&mut self, from: &str, nats: &NatsOptions) -> &mut Self {
        self.set(from, format!("nats:{}", nats.servers.join(",")));
        self.set("nats.prefix", nats.prefix.clone())
    }

    /// Writes the file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.0.to_string()).expect("the settings file is written");
    }
}
