//! Measures the binary from the outside, as its users meet it: starts, memory, what it adds to a call, and the way back
//! after a plugin's death. Prints one table and writes `target/bench-host.json`.
//!
//! `cargo bench -p wharf --bench host`, with `-- --quick` for a run of half a minute that only shows that all works.
//! Measures the executable as it is shipped, which it builds first; or the one that `WHARF_BENCH_EXE` names, as an older one
//! to compare with.
//! Without `--bench` (which cargo adds) nothing runs, so that `cargo test --benches` stays fast.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports on the terminal")]
#![allow(clippy::indexing_slicing, reason = "serde_json's index gives null for what is not there")]

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with another benchmark")]
mod common;

mod client;
mod life;
mod load;
mod mcp;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use common::{Outcome, Size, shipped};
use report::Report;

/// The whole takes two minutes; this ends what hangs.
const BUDGET: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|arg| arg == flag);
    if given("--list") || given("--test") || !(given("--bench") || given("--quick")) {
        return ExitCode::SUCCESS;
    }
    let size = if given("--quick") { Size::Quick } else { Size::Full };
    match run(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(size: Size) -> Outcome<()> {
    shipped::build()?;
    let mut report = Report::of_this_machine(size == Size::Quick);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(BUDGET, measure(&mut report, size)).await })??;
    println!("{}", report.table());
    let path = shipped::target().join("bench-host.json");
    report.write(&path)?;
    println!("written to {}", path.display());
    Ok(())
}

async fn measure(report: &mut Report, size: Size) -> Outcome<()> {
    eprintln!("starts ..");
    life::starts(report, size).await?;
    eprintln!("memory ..");
    life::memory(report).await?;
    eprintln!("latency and throughput ..");
    load::measure(report, size).await?;
    eprintln!("/mcp ..");
    mcp::measure(report, size).await?;
    eprintln!("deaths ..");
    life::deaths(report, size).await
}
