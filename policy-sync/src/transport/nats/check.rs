//! Whether the servers are fit to keep the log.
//!
//! A client sees the version, the largest message and whether there is JetStream. Whether every write is synced to the disk
//! before it is answered for, the server tells only its system account and its monitoring address: by default it syncs
//! every two minutes, and a machine that loses power then loses what was acknowledged. So it is asked there.

use std::time::Duration;

use async_nats::{Client, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::NatsFault;

/// The largest record has to fit.
const PAYLOAD: usize = 8 << 20;
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(2);
/// The largest answer of a monitoring address, in bytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// What a server of the system account is asked.
const PING: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// Whether the servers were seen to sync every write before they answer for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// All that could be asked do.
    Verified,
    /// None could be asked.
    Unverified,
}

/// Checks the server at the other end of the connection, and what the others say of themselves.
pub(super) async fn server(client: &Client, monitoring: &[String]) -> Result<Durability, NatsFault> {
    let info = client.server_info();
    let name = if info.server_name.is_empty() { info.host } else { info.server_name };
    let unfit = |trouble: String| Err(NatsFault::Unfit(format!("{name} {trouble}")));
    if !client.is_server_compatible(2, 12, 0) {
        return unfit(format!("is version {}, and 2.12 or later is needed", info.version));
    }
    if !info.jetstream {
        return unfit("does not have JetStream switched on".into());
    }
    if info.max_payload < PAYLOAD {
        return unfit(format!("takes {} bytes at most; set `max_payload` to {PAYLOAD}", info.max_payload));
    }
    durability(client, monitoring).await
}

async fn durability(client: &Client, monitoring: &[String]) -> Result<Durability, NatsFault> {
    let mut servers = system(client).await;
    for address in monitoring {
        servers.push(varz(address).await.map_err(|fault| NatsFault::Unfit(format!("{address}: {fault}")))?);
    }
    for server in &servers {
        let config = server.jetstream.as_ref().and_then(|jetstream| jetstream.config.as_ref());
        if !config.is_some_and(|config| config.sync_always) {
            let trouble =
                "does not sync every write to the disk; set `sync_interval: always` in its `jetstream`";
            return Err(NatsFault::Unfit(format!("{} {trouble}", server.server_name)));
        }
    }
    if servers.is_empty() {
        tracing::warn!(
            "nobody says whether the NATS servers sync every write: name their monitoring addresses, or see to `sync_interval: always` yourself; without it, a power failure may undo revocations"
        );
        return Ok(Durability::Unverified);
    }
    Ok(Durability::Verified)
}

/// What a server says about itself, as far as it matters.
#[derive(Debug, Deserialize)]
struct Varz {
    #[serde(default)]
    server_name: String,
    jetstream: Option<Jetstream>,
}

#[derive(Debug, Deserialize)]
struct Jetstream {
    config: Option<Config>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
}

#[derive(Debug, Deserialize)]
struct Pong {
    data: Varz,
}

/// What all servers say to their system account; nothing when we are not allowed to ask.
async fn system(client: &Client) -> Vec<Varz> {
    let inbox = client.new_inbox();
    let mut servers = Vec::new();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return servers };
    if client.publish_with_reply(PING, inbox, Bytes::new()).await.is_err() {
        return servers;
    }
    // How many servers there are is not known: the last one is followed by silence.
    while let Ok(Some(answer)) = tokio::time::timeout(WAIT / 4, answers.next()).await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            break;
        }
        servers.extend(serde_json::from_slice::<Pong>(&answer.payload).map(|pong| pong.data));
    }
    servers
}

/// What one server says at its monitoring address.
async fn varz(address: &str) -> Result<Varz, String> {
    let asked = tokio::time::timeout(WAIT, fetch(address)).await;
    let body = asked.map_err(|_| "no answer".to_owned())??;
    serde_json::from_slice(&body).map_err(|fault| fault.to_string())
}

async fn fetch(address: &str) -> Result<Bytes, String> {
    let host = address.strip_prefix("http://").ok_or("only http:// is spoken at a monitoring address")?;
    let host = host.trim_end_matches('/');
    #[expect(
        clippy::disallowed_methods,
        reason = "an address of the settings, and no destination of a session"
    )]
    let socket = tokio::net::TcpStream::connect(host).await.map_err(|fault| fault.to_string())?;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|fault| fault.to_string())?;
    let request = http::Request::get("/varz")
        .header(http::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|fault| fault.to_string())?;
    let exchange = async {
        let answer = send.send_request(request).await.map_err(|fault| fault.to_string())?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        body.map(|body| body.to_bytes()).map_err(|fault| fault.to_string())
    };
    tokio::select! {
        biased;
        body = exchange => body,
        _ = connection => Err("the connection was closed".into()),
    }
}
