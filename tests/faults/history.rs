//! The history of all calls under random deaths, of replicas and of the host itself: what was told to the callers, against
//! what ran. The mock appends each run to a file that outlives it.
//!
//! `WHARF_CHAOS_SEED` repeats a run's choices, `WHARF_CHAOS_SECONDS` makes it longer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::chaos::seed::Seed;
use crate::support::host::Setup;
use crate::support::procs::kill9;
use crate::support::{Manifest, TestHost, mock};

/// How long the deaths go on, in seconds, if nothing else is said.
const SECONDS: u64 = 20;
/// Callers of each plugin.
const CALLERS: usize = 3;
/// Its calls must not run twice; every call has a key, and is sent again with it when the host was lost.
const ONCE: &str = "once";
/// Its calls only read, and it is trusted.
const OFTEN: &str = "often";

/// Where the host listens, and the way in. `None`: the callers are to end.
type Door = Option<(String, String)>;

/// What a caller was told of a call in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Answered,
    /// It may have run.
    Unknown,
    /// It did not run.
    NotRun,
    /// The host was lost.
    Lost,
}

fn manifest(setup: &Setup, id: &str) -> Manifest {
    let mock = mock().arg("--ledger").path(&setup.scratch(id));
    let mock = mock.set("replicas", 2).set("restart.quarantine_crashes", 1000);
    mock.set("retry.trust_hints", id == OFTEN)
}

/// Kills replicas and, now and then, the host, and starts that again on the same state. Of the plugin that only reads one
/// replica is always left.
async fn kills(host: &mut TestHost, doors: &watch::Sender<Door>, mut seed: Seed) -> (usize, usize) {
    let (mut hosts, mut replicas) = (0, 0);
    let (begun, time) = (Instant::now(), Seed::time(SECONDS));
    for n in 1.. {
        if begun.elapsed() > time {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300 + seed.below(600))).await;
        if n % 12 == 0 {
            host.end(Signal::SIGKILL);
            host.again();
            doors.send_replace(Some((host.base.clone(), host.token.clone())));
            hosts += 1;
            continue;
        }
        let id = *seed.pick(&[ONCE, OFTEN]);
        let view = host.plugin(id).await;
        let instances = view["instances"].as_array().cloned().unwrap_or_default();
        let ready =
            instances.iter().filter(|one| one["state"] == "ready").filter_map(|one| one["pid"].as_u64());
        let ready: Vec<u64> = ready.collect();
        if ready.is_empty() || (id == OFTEN && ready.len() < 2) {
            continue;
        }
        kill9(u32::try_from(*seed.pick(&ready)).expect("a pid"));
        replicas += 1;
    }
    (replicas, hosts)
}

/// Calls one plugin until there is no door any more; each call with an id of its own.
async fn calls(id: &str, n: usize, doors: watch::Receiver<Door>, mut seed: Seed) -> Vec<(String, Told)> {
    let http = Client::builder().no_proxy().build().expect("a client");
    let (mut told, mut sent) = (Vec::new(), 0);
    while doors.borrow().is_some() {
        sent += 1;
        let key = format!("{id}-{n}-{sent}");
        let arguments = json!({ "ms": seed.below(40), "key": key });
        if let Some(outcome) = call(&http, id, &key, &arguments, &doors).await {
            told.push((key, outcome));
        }
    }
    told
}

