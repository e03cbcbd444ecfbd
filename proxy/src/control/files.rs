//! What do the settings of a control plane name, and can it be used?
//!
//! Starting and reloading read the same files by the same code: what would not start is not put in force either. The first
//! fault names the setting and the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use certs::{
    CrlIssuers, Document, GatewayTrust, IdentityRule, ServerCertificate, Strangers, TrustDomain,
    TrustSettings,
};
use config::settings::{ControlSettings, IdentityField, KeyFile, OidcSettings};
use config::{ApiToken, Source};
use policy_sync::control::jwks::Jwks;
use policy_sync::control::oidc::{Oidc, OidcRules};
use policy_sync::control::tokens::Tokens;
use policy_sync::{KeyId, KeyRing, SigningKey};

/// What is read at the start, and again by every reload.
pub(super) struct Files {
    pub(super) ring: KeyRing,
    pub(super) tokens: Tokens,
    pub(super) oidc: Option<Oidc>,
    pub(super) certificate: ServerCertificate,
    pub(super) crl_issuers: CrlIssuers,
    /// Present exactly where gateways connect.
    pub(super) gateways: Option<GatewayTrust>,
    /// Present exactly where agents connect.
    pub(super) devices: Option<TrustSettings>,
}

impl Files {
    /// Reads all of them.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(super) fn read(settings: &ControlSettings) -> anyhow::Result<Self> {
        let (gateways, agents) = (settings.listen.gateways.is_some(), settings.listen.agents.is_some());
        Ok(Self {
            ring: ring(&settings.keys.ring)?,
            tokens: tokens(&settings.api.tokens)?,
            oidc: settings.oidc.as_ref().map(oidc).transpose().context("oidc")?,
            certificate: ServerCertificate::load(&settings.tls.certificate, &settings.tls.key)
                .context("tls.certificate")?,
            crl_issuers: crl_issuers(settings)?,
            gateways: gateways.then(|| gateway_trust(settings)).transpose()?,
            devices: agents.then(|| device_trust(settings)).transpose()?,
        })
    }
}

/// The private key of a setting.
///
/// # Errors
/// When it cannot be read, or others could read it too.
pub(super) fn signing_key(setting: &'static str, key: &KeyFile) -> anyhow::Result<SigningKey> {
    let id = KeyId::new(&key.id).with_context(|| format!("{setting}_id: {} is no name of a key", key.id))?;
    SigningKey::read(id, &key.path).context(setting)
}

fn ring(path: &Path) -> anyhow::Result<KeyRing> {
    let text = std::fs::read_to_string(path).with_context(|| format!("keys.ring {}", path.display()))?;
    Ok(KeyRing::parse(&path.display().to_string(), &text)?)
}

fn tokens(path: &Path) -> anyhow::Result<Tokens> {
    let source = Source::open(path).with_context(|| format!("api.tokens {}", path.display()))?;
    Ok(Tokens::new(ApiToken::read_all(&source)?))
}

fn oidc(settings: &OidcSettings) -> anyhow::Result<Oidc> {
    let OidcSettings { issuer, audience, jwks, ca, algorithms, role_claim, roles, leeway } = settings.clone();
    let keys = Jwks::new(&jwks, ca.as_deref(), &algorithms)?;
    let rules = OidcRules { issuer, audience, role_claim, roles: roles.into_iter().collect(), leeway };
    Ok(Oidc::new(keys, rules))
}

fn gateway_trust(settings: &ControlSettings) -> anyhow::Result<GatewayTrust> {
    Ok(GatewayTrust {
        authorities: documents("trust.gateway_ca", &settings.trust.gateway_ca)?,
        crls: documents("trust.crls", &settings.trust.crls)?,
        domain: trust_domain(settings)?,
    })
}

fn device_trust(settings: &ControlSettings) -> anyhow::Result<TrustSettings> {
    let rule = match settings.trust.identity {
        IdentityField::Spiffe => IdentityRule::Spiffe(trust_domain(settings)?),
        IdentityField::Dns => IdentityRule::Dns,
        IdentityField::CommonName => IdentityRule::CommonName,
    };
    Ok(TrustSettings {
        authorities: documents("trust.device_ca", &settings.trust.device_ca)?,
        crls: documents("trust.crls", &settings.trust.crls)?,
        rule,
        crl_max_entries: settings.trust.crl_max_entries as usize,
    })
}

/// Whose CRLs are taken. Who names the authorities of devices has named everybody whose lists are of use; the authorities of
/// gateways alone are not all there is.
fn crl_issuers(settings: &ControlSettings) -> anyhow::Result<CrlIssuers> {
    let trust = &settings.trust;
    let mut known = documents("trust.device_ca", &trust.device_ca)?;
    known.extend(documents("trust.gateway_ca", &trust.gateway_ca)?);
    let strangers = if trust.device_ca.is_empty() { Strangers::Taken } else { Strangers::Refused };
    CrlIssuers::read(&known, strangers).context("trust.device_ca, trust.gateway_ca")
}

fn trust_domain(settings: &ControlSettings) -> anyhow::Result<TrustDomain> {
    settings.trust.trust_domain.as_str().parse().context("trust.trust_domain")
}

fn documents(setting: &'static str, files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    files.iter().map(|file| Document::read(file)).collect::<Result<_, _>>().context(setting)
}
