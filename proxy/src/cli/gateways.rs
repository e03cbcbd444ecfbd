//! `portcullis gateways`: who follows a control plane, and how far?

use std::time::Duration;

use http::Method;
use policy_sync::control::api::views::{GatewayView, GatewaysView};

use super::control_client::WhichControl;
use super::exit::{Exit, Outcome};
use super::running::encode;
use super::{Printer, Table, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    control: WhichControl,
    /// Forget this gateway, which will not come back, so that nobody waits for it any more.
    #[arg(long, value_name = "NAME")]
    forget: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let client = arguments.control.client()?;
    if let Some(name) = &arguments.forget {
        let path = format!("/api/v1/gateways/{}", encode(name));
        client.tell(Method::DELETE, &path, None, Duration::from_secs(10))?.refused()?;
        printer.note(format_args!("{name} is forgotten"));
        return Ok(Exit::Done);
    }
    let view: GatewaysView = client.ask("/api/v1/gateways")?;
    printer.data(&view.gateways, |gateways| table(gateways))?;
    Ok(Exit::Done)
}

fn table(gateways: &[GatewayView]) -> Table {
    let mut table = Table::new([
        "GATEWAY",
        "STATE",
        "VERSION",
        "SEQUENCE",
        "BEHIND",
        "SESSIONS",
        "POLICY AGE",
        "LAST HEARD OF",
    ])
    .or_say("no gateway has ever reported");
    for gateway in gateways {
        let age = gateway.age_ms.map(|age| duration::display(Duration::from_millis(age)).to_string());
        table.row([
            &gateway.name,
            &if gateway.connected { "connected" } else { "away" },
            &gateway.version,
            &gateway.sequence,
            &gateway.behind,
            &gateway.sessions,
            &age.as_deref().unwrap_or("-"),
            &gateway.last_report.as_deref().unwrap_or("-"),
        ]);
    }
    table
}
