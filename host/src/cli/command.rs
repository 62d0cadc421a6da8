//! `wharf start|stop|restart|drain|enable|disable P`, `wharf scale P N`: asks for it and waits until it is done.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::client::{ANSWER, Client, parse};
use super::exit::{Complaint, Exit};
use super::out;

/// Between two looks at the operation.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The plugin
    plugin: String,
    /// Ask for it and return at once
    #[arg(long)]
    no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ScaleArgs {
    #[command(flatten)]
    common: Args,
    /// How many replicas it is to have, 1 to 64
    replicas: u32,
}

#[derive(Debug, Deserialize)]
struct Operation {
    id: String,
    status: String,
    detail: Option<String>,
}

pub(super) async fn scale(args: &ScaleArgs, host: &Client) -> Result<(), Complaint> {
    let body = format!(r#"{{"replicas":{}}}"#, args.replicas);
    ask("scale", &args.common, Some(body.into_bytes()), host).await
}

pub(super) async fn run(action: &str, args: &Args, host: &Client) -> Result<(), Complaint> {
    ask(action, args, None, host).await
}

async fn ask(action: &str, args: &Args, body: Option<Vec<u8>>, host: &Client) -> Result<(), Complaint> {
    let until = Instant::now() + args.timeout;
    let mut body =
        host.post(host.path(&["api", "v1", "plugins", &args.plugin, action]), body, Some(ANSWER)).await?;
    let mut operation: Operation = parse(&body)?;
    while operation.status == "running" && !args.no_wait {
        if Instant::now() >= until {
            let what = format!(
                "{action} {} is not done within {}",
                args.plugin,
                humantime::format_duration(args.timeout)
            );
            let remedy = format!("it goes on; `wharf status {}` shows how", args.plugin);
            return Err(Complaint::new(Exit::Timeout, what).remedy(remedy));
        }
        sleep(LOOK).await;
        body = host.get_bytes(host.path(&["api", "v1", "operations", &operation.id])).await?;
        operation = parse(&body)?;
    }
    if args.json {
        out::line(&String::from_utf8_lossy(&body))?;
    }
    let detail = operation.detail.unwrap_or_default();
    if operation.status == "failed" {
        return Err(Complaint::new(Exit::Failure, format!("{action} {} failed", args.plugin)).detail(detail));
    }
    if !args.json {
        let sep = if detail.is_empty() { "" } else { ": " };
        out::note(&out::harmless(&format!("{action} {} {}{sep}{detail}", args.plugin, operation.status)));
    }
    Ok(())
}
