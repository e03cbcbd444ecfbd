//! Manifests under construction: the JSON that is signed, written in a few words.

use serde_json::{Value, json};

/// A manifest before it is signed.
#[derive(Debug, Clone)]
pub struct Draft(pub Value);

impl Draft {
    /// A manifest `cm-<device>` for the agent `cowork-v1.0` on `device` that allows nothing yet and lives for an hour.
    #[must_use]
    pub fn of(device: &str) -> Self {
        Self(json!({
            "id": format!("cm-{device}"),
            "agent": "cowork-v1.0",
            "identity": {"user": "alice@example.com", "device": device},
            "role": "analyst",
            "residency": "eu",
            "capabilities": {"network": {
                "allow": [], "deny": [],
                "upload_bytes_per_session": "unlimited", "upload_bytes": "unlimited"
            }},
            "ttl_seconds": 3600
        }))
    }

    /// Another id.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.0["id"] = json!(id);
        self
    }

    /// Another agent.
    #[must_use]
    pub fn agent(mut self, agent: &str) -> Self {
        self.0["agent"] = json!(agent);
        self
    }

    /// Another user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.0["identity"]["user"] = json!(user);
        self
    }

    /// Another life, in seconds.
    #[must_use]
    pub fn ttl(mut self, seconds: u64) -> Self {
        self.0["ttl_seconds"] = json!(seconds);
        self
    }

    /// Allows a destination as written: a string or an object.
    ///
    /// # Panics
    /// Never, for a draft.
    #[must_use]
    pub fn allow(mut self, entry: impl Into<Value>) -> Self {
        let allow = self.0["capabilities"]["network"]["allow"].as_array_mut();
        allow.expect("a draft has a list").push(entry.into());
        self
    }

    /// Allows a destination with any bytes in its tunnels.
    #[must_use]
    pub fn raw(self, destination: &str) -> Self {
        self.allow(json!({"host": destination, "tls": "none"}))
    }

    /// Denies a pattern.
    ///
    /// # Panics
    /// Never, for a draft.
    #[must_use]
    pub fn deny(mut self, pattern: &str) -> Self {
        let deny = self.0["capabilities"]["network"]["deny"].as_array_mut();
        deny.expect("a draft has a list").push(json!(pattern));
        self
    }

    /// Sets a field of `capabilities.network`.
    #[must_use]
    pub fn network(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0["capabilities"]["network"][key] = value.into();
        self
    }

    /// How much each session may upload.
    #[must_use]
    pub fn per_session(self, limit: impl Into<Value>) -> Self {
        self.network("upload_bytes_per_session", limit)
    }

    /// How much all sessions together may upload.
    #[must_use]
    pub fn in_all(self, limit: impl Into<Value>) -> Self {
        self.network("upload_bytes", limit)
    }

    /// Nothing said of how much may be uploaded.
    ///
    /// # Panics
    /// Never, for a draft.
    #[must_use]
    pub fn silent_on_limits(mut self) -> Self {
        let network = self.0["capabilities"]["network"].as_object_mut().expect("a draft has an object");
        network.retain(|key, _| !key.starts_with("upload_bytes"));
        self
    }

    /// The manifest's id.
    ///
    /// # Panics
    /// When the id has been taken out of the draft.
    #[must_use]
    pub fn id_text(&self) -> String {
        self.0["id"].as_str().expect("a draft has an id").to_owned()
    }

    /// The bytes to sign.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}
