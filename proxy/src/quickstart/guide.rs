//! What can be tried? The commands to play with, ready to paste.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proxy::Addresses;

use super::files::{MANIFEST, ORIGIN};
use super::place::Place;
use super::ports::Ports;
use crate::cli::Printer;

/// Knows where everything is.
#[derive(Debug)]
pub(super) struct Guide {
    program: String,
    directory: String,
    origin: u16,
    /// The control plane's API.
    api: SocketAddr,
}

impl Guide {
    pub(super) fn new(place: &Place, ports: &Ports) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("portcullis"));
        let (origin, api) = (ports.origin.port(), ports.api);
        Self { program: shown(&program), directory: shown(place.directory()), origin, api }
    }

    /// Everything there is to say once the gateway listens at `addresses`.
    pub(super) fn text(&self, addresses: &Addresses, printer: &Printer) -> String {
        let Self { program, directory, origin, api } = self;
        let device = addresses.device.first().map(ToString::to_string).unwrap_or_default();
        let (admin, url) = (addresses.admin, format!("https://{ORIGIN}:{origin}"));
        let curl = format!("curl --config {directory}/curl.conf");
        let mut text = format!(
            "\nA gateway is running on https://{device} and follows a control plane on https://{api}; a device, a signed\n\
             manifest and an origin to reach are there too.\n\
             Everything is in {directory} and good for a day. Ctrl-C stops it. Use another terminal for these:\n"
        );
        let mut step = |title: &str, commands: &[String]| {
            text.push_str(&format!("\n{}\n", printer.strong(title)));
            commands.iter().for_each(|command| text.push_str(&format!("  {command}\n")));
        };
        step(
            "1. Allowed: the device's certificate, a CONNECT, and TLS from end to end",
            &[
                format!("curl --proxy https://{device} --proxy-cacert {directory}/ca/ca.pem \\"),
                format!("     --proxy-cert {directory}/device.pem --proxy-key {directory}/device.key \\"),
                format!("     --cacert {directory}/origin-ca/ca.pem {url}/"),
            ],
        );
        step("2. The same, with those options in a file", &[format!("{curl} {url}/")]);
        step(
            "3. Refused: the manifest does not list it. The answer says why; `explain` says it beforehand",
            &[
                format!("{curl} http://elsewhere.example/"),
                format!("{curl} --silent --verbose https://elsewhere.example/ 2>&1 | grep -i proxy-status"),
                format!(
                    "{program} explain --config {directory}/gateway.toml --device laptop-1 elsewhere.example:443"
                ),
            ],
        );
        step(
            "4. Cut at the limit: the manifest grants 1 MiB a session, and the origin receives not a byte more",
            &[format!("head -c 5000000 /dev/zero | {curl} --data-binary @- {url}/upload")],
        );
        step(
            "5. Revoked: start the download, then revoke from a third terminal and watch it stop. The answer is the receipt",
            &[
                format!("{curl} --output /dev/null {url}/download"),
                format!("{program} sessions --config {directory}/gateway.toml"),
                format!("curl -X POST https://{api}/api/v1/revoke --cacert {directory}/ca/ca.pem \\"),
                format!(
                    "     -H \"Authorization: Bearer $(cat {directory}/token)\" -H 'Content-Type: application/json' \\"
                ),
                format!("     -d '{{\"manifest_id\": \"{MANIFEST}\", \"reason\": \"suspicious upload\"}}'"),
            ],
        );
        step(
            "6. The same from the command line; what is revoked already is answered alike",
            &[
                format!("{program} revoke --control https://{api} --ca {directory}/ca/ca.pem \\"),
                format!(
                    "     --token-file {directory}/token --manifest {MANIFEST} --reason \"suspicious upload\""
                ),
            ],
        );
        text.push_str("     From then on everything is refused: a manifest never comes back. Start again for a new one.\n");
        text.push_str(&format!("\n  API       https://{api}/api/v1/openapi.json\n"));
        text.push_str(&format!("  admin     http://{admin}/   (/metrics /sessions /policy /readyz)\n"));
        if let Some(pac) = addresses.pac {
            text.push_str(&format!("  PAC       http://{pac}/proxy.pac\n"));
        }
        text.push_str(&format!(
            "  events    {directory}/events.jsonl\n  manifest  {directory}/manifest.yaml\n\nWhat happens:\n"
        ));
        text
    }
}

/// A path as one would type it: from here if it is below, quoted if it has to be.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'+');
    if path.bytes().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(shown(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        assert_eq!(shown(Path::new("/a/b.toml")), "/a/b.toml");
    }
}
