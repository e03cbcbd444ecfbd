//! What does a comparison consist of? Its scenarios, how each is told to load, and the rows that they become in the table.

use serde::{Deserialize, Serialize};

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
    pub(crate) const ALL: [Self; 7] =
        [Self::Idle, Self::Connect, Self::Resumed, Self::H2, Self::Transfer, Self::Latency, Self::Http];

    /// What its files are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Resumed => "resumed",
            Self::H2 => "h2",
            Self::Transfer => "transfer",
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
            Self::Latency => "A round trip of 64 bytes",
            Self::Http => "Plain HTTP forwarded",
        }
    }

    /// Its rows.
    pub(crate) fn rows(self) -> &'static [Row] {
        match self {
            Self::Idle => const { &[
                cost("resident per tunnel, before use", "idle tunnel, resident memory, before use"),
                cost("resident per tunnel, after use", "idle tunnel, resident memory, after use"),
            ] },
            Self::Connect => const { &[cost("proxy processor time per session", "full handshake and CONNECT, processor time")] },
            Self::Resumed => const { &[cost("proxy processor time per session", "resumed handshake and CONNECT, processor time")] },
            Self::H2 => const { &[cost("proxy processor time per session", "CONNECT on a shared HTTP/2 connection, processor time")] },
            Self::Transfer => const { &[
                cost("upload, proxy processor time per GiB", "upload of a GiB, processor time"),
                cost("download, proxy processor time per GiB", "download of a GiB, processor time"),
                rate("upload, throughput", "upload, throughput"),
                rate("download, throughput", "download, throughput"),
            ] },
            Self::Latency => &[],
            Self::Http => &[],
        }
    }
}
