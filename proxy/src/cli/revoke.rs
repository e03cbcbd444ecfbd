//! `portcullis revoke`: withdrawing authority, now.
//!
//! Signs a revocation and puts it into the policy directory, whole, under a name that nobody can choose. Gateways that
//! watch the directory enforce it within milliseconds; when one of them is named, this waits until it says so. With a
//! control plane named, it does all of this instead: see `revoke_control`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::{AgentName, DeviceId, GatewaySettings, ManifestId, UserName};
use jiff::Timestamp;
use policy_sync::{
    CertificateTarget, KeyId, KeyRing, Revocation, Role, SigningKey, Target, TrustedKey, sign_revocation,
    verify_statement,
};
use proxy::admin::{PolicyView, SessionView, Sessions};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::Digest as _;

use super::control_client::WhichControl;
use super::exit::{During as _, Exit, Failure, Outcome};
use super::manifest::keygen::key_id;
use super::manifest::sign::{KeyFile, line};
use super::print::bytes;
use super::running::Running;
use super::settings::WhichGateway;
use super::write;
use super::{Printer, Table, duration, policy, revoke_control};

const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true)
    .args(["manifest", "device", "user", "agent", "certificate", "all", "lift"]))]
pub(crate) struct Arguments {
    /// One manifest, for ever.
    #[arg(long, value_name = "ID")]
    manifest: Option<ManifestId>,
    /// A device, with whatever certificate.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// A user, on all devices.
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// An agent, on all devices.
    #[arg(long, value_name = "AGENT")]
    agent: Option<AgentName>,
    /// One certificate, for ever: its PEM file, or its SHA-256 in hex.
    #[arg(long, value_name = "FILE|HEX")]
    certificate: Option<String>,
    /// Everybody.
    #[arg(long)]
    all: bool,
    /// Instead of revoking: lift the revocation of this sequence, through a control plane.
    #[arg(long, value_name = "SEQUENCE", requires = "control")]
    lift: Option<u64>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", required_unless_present = "lift")]
    reason: Option<String>,
    #[command(flatten)]
    control: WhichControl,
    /// Fail when a gateway that the control plane knows has not said that it enforces it.
    #[arg(long, requires = "control")]
    require_all: bool,
    /// The private key, unless a control plane signs.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Its name in the key ring, unless that is the file's name without its extension.
    #[arg(long, value_name = "NAME", value_parser = key_id, requires = "key")]
    key_id: Option<KeyId>,
    /// The policy directory, unless the settings name it.
    #[arg(long, value_name = "DIR", conflicts_with = "control")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    gateway: WhichGateway,
    /// How long to wait for the named gateway, or for those of the control plane.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    wait: Duration,
}

impl Arguments {
    /// Present whenever something is revoked; the parser sees to that.
    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    if arguments.control.is_named() {
        return through_control(arguments, printer);
    }
    let target = target(arguments)?;
    let settings = arguments.gateway.settings()?;
    let directory = directory(arguments, settings.as_ref())?;
    let key = arguments.key.clone().ok_or_else(|| {
        Failure::usage("there is nothing to sign the revocation with")
            .help("name a private key with --key, or a control plane with --control")
    })?;
    let key = KeyFile::new(key, arguments.key_id.clone()).read()?;
    check_key(&key, settings.as_ref())?;
    let running = if arguments.gateway.is_named() { Some(arguments.gateway.running()?) } else { None };
    // Asked before, so that what is gone afterwards can be told; a gateway that is down does not stop a revocation.
    let before = running.and_then(|running| sessions_of(running, &target).ok());
    let (revocation, path) = publish(target, arguments.reason(), &key, &directory)?;
    let enforced = match running {
        Some(running) => {
            let awaited = await_gateway(running, &revocation, before.unwrap_or_default(), arguments.wait);
            Some(awaited.map_err(|failure| Failure {
                message: format!("the revocation is written to {}, but {}", path.display(), failure.message),
                ..failure
            })?)
        }
        None => None,
    };
    report(&revocation, &path, enforced.as_ref(), printer)?;
    Ok(Exit::Done)
}

