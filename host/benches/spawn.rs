//! What it costs to start a process under each level of containment, and what the shim beside it takes:
//! `cargo bench -p wharf --bench spawn` (`WHARF_BENCH_EXE` names another executable, as a release build).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that prints what it measures"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf::process::logs::LogBook;
use wharf::process::{self, Folders, Launch, Level, Machine};
use wharf::tasks::Tasks;
use wharf_core::manifest::{Limits, Sandbox, Stop};

/// Starts per level.
const STARTS: usize = 200;

struct Bench {
    tasks: Tasks,
    dir: tempfile::TempDir,
    machine: Arc<Machine>,
}

#[tokio::main]
async fn main() {
    let exe =
        std::env::var_os("WHARF_BENCH_EXE").map_or_else(|| env!("CARGO_BIN_EXE_wharf").into(), PathBuf::from);
    process::use_executable(&exe).unwrap();
    println!("| level | spawn p50 ms | spawn p99 ms | spawn to gone p50 ms | shim RSS KiB | shim PSS KiB |");
    println!("|---|---|---|---|---|---|");
    for level in Level::ALL {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let machine = Machine::find_out(Some(dir.path()), Some(level), &tasks).await;
        if machine.level() != level {
            println!("| {} | this machine does not have it | | | | |", level.as_str());
            continue;
        }
        let bench = Bench { tasks, dir, machine };
        let (mut spawns, mut lives) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let (spawn, life) = bench.one().await;
            spawns.push(spawn);
            lives.push(life);
        }
        spawns.sort();
        lives.sort();
        let (rss, pss) = bench.shim().await;
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {rss} | {pss} |",
            level.as_str(),
            millis(spawns[STARTS / 2]),
            millis(spawns[STARTS * 99 / 100]),
            millis(lives[STARTS / 2]),
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Bench {
    fn launch(&self, program: &str, args: &[&str]) -> Launch {
        let at = self.dir.path().to_owned();
        Launch {
            program: PathBuf::from(program),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            cwd: at.clone(),
            env: Vec::new(),
            stdin: false,
            stdout: false,
            instance: 0,
            generation: 1,
            stop: Stop::default(),
            limits: Limits::default(),
            sandbox: Sandbox::default(),
            folders: Folders { plugin: at.clone(), bundle: false, data: at.clone() },
            port: None,
            log: Arc::new(LogBook::new(at.join("logs"), "bench", Vec::new())),
        }
    }

    /// From the request until the program is executed, and until nothing of it is left.
    async fn one(&self) -> (Duration, Duration) {
        let launch = self.launch("/bin/true", &[]);
        let began = Instant::now();
        let process = process::spawn(launch, &self.machine, &self.tasks).await.unwrap();
        let spawned = began.elapsed();
        process.handle.gone().await;
        (spawned, began.elapsed())
    }

    /// The memory of an idle shim beside others, KiB.
    async fn shim(&self) -> (u64, u64) {
        let mut all = Vec::new();
        for _ in 0..10 {
            let sleeper = self.launch("/bin/sleep", &["60"]);
            all.push(process::spawn(sleeper, &self.machine, &self.tasks).await.unwrap());
        }
        let handle = &all[0].handle;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", handle.pid())).unwrap();
        let shim: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
        let figures = std::fs::read_to_string(Path::new("/proc").join(shim.to_string()).join("smaps_rollup"));
        let figure = |name: &str| {
            let text = figures.as_ref().unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let found = (figure("Rss:"), figure("Pss:"));
        for process in &all {
            process.handle.kill();
        }
        for process in &all {
            process.handle.gone().await;
        }
        found
    }
}
