//! How is a control plane asked? One HTTPS exchange with its API, bounded, with the caller's token.
//!
//! The token comes from `PORTCULLIS_TOKEN` or a file, never from the command line, where other users of the machine would
//! see it, and goes to nobody whose certificate the named authority has not issued. Never follows a redirect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use policy_sync::control::api::ErrorView;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exit::{During as _, Failure};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 256 << 20;
/// The environment variable with the token.
const TOKEN: &str = "PORTCULLIS_TOKEN";

/// Which control plane, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichControl {
    /// The API of the control plane: `https://HOST[:PORT]`. The token is taken from the variable `PORTCULLIS_TOKEN`.
    #[arg(long = "control", value_name = "URL", id = "control")]
    url: Option<String>,
    /// PEM file of the authority that issued its certificate, instead of those that the system trusts.
    #[arg(long, value_name = "FILE", requires = "control")]
    ca: Option<PathBuf>,
    /// File with the token, instead of the variable.
    #[arg(long, value_name = "FILE", requires = "control")]
    token_file: Option<PathBuf>,
}

/// The API of a control plane.
pub(crate) struct ControlClient {
    authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    token: HeaderValue,
    ca: Option<PathBuf>,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    retry_after: Option<String>,
    body: Bytes,
}

impl WhichControl {
    /// Whether the user has named a control plane.
    pub(crate) fn is_named(&self) -> bool {
        self.url.is_some()
    }

    /// The control plane that was named.
    pub(crate) fn client(&self) -> Result<ControlClient, Failure> {
        let url = self.url.as_deref().ok_or_else(|| {
            Failure::usage("which control plane is not known")
                .help("name it with --control https://HOST:PORT")
        })?;
        let wrong = || Failure::usage(format_args!("{url}: expected https://HOST[:PORT]"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (Some("https"), Some(authority), "" | "/", None) =
            (uri.scheme_str(), authority, uri.path(), uri.query())
        else {
            return Err(wrong());
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(ControlClient {
            name: ServerName::try_from(host.clone()).map_err(|_| wrong())?,
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(443),
            host,
            tls: tls(self.ca.as_deref())?,
            token: self.token()?,
            ca: self.ca.clone(),
        })
    }

    fn token(&self) -> Result<HeaderValue, Failure> {
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|fault| Failure::configuration(format_args!("{}: {fault}", path.display())))?,
            None => std::env::var(TOKEN).map_err(|_| {
                Failure::usage("there is no token to prove who is asking").help(format_args!(
                    "set {TOKEN}, or name a file with --token-file; `portcullis control token` makes tokens"
                ))
            })?,
        };
        let field = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
        let mut field = field.map_err(|_| Failure::usage("the token has characters that no token has"))?;
        field.set_sensitive(true);
        Ok(field)
    }
}

fn tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|fault| Failure::configuration(format_args!("{}: {fault}", path.display())))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.during(path.display())?).during(path.display())?;
            }
            if roots.is_empty() {
                return Err(Failure::configuration(format_args!("{}: no certificate in it", path.display())));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(Failure::new)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl ControlClient {
    /// `GET` of a path that is already encoded.
    pub(crate) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.exchange(Method::GET, path, None, PATIENCE)?.data()
    }

    /// A request that changes something, with a body of JSON if there is one. The answer may take as long as `patience`.
    pub(crate) fn tell(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        self.exchange(method, path, body, patience)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Failure::new)?.block_on(self.exchange_async(method, path, body, patience))
    }

    async fn exchange_async(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let place = format!("the control plane at {}", self.authority);
        let stream = timeout(PATIENCE, self.connect()).await;
        let stream = stream.map_err(|_| Failure::new(format_args!("{place} does not answer")))??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.during(&place)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, &self.token);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(Failure::new)?;
        let answered = timeout(patience, async {
            let (head, body) = sender.send_request(request).await.during(&place)?.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await.during(&place)?.to_bytes();
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Ok(Answer { status: head.status, retry_after: retry_after.map(str::to_owned), body })
        });
        let answer =
            answered.await.map_err(|_| Failure::new(format_args!("{place} does not answer in time")));
        connection.abort();
        answer?
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a command connects to the control plane that its user names"
    )]
    async fn connect(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|fault| {
            Failure::new(format_args!("cannot reach the control plane at {}: {fault}", self.authority))
                .help("is it running, and is this the address of its API?")
        })?;
        // Requests are small and somebody waits.
        let _ = stream.set_nodelay(true);
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(self.name.clone(), stream).await.map_err(|fault| self.untrusted(&fault))
    }

    /// Why TLS failed, and what to do.
    fn untrusted(&self, fault: &std::io::Error) -> Failure {
        let inner = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let place = &self.authority;
        match inner {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                let failure = Failure::new(format_args!(
                    "the certificate of {place} is not issued by an authority that is trusted here"
                ));
                failure.help(match &self.ca {
                    Some(path) => {
                        format!("{} holds another authority; name the right one with --ca", path.display())
                    }
                    None => "name its authority with --ca".to_owned(),
                })
            }
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Failure::new(format_args!("the certificate at {place} is of another name"))
                .help("reach the control plane by a name that its certificate has"),
            Some(fault) => Failure::new(format_args!("TLS with {place}: {fault}")),
            None => Failure::new(format_args!("TLS with {place}: {fault}"))
                .help("is this the address of its API? that of its gateways is another"),
        }
    }
}

impl Answer {
    /// The body as data, if the answer is what was asked for.
    pub(crate) fn data<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.refused()?;
        serde_json::from_slice(&self.body).during("the control plane's answer")
    }

    /// The failure that the answer is, if it is one.
    pub(crate) fn refused(&self) -> Result<(), Failure> {
        if self.status.is_success() {
            return Ok(());
        }
        let said: Option<ErrorView> = serde_json::from_slice(&self.body).ok();
        let hint = said.as_ref().map_or("no reason was given", |said| said.hint.as_str());
        let field = said.as_ref().and_then(|said| said.field.as_deref()).filter(|field| !field.is_empty());
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        let failure =
            Failure::new(format_args!("the control plane answered {}: {field}{hint}", self.status.as_u16()));
        Err(match self.status {
            StatusCode::UNAUTHORIZED => failure
                .help(format_args!("{TOKEN} or --token-file has to hold a token of this control plane")),
            StatusCode::FORBIDDEN => failure.help("use a token whose owner has that role"),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = self.retry_after.as_deref().unwrap_or("a few");
                failure.help(format_args!("try again in {wait} seconds"))
            }
            _ => failure,
        })
    }
}