fn through_control(arguments: &Arguments, printer: &Printer) -> Outcome {
    if arguments.key.is_some() || arguments.gateway.is_named() {
        return Err(Failure::usage("a control plane signs by itself and knows its gateways")
            .help("leave out --key, --config and --admin, or leave out --control"));
    }
    let client = arguments.control.client()?;
    match arguments.lift {
        Some(sequence) => revoke_control::lift(&client, sequence, printer),
        None => {
            let (target, wait) = (target(arguments)?, arguments.wait);
            let require_all = arguments.require_all;
            revoke_control::revoke(&client, &target, arguments.reason(), wait, require_all, printer)
        }
    }
}

fn target(arguments: &Arguments) -> Result<Target, Failure> {
    let Arguments { manifest, device, user, agent, certificate, all, .. } = arguments;
    let named = [
        manifest.clone().map(Target::Manifest),
        device.clone().map(Target::Device),
        user.clone().map(Target::User),
        agent.clone().map(Target::Agent),
        certificate.as_deref().map(certificate_target).transpose()?.map(Target::Certificate),
        all.then_some(Target::All),
    ];
    named.into_iter().flatten().next().ok_or_else(|| Failure::usage("name what to revoke, such as --device"))
}

fn certificate_target(text: &str) -> Result<CertificateTarget, Failure> {
    if let Some(fingerprint) = CertificateTarget::parse_fingerprint(text) {
        return Ok(fingerprint);
    }
    let pem = std::fs::read(text).map_err(|fault| {
        Failure::usage(format_args!("{text}: neither a SHA-256 in hex nor a file that can be read: {fault}"))
    })?;
    let certificate = CertificateDer::from_pem_slice(&pem).during(text)?;
    Ok(CertificateTarget::Fingerprint(sha2::Sha256::digest(&certificate).into()))
}

fn directory(arguments: &Arguments, settings: Option<&GatewaySettings>) -> Result<PathBuf, Failure> {
    match (&arguments.policy, settings) {
        (Some(directory), _) => Ok(directory.clone()),
        (None, Some(settings)) => policy::directory(settings).map(Path::to_path_buf).ok_or_else(|| {
            Failure::usage("this gateway has no policy directory")
                .help("revoke at its control plane, or name a policy directory with --policy")
        }),
        (None, None) => Err(Failure::usage("where the policy is kept is not known")
            .help("name the policy directory with --policy, or the gateway's settings with --config")),
    }
}

/// A key that the gateway's ring does not let revoke would sign something that nobody obeys.
fn check_key(key: &SigningKey, settings: Option<&GatewaySettings>) -> Result<(), Failure> {
    let Some(settings) = settings else { return Ok(()) };
    let ring = policy::ring(&settings.policy.keys)?;
    let may = ring
        .key(key.id().as_str())
        .is_some_and(|known| known.public() == &key.public() && known.roles().contains(&Role::Revoker));
    if may {
        return Ok(());
    }
    let revokers = ring.keys().filter(|known| known.roles().contains(&Role::Revoker));
    let names: Vec<&str> = revokers.map(|known| KeyId::as_str(known.id())).collect();
    Err(Failure::new(format_args!("the key {} may not revoke under this gateway's key ring", key.id())).help(
        format_args!("keys that may: {}", if names.is_empty() { "none".into() } else { names.join(", ") }),
    ))
}

fn publish(
    target: Target,
    reason: &str,
    key: &SigningKey,
    directory: &Path,
) -> Result<(Revocation, PathBuf), Failure> {
    let (envelope, revocation) =
        sign_revocation(target, reason, Timestamp::now(), key).map_err(Failure::new)?;
    // What a gateway would refuse to read is not written at all.
    let mut ring = KeyRing::default();
    let revoker = TrustedKey::new(key.id().clone(), key.public(), &[Role::Revoker]);
    ring.add(revoker).map_err(Failure::new)?;
    verify_statement(&envelope, &ring).map_err(Failure::usage)?;
    if !directory.is_dir() {
        return Err(Failure::configuration(format_args!("{}: no such directory", directory.display()))
            .help("name the policy directory that the gateways watch with --policy"));
    }
    let path = directory.join("revocations").join(format!("{}.dsse.json", revocation.id));
    write::create(&path, line(&envelope).as_bytes())?;
    Ok((revocation, path))
}

/// What the gateway did about it.
#[derive(Debug)]
struct Enforced {
    revision: u64,
    took: Duration,
    cut: Vec<SessionView>,
}

