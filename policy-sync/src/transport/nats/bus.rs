//! One connection to the servers, and the knowledge of when it was lost.
//!
//! It reconnects by itself, to any server of the cluster, for ever. Certificates are read anew whenever it connects.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use super::{NatsFault, NatsOptions};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is still there; two answers missing end the connection.
const PING: Duration = Duration::from_secs(2);
/// How many messages wait for a subscriber before the connection counts as too slow for it.
const WAITING_MESSAGES: usize = 4096;
/// How many commands wait for the connection.
const WAITING_COMMANDS: usize = 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    client: Client,
    breaks: watch::Receiver<u64>,
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// [`NatsFault`] when a file cannot be read, or no server lets us in.
    pub(super) async fn connect(options: &NatsOptions, inbox: &str) -> Result<Self, NatsFault> {
        let (tell, breaks) = watch::channel(0);
        let mut connect = ConnectOptions::new()
            .name("portcullis")
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .subscription_capacity(WAITING_MESSAGES)
            .client_capacity(WAITING_COMMANDS)
            .custom_inbox_prefix(inbox)
            .event_callback(move |event| {
                note(&tell, &event);
                std::future::ready(())
            });
        if options.servers.is_empty() {
            return Err(NatsFault::Options("no server is named".into()));
        }
        if let Some(ca) = &options.ca {
            connect = connect.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &options.identity {
            connect = connect.add_client_certificate(certificate.clone(), key.clone());
        }
        if let Some(file) = &options.credentials {
            connect = connect
                .credentials_file(file)
                .await
                .map_err(|fault| NatsFault::Options(format!("{}: {fault}", file.display())))?;
        }
        let client = connect
            .connect(options.servers.as_slice())
            .await
            .map_err(|fault| NatsFault::Unreachable(with_causes(&fault)))?;
        Ok(Self { client, breaks })
    }

    /// The connection itself.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Counts how often it was lost, or lost messages.
    pub(super) fn breaks(&self) -> watch::Receiver<u64> {
        self.breaks.clone()
    }
}

fn note(tell: &watch::Sender<u64>, event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        // Messages that found no room are gone: whoever follows has to start over, as after a lost connection.
        Event::Disconnected | Event::SlowConsumer(_) | Event::Closed => {
            tracing::warn!(%event, "the connection to NATS is not whole");
            tell.send_modify(|count| *count += 1);
        }
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(%event, "trouble with NATS"),
        Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS is about to go"),
    }
}

/// A fault and what brought it about, in one clause.
pub(super) fn with_causes(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
