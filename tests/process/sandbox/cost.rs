//! What the sandbox costs at each start: a measurement, run by its name with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use wharf_core::manifest::{Sandbox, Seccomp, Tcp};

use super::{Ground, files, off};
use crate::harness::within;

const STARTS: usize = 200;

#[tokio::test]
#[ignore = "a measurement"]
async fn starts() {
    let ground = Ground::new().await;
    let tcp = Some(Tcp { connect: vec![443], bind: Vec::new() });
    let kinds = [
        ("without", Sandbox { no_new_privs: false, ..off() }),
        ("seccomp = default", Sandbox::default()),
        ("seccomp = strict", Sandbox { seccomp: Seccomp::Strict, ..Sandbox::default() }),
        ("fs", files()),
        ("fs, tcp, seccomp = strict", Sandbox { seccomp: Seccomp::Strict, tcp, ..files() }),
    ];
    let mut taken: Vec<Vec<Duration>> = vec![Vec::new(); kinds.len()];
    // In turns: what else the machine does meets all of them.
    for _ in 0..STARTS {
        for ((_, sandbox), taken) in kinds.iter().zip(&mut taken) {
            let launch = ground.launch("/bin/true", &[], sandbox.clone());
            let begin = Instant::now();
            let process = ground.world.spawn(launch).await.unwrap();
            taken.push(begin.elapsed());
            within(process.handle.gone()).await;
        }
    }
    for ((name, _), mut taken) in kinds.into_iter().zip(taken) {
        taken.sort();
        println!("{name}: median {:?}, 9 of 10 below {:?}", taken[STARTS / 2], taken[STARTS * 9 / 10]);
    }
}
