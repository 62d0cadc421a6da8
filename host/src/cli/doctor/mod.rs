//! `wharf doctor`: whether this machine and the folder of manifests are as a host needs them. With `--deep` also whether
//! the running host and its plugins do what they say.
//!
//! It is safe on a host that works for others. It changes nothing and drains nothing. Of the tools it calls only those that
//! say of themselves that they only read (`readOnlyHint`), and the one of `health.canary`; every other is looked at in the
//! list. Balance is seen in which instances answer. That a dead instance's calls go to another is shown on a host of its
//! own that lives for a moment, with two mocks of which it kills one ([`drill`]): no instance of the user's is ended for it.

mod arguments;
mod canary;
mod deep;
mod drill;
mod machine;
mod report;
mod spread;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use self::report::Report;
use super::Target;
use super::client::{self, Client};
use super::exit::{Complaint, Exit};
use super::up::LISTEN;

/// The folder of manifests where neither a host nor an option names one.
const FOLDER: &str = "plugins";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also look at the running host: list, check and call tools that only read, see balance and failover
    #[arg(long)]
    deep: bool,
    /// The folder of manifests [default: that of the running host, else ./plugins]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Where a host is to listen
    #[arg(long, value_name = "ADDR", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// How long one call of a tool may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is read of `/api/v1/info`.
#[derive(Debug, Deserialize)]
struct Info {
    version: String,
    /// None for a host within another program that was given none.
    plugins_dir: Option<PathBuf>,
    machine: Machine,
    journal: Journal,
}

#[derive(Debug, Deserialize)]
struct Machine {
    containment: String,
    lacks: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Journal {
    state: String,
    detail: Option<String>,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<(), Complaint> {
    client::run(target, async |host| {
        let report = examine(args, target, host).await?;
        report.show(args.json)?;
        // What is wrong was shown.
        if report.is_good() { Ok(()) } else { Err(Complaint::silent(Exit::Failure)) }
    })
}

async fn examine(args: &Args, target: &Target, host: &Client) -> Result<Report, Complaint> {
    let mut report = Report::default();
    let info: Option<Info> = match host.get(host.path(&["api", "v1", "info"])).await {
        Ok(info) => Some(info),
        Err(complaint) if complaint.exit == Exit::NotRunning && !args.deep => None,
        Err(complaint) => return Err(complaint),
    };
    match &info {
        Some(info) => report.ok("host", "-", format!("version {} answers", info.version)),
        None => report.skipped("host", "-", "none answers; `--deep` needs one"),
    }
    // A host elsewhere is on another machine, whose files are not here.
    if target.url.is_none() {
        machine::examine(args, &target.state()?, info.as_ref(), &mut report).await;
    } else {
        report.skipped("machine", "-", "the host was named by --url: only what it says is looked at");
    }
    if let Some(info) = info.filter(|_| args.deep) {
        deep::examine(args, host, &info, target.url.is_none(), &mut report).await?;
        drill::examine(&mut report).await;
    }
    Ok(report)
}
