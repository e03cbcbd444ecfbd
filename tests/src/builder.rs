//! How a lab is set up before its gateway starts.

use std::path::Path;
use std::process::ExitStatus;

use crate::gateway::Gateway;
use crate::lab::Lab;
use crate::manifest::Draft;
use crate::pki::Pki;
use crate::policy::PolicyDir;
use crate::settings::Settings;
use crate::site::Site;

/// A lab that has not started yet.
#[derive(Debug)]
pub struct LabBuilder {
    settings: Settings,
    manifests: Vec<Draft>,
    ready: bool,
    descriptors: Option<u32>,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self { settings: Settings::of_lab(), manifests: Vec::new(), ready: true, descriptors: None }
    }
}

impl LabBuilder {
    /// Changes the settings.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Signs this manifest into the policy before the gateway starts.
    #[must_use]
    pub fn manifest(mut self, draft: Draft) -> Self {
        self.manifests.push(draft);
        self
    }

    /// Does not wait for `/readyz`: for gateways that are not meant to become ready.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// Leaves the gateway so many file descriptors in all, from its start.
    #[must_use]
    pub fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn start(self) -> Lab {
        let (lab, outcome) = self.try_start(|_| ()).await;
        if let Err(status) = outcome {
            lab.print();
            panic!("the gateway ended at its start: {}", crate::process::ending(status));
        }
        lab
    }

    /// Changes files of the lab's directory with `spoil`, then tries to start the gateway.
    pub async fn try_start(self, spoil: impl FnOnce(&Path)) -> (Lab, Result<(), ExitStatus>) {
        let dir = tempfile::Builder::new().prefix("portcullis-lab-").tempdir().expect("a directory");
        let pki = Pki::found(dir.path());
        let policy = PolicyDir::found(dir.path());
        for draft in &self.manifests {
            policy.push(draft);
        }
        let settings = dir.path().join("gateway.toml");
        self.settings.write(&settings);
        spoil(dir.path());
        let started = Gateway::start(dir.path(), &settings, self.descriptors).await;
        let (gateway, outcome) = match started {
            Ok(gateway) => (Some(gateway), Ok(())),
            Err(status) => (None, Err(status)),
        };
        let site = Site { settings: self.settings, gateway, dir: dir.path().to_owned() };
        let lab = Lab { pki, policy, site, _dir: dir };
        if self.ready && outcome.is_ok() {
            lab.ready().await;
        }
        (lab, outcome)
    }
}
