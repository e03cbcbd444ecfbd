//! `portcullis revoke --control`: withdrawing authority through a control plane, and lifting what was withdrawn.
//!
//! The control plane signs, writes down, and waits for its gateways; what they have done is the receipt.

use std::time::Duration;

use http::Method;
use policy_sync::Target;
use policy_sync::control::api::views::{RevokeBody, RevokedView, WrittenView};

use super::control_client::ControlClient;
use super::exit::{Exit, Failure, Outcome};
use super::print::bytes;
use super::{Printer, Table};

/// How much longer than it was asked to wait a control plane may take.
const MARGIN: Duration = Duration::from_secs(15);

/// Revokes, and prints the receipt. With `require_all`, gateways that have not said that they enforce it are a failure.
pub(crate) fn revoke(
    client: &ControlClient,
    target: &Target,
    reason: &str,
    wait: Duration,
    require_all: bool,
    printer: &Printer,
) -> Outcome {
    let body = RevokeBody::new(target, reason.to_owned());
    let body = serde_json::to_vec(&body).map_err(Failure::new)?;
    let path = format!("/api/v1/revoke?wait_ms={}", wait.as_millis());
    let answer = client.tell(Method::POST, &path, Some(body), wait + MARGIN)?;
    let revoked: RevokedView = answer.data()?;
    printer.data(&revoked, |revoked| receipt(target, revoked))?;
    if !revoked.pending.is_empty() {
        printer
            .note("pending gateways enforce it as soon as they are heard of again; until then they may not");
    }
    Ok(if require_all && !revoked.pending.is_empty() { Exit::Failed } else { Exit::Done })
}

/// Lifts the revocation of this sequence.
pub(crate) fn lift(client: &ControlClient, sequence: u64, printer: &Printer) -> Outcome {
    let path = format!("/api/v1/revocations/{sequence}");
    let written: WrittenView = client.tell(Method::DELETE, &path, None, MARGIN)?.data()?;
    printer.data(&written, |written| {
        let mut table = Table::default();
        table.row([&"lifted", &sequence]);
        table.row([&"sequence", &written.sequence]);
        table
    })?;
    Ok(Exit::Done)
}

fn receipt(target: &Target, revoked: &RevokedView) -> Table {
    let mut table = Table::default();
    table.row([&"revoked", target]);
    table.row([&"revocation", &revoked.revocation]);
    let repeated = if revoked.repeated { " (was in force already)" } else { "" };
    table.row([&"sequence", &format_args!("{}{repeated}", revoked.sequence)]);
    for applied in &revoked.applied {
        let did = format!(
            "{} sessions cut after {:.1} ms, {} uploaded by them",
            applied.sessions_cut,
            applied.latency_ms,
            bytes(applied.upload_bytes)
        );
        table.row([&format_args!("applied by {}", applied.gateway), &did]);
    }
    for pending in &revoked.pending {
        table.row([&format_args!("pending at {pending}"), &"it has not said so yet"]);
    }
    if revoked.applied.is_empty() && revoked.pending.is_empty() {
        table.row([&"gateways", &"none is known"]);
    }
    table
}
