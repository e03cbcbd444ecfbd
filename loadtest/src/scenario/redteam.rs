//! Does the gateway stand when an agent attacks it, and does it say so? Simulated abuse, attack by attack.
//!
//! Every attack has to be refused, nothing of it may reach the origin, and the event file has to have it. Against a gateway
//! that runs already this is a check that can be repeated as often as one likes: it speaks as one canary device, and what it
//! could let through leads to the origin of this program and nowhere else.

mod attack;
mod strike;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::aim::{Aim, Bench, Placement};
use crate::deployment::{Deployment, Grant, fingerprint, manifest};
use crate::events::Journal;
use crate::figures::Figure;
use crate::origin::{Origin, Watch};
use crate::report::{Report, progress};
use crate::subject::Subject;

use strike::Scene;

/// The device of the throw-away gateway that attacks.
const CANARY: &str = "canary";
/// What it may send to the limited destination, in bytes.
const LIMIT: u64 = 200_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Milliseconds between two attacks, so that none is refused for coming too soon behind another.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pause: u64,
    /// The event file of the gateway that runs already.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    events: Option<PathBuf>,
    /// A destination at the origin that the canary's manifest lists with `"tls": "sni"`.
    #[arg(long, value_name = "HOST:PORT", requires = "proxy")]
    tls_destination: Option<String>,
    /// A destination at the origin that the canary's manifest lists with a limit.
    #[arg(long, value_name = "HOST:PORT", requires_all = ["proxy", "upload_limit"])]
    limited_destination: Option<String>,
    /// That limit. It is spent by the first run in its window; the runs after it have to be refused at once.
    #[arg(long, value_name = "BYTES", requires = "limited_destination")]
    upload_limit: Option<u64>,
    /// A revoked certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["proxy", "revoked_key"])]
    revoked_certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "revoked_certificate")]
    revoked_key: Option<PathBuf>,
    /// An expired certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["proxy", "expired_key"])]
    expired_certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "expired_certificate")]
    expired_key: Option<PathBuf>,
    #[command(flatten)]
    aim: Aim,
}

/// Attacks, one after the other.
///
/// # Errors
/// What did not work. An attack that came through, or of which there is no event, is a fault of the report.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("redteam");
    let (scene, origin, deployment) = if arguments.aim.runs_already() {
        let (scene, origin) = arguments.running(&mut report)?;
        (scene, origin, None)
    } else {
        let (scene, origin, deployment) = arguments.thrown_away(&mut report)?;
        (scene, origin, Some(deployment))
    };
    crate::bounded(bound, async {
        origin.serve(&scene.watch)?;
        let mut held = 0_u32;
        let attacks = attack::all(&scene)?;
        for attack in &attacks {
            progress(format_args!("{}", attack.name));
            let finding = scene.strike(attack).await.with_context(|| attack.name.clone());
            let finding = finding.map_err(|fault| match &deployment {
                Some(deployment) => {
                    fault.context(format!("the end of the gateway's log:\n{}", deployment.log()))
                }
                None => fault,
            })?;
            if let Some(fault) = finding.fault() {
                report.fault(fault);
            } else {
                held += 1;
            }
            report.finding(finding);
            tokio::time::sleep(Duration::from_millis(arguments.pause)).await;
        }
        let name = &scene.subject.name;
        report.figures([
            Figure::single(name, "attacks", "", attacks.len() as f64),
            Figure::single(name, "attacks refused and evented", "", f64::from(held)),
        ]);
        attack::left_out(&scene).into_iter().for_each(|name| report.method(format!("left out: {name}")));
        Ok(report)
    })
}

impl Arguments {
    fn thrown_away(&self, report: &mut Report) -> anyhow::Result<(Scene, Origin, Deployment)> {
        let origin = Origin::bind()?;
        let address = origin.address()?;
        let mut deployment = self.aim.deployment(&origin, report)?;
        let tls = deployment.device_with(CANARY, &Grant::Canary { limit: LIMIT })?;
        let (revoked, expired) = (deployment.revoked(CANARY)?, deployment.expired(CANARY)?);
        let forged = deployment.forged(CANARY)?;
        progress("starting the gateway");
        let subject = deployment.start(tls)?;
        let at_origin = |name| format!("{name}:{}", origin.port);
        let scene = Scene {
            origin: address,
            open: at_origin(manifest::OPEN),
            tls: Some(at_origin(manifest::TLS)),
            limited: Some((at_origin(manifest::LIMITED), LIMIT)),
            metadata: Some(format!("{}:80", manifest::METADATA)),
            strangers: strangers(
                &subject,
                [("revoked", Some(revoked)), ("expired", Some(expired)), ("forged", Some(forged))],
            ),
            journal: Some(Journal::open(deployment.events())?),
            fingerprint: Some(read_fingerprint(&deployment.certificate(CANARY))?),
            watch: Arc::new(Watch::default()),
            subject,
        };
        Ok((scene, origin, deployment))
    }

    fn running(&self, report: &mut Report) -> anyhow::Result<(Scene, Origin)> {
        let Bench { subjects, origin, .. } = self.aim.bench(Placement::Together, report)?;
        let subject = subjects.into_iter().next().context("nothing to attack")?;
        let certificate = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| {
            let pair = certificate.as_ref().zip(key.as_ref());
            pair.map(|(certificate, key)| self.aim.credentials(certificate, key)).transpose()
        };
        let revoked = certificate(&self.revoked_certificate, &self.revoked_key)?;
        let expired = certificate(&self.expired_certificate, &self.expired_key)?;
        if self.events.is_none() {
            report.method("without --events nobody looks whether attacks are evented");
        }
        let scene = Scene {
            origin: origin.address()?,
            open: subject.destination(0).to_owned(),
            tls: self.tls_destination.clone(),
            limited: self.limited_destination.clone().zip(self.upload_limit),
            metadata: None,
            strangers: strangers(&subject, [("revoked", revoked), ("expired", expired)]),
            journal: self.events.clone().map(Journal::open).transpose()?,
            fingerprint: self.aim.certificate().map(read_fingerprint).transpose()?,
            watch: Arc::new(Watch::default()),
            subject,
        };
        Ok((scene, origin))
    }
}

/// Who has to fail in the handshake: whoever has no certificate, and whoever has one of these.
fn strangers<const N: usize>(
    subject: &Subject,
    certificates: [(&'static str, Option<Arc<ClientConfig>>); N],
) -> Vec<(&'static str, Subject)> {
    let named = certificates.into_iter().filter_map(|(name, tls)| Some((name, subject.as_device(tls?))));
    std::iter::once(("no", subject.anonymous())).chain(named).collect()
}

fn read_fingerprint(certificate: &std::path::Path) -> anyhow::Result<String> {
    let pem = std::fs::read(certificate).with_context(|| certificate.display().to_string())?;
    fingerprint(&CertificateDer::from_pem_slice(&pem)?)
}
