//! A gateway, a TLS origin and the files that a client program needs.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use lab::{Draft, HttpOrigin, Lab, TlsOrigin};
use serde_json::json;

/// Everything a client program talks to.
pub(crate) struct Setup {
    pub(crate) lab: Lab,
    pub(crate) tls: TlsOrigin,
    pub(crate) plain: HttpOrigin,
}

impl Setup {
    pub(crate) async fn start() -> Self {
        let (tls, plain) = (TlsOrigin::start().await, HttpOrigin::start().await);
        let draft = Draft::of("device-1")
            .allow(json!({"host": tls.destination(), "tls": "sni"}))
            .raw(&plain.destination());
        let lab = Lab::with(draft).await;
        let credentials = lab.pki.device("device-1");
        let write = |name: &str, text: &str| std::fs::write(lab.dir().join(name), text).expect("written");
        write("device.pem", &credentials.pem.0);
        write("device.key", &credentials.pem.1);
        write("both.pem", &format!("{}{}", credentials.pem.0, credentials.pem.1));
        write("origin-ca.pem", tls.authority_pem());
        write("gateway-ca.pem", lab.pki.authority.certificate_pem());
        Self { lab, tls, plain }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    /// The gateway's port; its name is `localhost`.
    pub(crate) fn port(&self) -> u16 {
        self.lab.gateway().addresses.device[0].port()
    }

    /// Runs a program in the lab's directory.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(self.lab.dir())
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        lab::within(Duration::from_secs(60), &format!("{program} ends"), child)
            .await
            .expect("the program runs")
    }
}

/// Whether a program is there and does this without complaint; says so when it does not.
pub(crate) fn has(program: &str, arguments: &[&str], what: &str) -> bool {
    let probe = std::process::Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let there = probe.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: {what} is not installed here");
    }
    there
}
