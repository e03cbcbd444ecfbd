//! `portcullis ca`: certificates for devices, gateways and control planes, and the lists that take them back.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::authority::{Authority, AuthorityFault, Issued, Revocable, RevokedRecord};
use clap::Subcommand;
use config::{AgentName, DeviceId, GatewayName};
use serde_json::json;

use super::exit::{During as _, Exit, Failure, Outcome};
use super::write;
use super::{Printer, Table, duration};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new certificate authority in a directory
    Init(Init),
    /// Issue a certificate and a key for a device, a gateway or a control plane
    Issue(Issue),
    /// Revoke certificates and write a new revocation list
    Revoke(Revoke),
    /// Write a new revocation list: gateways refuse devices once the last one is out of date
    Crl(Crl),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The authority's directory.
    #[arg(long = "ca", value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
}

impl Place {
    fn open(&self) -> Result<Authority, Failure> {
        Authority::open(&self.dir).map_err(|fault| {
            Failure::configuration(fault)
                .help("make an authority with `portcullis ca init`, or name its directory with --ca")
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    #[command(flatten)]
    place: Place,
    /// The trust domain that its certificates name, such as `example.org`.
    #[arg(long, value_name = "NAME")]
    trust_domain: String,
    /// How long the authority lives.
    #[arg(long, value_name = "DURATION", default_value = "3650d", value_parser = duration::parse)]
    validity: Duration,
    /// How long its first, empty revocation list is in date.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    crl_validity: Duration,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).args(["device", "gateway", "control"]))]
pub(crate) struct Issue {
    #[command(flatten)]
    place: Place,
    /// A device certificate with this identity.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// Bind the certificate to one agent on that device.
    #[arg(long, value_name = "AGENT", requires = "device", conflicts_with_all = ["gateway", "control"])]
    agent: Option<AgentName>,
    /// A gateway certificate with this name: for its devices, and for its control plane.
    #[arg(long, value_name = "NAME")]
    gateway: Option<GatewayName>,
    /// A certificate for a control plane with this name.
    #[arg(long, value_name = "NAME")]
    control: Option<GatewayName>,
    /// A DNS name of the gateway or the control plane; repeatable.
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    dns: Vec<String>,
    /// An address of the gateway or the control plane; repeatable.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "device")]
    ip: Vec<IpAddr>,
    /// How long the certificate lives.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration::parse)]
    validity: Duration,
    /// Write DIR/NAME.pem and DIR/NAME.key.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["device", "gateway", "serial", "certificate"]))]
pub(crate) struct Revoke {
    #[command(flatten)]
    place: Place,
    /// Every certificate that was issued to this device.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// Every certificate that was issued to this gateway.
    #[arg(long, value_name = "NAME")]
    gateway: Option<GatewayName>,
    /// The certificate with this serial number, in hex.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    serial: Option<Serial>,
    /// The certificate in this PEM file.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Crl {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    /// How long the list is in date.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    crl_validity: Duration,
    /// Write the list here too, such as into the `crls` folder of a policy directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl List {
    /// Signs a new list and says where it is.
    fn write(&self, authority: &Authority) -> Result<PathBuf, Failure> {
        let pem = authority.crl(self.crl_validity).map_err(Failure::new)?;
        match &self.out {
            Some(path) => write::replace(path, pem.as_bytes()).map(|()| path.clone()),
            None => Ok(authority.dir().join("crl.pem")),
        }
    }
}

pub(crate) fn run(command: &Command, printer: &Printer) -> Outcome {
    match command {
        Command::Init(arguments) => init(arguments, printer),
        Command::Issue(arguments) => issue(arguments, printer),
        Command::Revoke(arguments) => revoke(arguments, printer),
        Command::Crl(arguments) => crl(arguments, printer),
    }
}

fn init(arguments: &Init, printer: &Printer) -> Outcome {
    let dir = &arguments.place.dir;
    let authority = Authority::init(dir, &arguments.trust_domain, arguments.validity).map_err(explained)?;
    authority.crl(arguments.crl_validity).map_err(Failure::new)?;
    let made = json!({
        "certificate": dir.join("ca.pem"),
        "crl": dir.join("crl.pem"),
        "trust_domain": arguments.trust_domain,
    });
    printer.data(&made, |_| {
        let mut table = Table::default();
        table.row([&"certificate", &dir.join("ca.pem").display()]);
        table.row([&"crl", &dir.join("crl.pem").display()]);
        table
    })?;
    Ok(Exit::Done)
}

fn issue(arguments: &Issue, printer: &Printer) -> Outcome {
    if arguments.device.is_none() && arguments.dns.is_empty() && arguments.ip.is_empty() {
        let help = "give the names and addresses that others use: --dns gateway.example.com --ip 192.0.2.1";
        return Err(Failure::usage("a server's certificate without a name fits no server").help(help));
    }
    let authority = arguments.place.open()?;
    let Issue { device, agent, gateway, control, ip, validity, .. } = arguments;
    let dns: Vec<&str> = arguments.dns.iter().map(String::as_str).collect();
    let (name, issued) = match (device, gateway, control) {
        (Some(device), ..) => (device.as_str(), authority.issue_device(device, agent.as_ref(), *validity)),
        (None, Some(name), _) => (name.as_str(), authority.issue_gateway(name.as_str(), &dns, ip, *validity)),
        (None, None, Some(name)) => {
            (name.as_str(), authority.issue_control(name.as_str(), &dns, ip, *validity))
        }
        (None, None, None) => {
            return Err(Failure::usage("name the holder: --device, --gateway or --control"));
        }
    };
    let issued = issued.map_err(Failure::new)?;
    let (chain, key) = (arguments.out.join(format!("{name}.pem")), arguments.out.join(format!("{name}.key")));
    std::fs::create_dir_all(&arguments.out).during(arguments.out.display())?;
    issued.write(&chain, &key).map_err(Failure::new)?;
    print_issued(&issued, &chain, &key, printer)?;
    Ok(Exit::Done)
}

fn print_issued(issued: &Issued, chain: &Path, key: &Path, printer: &Printer) -> Result<(), Failure> {
    let (serial, sha256) = (hex(issued.serial()), hex(&issued.fingerprint()));
    let made = json!({"certificate": chain, "key": key, "serial": serial, "sha256": sha256});
    printer.data(&made, |_| {
        let mut table = Table::default();
        table.row([&"certificate", &chain.display()]);
        table.row([&"key", &key.display()]);
        table.row([&"serial", &serial]);
        table.row([&"sha256", &sha256]);
        table
    })
}

fn revoke(arguments: &Revoke, printer: &Printer) -> Outcome {
    let authority = arguments.place.open()?;
    let revoked = withdraw(&authority, arguments)?;
    let list = arguments.list.write(&authority)?;
    let made = json!({"revoked": revoked, "crl": list});
    printer.data(&made, |_| {
        let mut table = Table::new(["SERIAL", "REVOKED"]).or_say("nothing new: it was revoked already");
        for record in &revoked {
            table.row([&record.serial, &super::policy::date(record.revoked_at)]);
        }
        table
    })?;
    printer.note(format_args!("revocation list: {}", list.display()));
    Ok(Exit::Done)
}

fn withdraw(authority: &Authority, arguments: &Revoke) -> Result<Vec<RevokedRecord>, Failure> {
    let Revoke { device, gateway, serial, certificate, .. } = arguments;
    let pem = match certificate {
        Some(path) => Some(std::fs::read_to_string(path).during(path.display())?),
        None => None,
    };
    let device = device.as_ref().map(Revocable::Device);
    let gateway = gateway.as_ref().map(Revocable::Gateway);
    let serial = serial.as_ref().map(|Serial(serial)| Revocable::Serial(serial));
    let certificate = pem.as_deref().map(Revocable::Certificate);
    let Some(what) = device.or(gateway).or(serial).or(certificate) else {
        let missing = "name what to revoke: --device, --gateway, --serial or --certificate";
        return Err(Failure::usage(missing));
    };
    authority.revoke(what).map_err(explained)
}

fn crl(arguments: &Crl, printer: &Printer) -> Outcome {
    let list = arguments.list.write(&arguments.place.open()?)?;
    printer.data(&json!({ "crl": list }), |_| {
        let mut table = Table::default();
        table.row([&"crl", &list.display()]);
        table
    })?;
    Ok(Exit::Done)
}

/// A fault with what can be done about it.
fn explained(fault: AuthorityFault) -> Failure {
    let help = match &fault {
        AuthorityFault::Exists(_) => Some("use it as it is, or name another directory with --ca"),
        AuthorityFault::NotIssued => {
            Some("check the directory given with --ca; its issued.jsonl lists what it issued")
        }
        AuthorityFault::TrustDomain(_) => Some("a trust domain looks like a host name: example.org"),
        _ => None,
    };
    Failure { help: help.map(str::to_owned), ..Failure::new(fault) }
}

/// A serial number as bytes.
#[derive(Debug, Clone)]
struct Serial(Vec<u8>);

fn serial(text: &str) -> Result<Serial, String> {
    const EXPECTED: &str = "expected hex digits, such as 4f02a1";
    let digits = text.replace(':', "");
    let even = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    if even.is_empty() || even.len() > 64 || !even.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(EXPECTED.into());
    }
    let pairs = even.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    bytes.map(Serial).ok_or_else(|| EXPECTED.into())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_hex_with_or_without_colons() {
        for (text, expected) in [("4f02", vec![0x4f, 2]), ("4F:02", vec![0x4f, 2]), ("f02", vec![0x0f, 2])] {
            assert_eq!(serial(text).expect(text).0, expected);
        }
        for text in ["", ":", "xyz", "+1", "-1", &"0".repeat(65)] {
            assert!(serial(text).is_err(), "{text}");
        }
    }
}
