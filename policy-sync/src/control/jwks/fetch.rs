//! One GET of an issuer's keys over HTTPS.
//!
//! The address comes from the settings, never from a token or an answer. Bounded in time and size; no redirect is followed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::JwksSettingsFault;

const DEADLINE: Duration = Duration::from_secs(5);
const LARGEST_SET: usize = 256 << 10;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// It took too long.
    #[error("no answer within {DEADLINE:?}")]
    Deadline,
    /// The connection or TLS failed.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// HTTP failed.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The answer is not 200.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The answer is too large, or broke off.
    #[error("the answer cannot be read: {0}")]
    Body(String),
}

/// Where keys are fetched from.
pub(super) struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl Endpoint {
    pub(super) fn new(place: &str, ca: Option<&Path>) -> Result<Self, JwksSettingsFault> {
        let fault = || JwksSettingsFault::Place(place.chars().take(256).collect());
        let uri: Uri = place.parse().map_err(|_| fault())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (Some("https"), Some(authority)) = (uri.scheme_str(), authority) else { return Err(fault()) };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let name = ServerName::try_from(host.clone()).map_err(|_| fault())?;
        Ok(Self { host, port, name, tls: client_config(ca)?, uri })
    }

    /// Fetches once.
    pub(super) async fn get(&self) -> Result<Bytes, FetchFault> {
        tokio::time::timeout(DEADLINE, self.exchange()).await.map_err(|_| FetchFault::Deadline)?
    }

    async fn exchange(&self) -> Result<Bytes, FetchFault> {
        #[expect(clippy::disallowed_methods, reason = "an issuer named in the settings, not a destination")]
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(self.uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|fault| FetchFault::Body(fault.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchFault::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), LARGEST_SET).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|fault| FetchFault::Body(fault.to_string()))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answered = &mut answer => answered,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(fault) => Err(fault.into()),
            },
        }
    }
}

fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, JwksSettingsFault> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let fault =
                |why: &dyn fmt::Display| JwksSettingsFault::Authorities(format!("{}: {why}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|why| fault(&why))? {
                roots.add(certificate.map_err(|why| fault(&why))?).map_err(|why| fault(&why))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let place = ca.map_or("the system has".into(), |path| format!("{}: there is", path.display()));
        return Err(JwksSettingsFault::Authorities(format!("{place} no certificate of an authority")));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|fault| JwksSettingsFault::Authorities(fault.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