/// One call. With a key it is sent again, until the host has said what became of it; `None`: the end came first.
async fn call(
    http: &Client,
    id: &str,
    key: &str,
    arguments: &Value,
    doors: &watch::Receiver<Door>,
) -> Option<Told> {
    let mut was_lost = false;
    for _ in 0..200 {
        let Some((base, token)) = doors.borrow().clone() else { break };
        let path = format!("{base}/api/v1/plugins/{id}/tools/sleep/call");
        let asked = http.post(path).bearer_auth(token).timeout(Duration::from_secs(20));
        let asked = if id == ONCE { asked.header("idempotency-key", key) } else { asked };
        let told = match asked.json(&json!({ "arguments": arguments })).send().await {
            Ok(answer) => read(answer).await,
            Err(error) if error.is_connect() => None,
            Err(_) => Some(Told::Lost),
        };
        match told {
            Some(Told::Lost) => was_lost = true,
            // It says so of this try, not of the one that was lost.
            Some(Told::NotRun) if was_lost => {}
            Some(told) => return Some(told),
            None => {}
        }
        if was_lost && id == OFTEN {
            return Some(Told::Lost);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    was_lost.then_some(Told::Lost)
}

/// What an answer says; `None`: to come back later.
async fn read(answer: reqwest::Response) -> Option<Told> {
    let status = answer.status().as_u16();
    let Ok(body) = answer.json::<Value>().await else { return Some(Told::Lost) };
    match (status, body["code"].as_str(), body["delivery"].as_str()) {
        (200, ..) => Some(Told::Answered),
        (409, Some("idempotency_conflict"), _) => None,
        (_, Some("outcome_unknown"), _) | (_, _, Some("unknown")) => Some(Told::Unknown),
        (_, _, Some("queued" | "not_delivered")) | (503, ..) => Some(Told::NotRun),
        other => panic!("an answer that says nothing of the call's fate: {other:?} {body}"),
    }
}

/// How often each call began.
fn ran(setup: &std::path::Path) -> HashMap<String, usize> {
    let mut all = HashMap::new();
    for line in std::fs::read_to_string(setup).unwrap_or_default().lines() {
        let entry: Value = serde_json::from_str(line).expect("a ledger is lines of JSON");
        if entry["phase"] == "begin" {
            *all.entry(entry["arguments"]["key"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    all
}

/// Under random deaths of replicas and host every call that was answered ran exactly once, every other one at most once, and
/// what is said not to have run did not; what only reads is answered as long as a replica and the host are left.
#[tokio::test]
async fn history_of_calls_under_random_deaths() {
    let number = Seed::of_environment();
    eprintln!("WHARF_CHAOS_SEED={number}");
    let setup = Setup::new();
    let setup = [ONCE, OFTEN].iter().fold(setup, |setup, id| {
        let manifest = manifest(&setup, id);
        setup.plugin(id, &manifest)
    });
    let ledgers = [setup.scratch(ONCE), setup.scratch(OFTEN)];
    let mut host = setup.start().await;
    for id in [ONCE, OFTEN] {
        host.until_state(id, "ready").await;
    }
    let seed = Seed::new(number);
    let (doors, door) = watch::channel(Some((host.base.clone(), host.token.clone())));
    let callers = [ONCE, OFTEN].into_iter().flat_map(|id| (0..CALLERS).map(move |n| (id, n)));
    let callers =
        callers.enumerate().map(|(at, (id, n))| calls(id, n, door.clone(), seed.branch(at as u64 + 1)));
    let killing = async {
        let killed = kills(&mut host, &doors, seed.clone()).await;
        doors.send_replace(None);
        killed
    };
    let (all, (replicas, hosts)) = tokio::join!(join_all(callers), killing);
    assert!(host.end(Signal::SIGTERM).success());

    let [once, often] = ledgers.map(|ledger| ran(&ledger));
    let mut counted = HashMap::<(&str, &str), usize>::new();
    for (key, told) in all.into_iter().flatten() {
        let reads = key.starts_with(OFTEN);
        let runs = if reads { &often } else { &once }.get(&key).copied().unwrap_or_default();
        let fits = match (told, reads) {
            (Told::Answered, false) => runs == 1,
            (Told::Unknown | Told::Lost, false) => runs <= 1,
            (Told::NotRun, false) => runs == 0,
            (Told::Answered, true) => runs >= 1,
            (Told::Lost, true) => true,
            // A replica and the host were left.
            (Told::Unknown | Told::NotRun, true) => false,
        };
        assert!(fits, "{key} was told {told:?} and ran {runs} times (seed {number})");
        let told = match told {
            Told::Answered => "answered",
            Told::Unknown => "unknown",
            Told::NotRun => "not run",
            Told::Lost => "lost with the host",
        };
        *counted.entry((if reads { OFTEN } else { ONCE }, told)).or_default() += 1;
    }
    let again = often.values().filter(|runs| **runs > 1).count();
    eprintln!("{replicas} replicas and {hosts} hosts killed; {counted:?}; {again} that only read ran again");
    assert!(replicas > 5 && hosts > 0 && counted.contains_key(&(ONCE, "unknown")), "too little happened");
}
