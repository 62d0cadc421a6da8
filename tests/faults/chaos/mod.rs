//! F72: everything at once. One host, a dozen plugins, many callers, and somebody who kills, stops, edits and restarts at
//! random; at the end every promise is checked. `WHARF_CHAOS_SEED` repeats a run's choices, `WHARF_CHAOS_SECONDS` makes
//! it longer.

mod acts;
mod cast;
mod check;
mod load;
pub(crate) mod seed;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::sync::watch;

use self::check::Size;
use self::load::Told;
use self::seed::Seed;
use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::{TestHost, eventually};

/// Callers at once.
const CALLERS: usize = 12;

/// How many descriptors the host may have more at the end than before the chaos, with no client connected either time.
/// A run launches each plugin several times and answers thousands of calls, so what leaks with either is far beyond.
const DESCRIPTORS: usize = 16;

/// How much more memory the host may have at the end than after a quarter of the run, when its queues, logs and caches
/// have their size. A run of a minute answers about ten thousand calls: what leaks 4 KiB with each is found, and the
/// allocator's own slack of a debug build stays below.
const MEMORY: u64 = 32 << 20;

/// Fault: all of the above, at random, under load. Expected: every call ends exactly once and runs at most once; what is
/// said not to have been delivered did not run; afterwards everybody is ready again, the host is no larger, and nothing
/// is left when it has ended: no process (and with it no namespace), file, socket, mount or control group.
#[tokio::test]
async fn f72_chaos() {
    let time = Seed::time(60);
    let number = Seed::of_environment();
    eprintln!("WHARF_CHAOS_SEED={number} WHARF_CHAOS_SECONDS={}", time.as_secs());
    let mut case = Case::heavy("F72", Kind::Process, "chaos").await;
    let mut log = acts::Log::new(number);
    let setup = Setup::new();
    let scratch = setup.scratch("");
    let tmp = setup.scratch("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let cast = cast::all(&setup);
    let ids: Vec<_> = cast.iter().map(|actor| actor.id).collect();
    let setup = cast.iter().fold(setup, |setup, actor| setup.plugin(actor.id, &actor.manifest(0)));
    let mut host = setup.env("TMPDIR", tmp.to_str().unwrap()).start().await;
    case.under(&host).await;
    all_ready(&host, &ids, false).await;
    let before = Size::of(host.pid());
    let launches = launches_of(&host, &ids).await;

    let seed = Seed::new(number);
    let (stop, go) = watch::channel(true);
    let timer = async {
        tokio::time::sleep(time / 4).await;
        let warm = Size::of(host.pid());
        tokio::time::sleep(time * 3 / 4).await;
        stop.send_replace(false);
        warm
    };
    let callers = (0..CALLERS).map(|n| load::caller(&host, &ids, n, seed.branch(n as u64 + 1), go.clone()));
    let acting = acts::act(&host, &cast, seed.clone(), go.clone(), &mut log);
    let (warm, records, ()) = tokio::join!(timer, join_all(callers), acting);
    let records: Vec<_> = records.into_iter().flatten().collect();

    let recovering = Instant::now();
    all_ready(&host, &ids, true).await;
    case.time("all ready after", recovering.elapsed());
    let after = settled(&host, before).await;
    figures(&mut case, &records, [before, warm, after]);
    case.figure("seed", number);
    case.figure("actions", log.len());
    let total = launches_of(&host, &ids).await;
    case.figure("launches of those that stayed", total.saturating_sub(launches));
    assert!(after.descriptors <= before.descriptors + DESCRIPTORS, "{before:?} before, {after:?} after");
    assert!(after.rss < warm.rss + MEMORY, "{warm:?} warm, {after:?} after");

    let (pid, home, state) = (host.pid(), host.home().to_owned(), host.state());
    let ending = Instant::now();
    assert!(host.end(Signal::SIGTERM).success(), "a host that is asked to end exits with 0");
    case.time("ended after", ending.elapsed());
    check::calls(&records, &check::ran(&scratch, &ids));
    check::state(&state);
    check::kernel(&home, pid);
    let temporary: Vec<_> = std::fs::read_dir(&tmp).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(temporary.is_empty(), "left in TMPDIR: {temporary:?}");
    // That no process is left is what dropping the host shows.
    drop(host);
    case.figure("leftovers", 0);
    drop(log);
}

fn figures(case: &mut Case, records: &[load::Record], sizes: [Size; 3]) {
    let count = |fits: fn(&Told) -> bool| records.iter().filter(|record| fits(&record.told)).count();
    case.figure("calls", records.len());
    case.figure("answered", count(|told| *told == Told::Answered));
    case.figure("refused", count(|told| matches!(told, Told::Failed { undelivered: true, .. })));
    case.figure("failed", count(|told| matches!(told, Told::Failed { undelivered: false, .. })));
    case.figure("callers who left", count(|told| *told == Told::Left));
    let mut codes = BTreeMap::<&str, usize>::new();
    for record in records {
        if let Told::Failed { code, .. } = &record.told {
            *codes.entry(code).or_default() += 1;
        }
    }
    let codes: Vec<_> = codes.iter().map(|(code, n)| format!("{n} {code}")).collect();
    case.figure("of these", codes.join(" + "));
    let all =
        |of: fn(&Size) -> u64| sizes.iter().map(of).map(|n| n.to_string()).collect::<Vec<_>>().join("/");
    case.figure("MiB before/warm/after", all(|size| size.rss >> 20));
    case.figure("descriptors", all(|size| size.descriptors as u64));
    case.figure("threads", all(|size| size.threads as u64));
}

/// Waits until all are ready; with `asked`, an operator starts what one has stopped or switched off.
async fn all_ready(host: &TestHost, ids: &[&str], asked: bool) {
    for id in ids {
        if asked {
            eventually(&format!("{id} to be there"), async || {
                let answer = host.post(&format!("/api/v1/plugins/{id}/enable"), &serde_json::json!({})).await;
                if answer.status == 202 { Ok(()) } else { Err(answer.text()) }
            })
            .await;
        }
        host.until_state(id, "ready").await;
    }
}

/// The generations of all first instances, together.
async fn launches_of(host: &TestHost, ids: &[&str]) -> u64 {
    let mut all = 0;
    for id in ids {
        all += host.plugin(id).await["instances"][0]["generation"].as_u64().unwrap_or_default();
    }
    all
}

/// The host's size once the connections of the load are closed; its own threads may take some seconds to expire.
async fn settled(host: &TestHost, before: Size) -> Size {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let now = Size::of(host.pid());
        if now.descriptors <= before.descriptors + 2 || Instant::now() > end {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
