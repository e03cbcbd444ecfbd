//! What does a comparison consist of? Its scenarios, how each is told to load, and the rows that they become in the table.

use serde::{Deserialize, Serialize};

use crate::subject::Protocol;

/// Tunnels on one connection of HTTP/2.
const STREAMS: usize = 50;

/// A scenario of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Memory of idle tunnels. First, while memory is as it was at the start.
    Idle,
    /// New sessions with full handshakes.
    Connect,
    /// New sessions by resumption.
    Resumed,
    /// Tunnels on shared connections.
    H2,
    /// Bulk, both ways.
    Transfer,
    /// Bulk through tunnels on shared connections.
    TransferH2,
    /// Round trips.
    Latency,
    /// Plain HTTP.
    Http,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Enough for figures.
    Full,
    /// Enough to see that everything works.
    Brief,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The figure, as the scenario calls it.
    pub(crate) figure: &'static str,
    /// What the table calls it.
    pub(crate) label: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// A cost.
    Less,
    /// A rate.
    More,
}

const fn cost(figure: &'static str, label: &'static str) -> Row {
    Row { figure, label, better: Better::Less }
}

const fn rate(figure: &'static str, label: &'static str) -> Row {
    Row { figure, label, better: Better::More }
}

impl What {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 8] = [
        Self::Idle,
        Self::Connect,
        Self::Resumed,
        Self::H2,
        Self::Transfer,
        Self::TransferH2,
        Self::Latency,
        Self::Http,
    ];

    /// What its files are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Resumed => "resumed",
            Self::H2 => "h2",
            Self::Transfer => "transfer",
            Self::TransferH2 => "transfer-h2",
            Self::Latency => "latency",
            Self::Http => "http",
        }
    }

    /// What its picture is called.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Idle => "Memory of an idle tunnel",
            Self::Connect => "A new session with a full mTLS handshake",
            Self::Resumed => "A new session by a resumed handshake",
            Self::H2 => "A tunnel on a shared HTTP/2 connection",
            Self::Transfer => "Bulk through tunnels",
            Self::TransferH2 => "Bulk through tunnels on a shared HTTP/2 connection",
            Self::Latency => "A round trip of 64 bytes",
            Self::Http => "Plain HTTP forwarded",
        }
    }

    /// How much load it is, as options of its scenario.
    pub(crate) fn options(self, pace: Pace) -> &'static str {
        match (self, pace) {
            (Self::Idle, Pace::Full) => "--tunnels 5000",
            (Self::Idle, Pace::Brief) => "--tunnels 20 --bytes 1024 --settle 0",
            (Self::Connect | Self::Resumed, Pace::Full) => "--sessions 1000 --rounds 5",
            (Self::H2, Pace::Full) => "--sessions 2000 --rounds 5",
            (Self::Connect | Self::Resumed | Self::H2, Pace::Brief) => "--sessions 20 --clients 2 --rounds 1",
            (Self::Transfer | Self::TransferH2, Pace::Full) => "--mib 512 --rounds 5",
            (Self::Transfer | Self::TransferH2, Pace::Brief) => "--mib 4 --rounds 1",
            (Self::Latency, Pace::Full) => "--tunnels 100 --rounds 5",
            (Self::Latency, Pace::Brief) => "--tunnels 2 --messages 5 --trips 10 --rounds 1",
            (Self::Http, Pace::Full) => "--clients 16 --rounds 5",
            (Self::Http, Pace::Brief) => "--clients 2 --requests 10 --due 5 --rounds 1",
        }
    }

    /// What tunnels are asked for in.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::H2 | Self::TransferH2 => Protocol::H2 { streams: STREAMS },
            Self::Idle | Self::Connect | Self::Resumed | Self::Transfer | Self::Latency | Self::Http => {
                Protocol::H1
            }
        }
    }

    /// Its rows.
    pub(crate) fn rows(self) -> &'static [Row] {
        match self {
            Self::Idle => IDLE,
            Self::Connect => CONNECT,
            Self::Resumed => RESUMED,
            Self::H2 => H2,
            Self::Transfer => TRANSFER,
            Self::TransferH2 => TRANSFER_H2,
            Self::Latency => LATENCY,
            Self::Http => HTTP,
        }
    }
}

const IDLE: &[Row] = &[
    cost("resident per tunnel, before use", "idle tunnel, resident memory, before use"),
    cost("resident per tunnel, after use", "idle tunnel, resident memory, after use"),
];
const CONNECT: &[Row] =
    &[cost("proxy processor time per session", "full handshake and CONNECT, processor time")];
const RESUMED: &[Row] =
    &[cost("proxy processor time per session", "resumed handshake and CONNECT, processor time")];
const H2: &[Row] = &[cost("proxy processor time per session", "CONNECT on shared HTTP/2, processor time")];
const TRANSFER: &[Row] = &[
    cost("upload, proxy processor time per GiB", "upload of a GiB, processor time"),
    cost("download, proxy processor time per GiB", "download of a GiB, processor time"),
    rate("upload, throughput", "upload, throughput"),
    rate("download, throughput", "download, throughput"),
];
const TRANSFER_H2: &[Row] = &[
    cost("upload, proxy processor time per GiB", "upload of a GiB over HTTP/2, processor time"),
    cost("download, proxy processor time per GiB", "download of a GiB over HTTP/2, processor time"),
];
const LATENCY: &[Row] = &[
    cost("flat out, proxy processor time of a round trip", "round trip of 64 bytes, processor time"),
    cost("open loop, round trip, p50", "round trip over 100 tunnels, open loop, p50"),
    cost("open loop, round trip, p99", "round trip over 100 tunnels, open loop, p99"),
];
const HTTP: &[Row] = &[
    cost("flat out, proxy processor time per 1,000 requests", "1,000 plain-HTTP requests, processor time"),
    cost("open loop, request, p50", "plain-HTTP request, open loop, p50"),
    cost("open loop, request, p99", "plain-HTTP request, open loop, p99"),
];