fn await_gateway(
    running: Running,
    revocation: &Revocation,
    before: Vec<SessionView>,
    patience: Duration,
) -> Result<Enforced, Failure> {
    let began = Instant::now();
    let id = revocation.id.to_string();
    loop {
        let view: PolicyView = running.ask("/policy")?;
        if view.revocations.iter().any(|known| known.id == id) {
            let took = began.elapsed();
            return Ok(Enforced {
                revision: view.revision,
                took,
                cut: gone(running, &revocation.target, before)?,
            });
        }
        if began.elapsed() >= patience {
            return Err(Failure::new(format_args!(
                "the gateway does not report it after {}",
                duration::display(patience)
            ))
            .help("does this gateway read this policy directory, and trust this key? its log says why a file is refused"));
        }
        std::thread::sleep(POLL);
    }
}

/// Those of `before` that live no more. Their tasks need a moment to close up.
fn gone(running: Running, target: &Target, before: Vec<SessionView>) -> Result<Vec<SessionView>, Failure> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let left = sessions_of(running, target)?;
        let is_left = |session: &SessionView| left.iter().any(|other| other.session == session.session);
        let remaining = before.iter().filter(|session| is_left(session)).count();
        if remaining == 0 || Instant::now() > until {
            return Ok(before.into_iter().filter(|session| !is_left(session)).collect());
        }
        std::thread::sleep(POLL);
    }
}

fn sessions_of(running: Running, target: &Target) -> Result<Vec<SessionView>, Failure> {
    let live: Sessions = running.ask("/sessions")?;
    Ok(live.sessions.into_iter().filter(|session| is_touched(session, target)).collect())
}

/// As far as a list of sessions can tell: it does not name certificates, so any session may be meant.
fn is_touched(session: &SessionView, target: &Target) -> bool {
    let is = |field: &Option<String>, name: &str| field.as_deref() == Some(name);
    match target {
        Target::Manifest(id) => is(&session.manifest, id.as_str()),
        Target::Device(id) => session.device == id.as_str(),
        Target::User(name) => is(&session.user, name.as_str()),
        Target::Agent(name) => is(&session.agent, name.as_str()),
        Target::Certificate(_) | Target::All => true,
    }
}

fn report(
    revocation: &Revocation,
    path: &Path,
    enforced: Option<&Enforced>,
    printer: &Printer,
) -> Result<(), Failure> {
    let made = json!({
        "revocation": revocation.id.to_string(),
        "target": revocation.target.to_string(),
        "file": path,
        "revision": enforced.map(|enforced| enforced.revision),
        "sessions_cut": enforced.map(|enforced| &enforced.cut),
    });
    printer.data(&made, |_| {
        let mut table = Table::default();
        table.row([&"revoked", &revocation.target]);
        table.row([&"revocation", &revocation.id]);
        table.row([&"file", &path.display()]);
        let Some(enforced) = enforced else { return table };
        table.row([
            &"enforced",
            &format_args!("revision {}, seen after {} ms", enforced.revision, enforced.took.as_millis()),
        ]);
        table.row([&"sessions cut", &enforced.cut.len()]);
        for session in &enforced.cut {
            let moved = format!("{} up, {} down", bytes(session.upload_bytes), bytes(session.download_bytes));
            table.row([&"", &format_args!("{} {} ({moved})", session.device, session.destination)]);
        }
        table
    })?;
    if enforced.is_none() {
        printer.note("gateways that watch this directory enforce it now; name one with --config or --admin to wait for it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_taken_in_the_spellings_people_paste() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(certificate_target(&digits).unwrap(), CertificateTarget::Fingerprint([0xab; 32]));
        assert_eq!(certificate_target(&colons).unwrap(), CertificateTarget::Fingerprint([0xab; 32]));
        assert!(certificate_target("no-such-file").is_err());
    }

    #[test]
    fn a_revocation_never_takes_the_place_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(KeyId::new("r").unwrap()).unwrap();
        let (first, _) = publish(Target::All, "x", &key, directory.path()).unwrap();
        let (second, path) = publish(Target::All, "x", &key, directory.path()).unwrap();
        assert_ne!(first.id, second.id);
        assert!(path.ends_with(format!("revocations/{}.dsse.json", second.id)));
        assert!(publish(Target::All, "x", &key, &directory.path().join("missing")).is_err());
    }

    #[test]
    fn a_reason_that_no_gateway_would_read_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(KeyId::new("r").unwrap()).unwrap();
        assert!(publish(Target::All, "", &key, directory.path()).is_err());
        assert!(!directory.path().join("revocations").exists());
    }
}
