//! The gateway's settings file, edited key by key before the gateway starts or before it is told to read it again.

use std::path::Path;

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

    /// Writes the file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.0.to_string()).expect("the settings file is written");
    }
}
