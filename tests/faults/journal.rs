//! Faults of the journal: a disk that takes nothing, and a host that is killed while it writes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Case, Kind};
use crate::support::host::{Setup, client};
use crate::support::manifest::mock_on_port;
use crate::support::{Answer, TestHost, eventually, ledger, mock};

const CALL: &str = "/api/v1/plugins/p/tools/count/call";

/// A small file system over a folder, until it is dropped.
struct Small(PathBuf);

impl Small {
    fn over(folder: &Path, size: &str) -> nix::Result<Self> {
        let options = format!("size={size},mode=0700");
        mount(Some("wharf-test"), folder, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(Self(folder.to_owned()))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        for size in [4096, 64, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
        fs::remove_dir(&self.0).ok();
    }
}

async fn durable(host: &TestHost, key: &str) -> Answer {
    let body = json!({ "arguments": { "key": key } });
    Answer::of(host.request(Method::POST, CALL).header("wharf-durable", "true").json(&body)).await
}

async fn journal(host: &TestHost) -> Value {
    host.get("/api/v1/info").await.expect(200)["journal"].take()
}

/// Fault: the disk of the state folder is full: the journal, the logs and the switches cannot be written. Expected: calls
/// are served; those marked durable are refused with 507 and run nothing; it is told, once; and when there is room again all
/// is as before, by itself. (A disk that fails otherwise, with EIO, is tried at the journal itself: `host::tests`, `journal::tests`.)
#[tokio::test]
async fn f65_a_full_disk() {
    let mut case = Case::begin("F65", Kind::Rights, "the disk of the state folder is full");
    let setup = Setup::new();
    let small = match Small::over(&setup.state(), "1m") {
        Ok(small) => small,
        Err(error) => return case.skip(&format!("no file system can be mounted here: {error}")),
    };
    let runs = setup.scratch("ledger");
    let setup = setup.plugin("p", &mock().arg("--ledger").path(&runs)).plugin("other", &mock());
    let mut host = setup.start().await;
    case.under(&host).await;
    host.until_state("p", "ready").await;
    host.until_state("other", "ready").await;
    durable(&host, "before").await.expect(200);
    assert_eq!(journal(&host).await["state"], "ok");

    small.fill();
    let begun = Instant::now();
    let mut served = 0;
    // What was promised to the journal before is used up first.
    while journal(&host).await["state"] == "ok" {
        for _ in 0..50 {
            host.call("p", "echo", json!({ "message": "served" })).await;
            served += 1;
        }
        assert!(served < 20_000, "a full disk is never noticed");
    }
    case.figure("calls until it was noticed", served);
    case.time("noticed after", begun.elapsed());
    let ran = ledger::runs(&runs, "count");
    let refused = durable(&host, "refused").await;
    let problem = refused.problem(507, "not_durable");
    assert_eq!(problem["delivery"], "queued", "{problem}");
    assert!(!refused.header("retry-after").is_empty(), "it says when to come again");
    assert_eq!(ledger::runs(&runs, "count"), ran, "a refused call runs nothing");
    for _ in 0..20 {
        host.call("p", "count", json!({ "key": "served" })).await;
    }
    let view = journal(&host).await;
    assert!(view["detail"].as_str().is_some_and(|detail| detail.contains("make room")), "{view}");
    assert_eq!(host.said().matches("the journal cannot be written").count(), 1, "it is told once");
    let operation = host.command("other", "disable").await;
    assert_eq!(operation["status"], "failed", "a switch that cannot be kept is not thrown: {operation}");
    host.until_state("other", "ready").await;
    small.empty();
    let begun = Instant::now();
    eventually("the journal is written again", async || {
        let view = journal(&host).await;
        if view["state"] == "ok" { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    case.time("recovered after", begun.elapsed());
    let call = durable(&host, "after").await.expect(200);
    let id = call["call_id"].as_str().unwrap().to_owned();
    host.command("other", "disable").await;
    host.until_state("other", "disabled").await;
    // What was written after it is found by the next host.
    host.end(Signal::SIGKILL);
    host.again();
    let view = host.get(&format!("/api/v1/calls/{id}")).await.expect(200);
    assert_eq!((&view["outcome"], &view["recovered"]), (&json!("answered"), &json!(true)), "{view}");
    host.end(Signal::SIGTERM);
    drop((small, host));
}

/// What callers were told before the host was killed.
#[derive(Default)]
struct Told {
    /// Call ids by key.
    answered: HashMap<String, String>,
    broken: HashSet<String>,
}

/// Calls, one after the other, until the host is gone.
async fn caller(base: String, token: String, name: String) -> Told {
    let (http, mut told) = (client(), Told::default());
    for n in 0..100_000 {
        let key = format!("{name}-{n}");
        let plugin = if n % 3 == 0 { "q" } else { "p" };
        let mut asked = http
            .post(format!("{base}/api/v1/plugins/{plugin}/tools/count/call"))
            .bearer_auth(&token)
            .timeout(Duration::from_secs(60))
            .json(&json!({ "arguments": { "key": key } }));
        if n % 7 == 0 {
            asked = asked.header("wharf-durable", "true");
        }
        let answer = match asked.send().await {
            Ok(answer) if answer.status() == 200 => answer.json::<Value>().await.ok(),
            Ok(_) => continue,
            Err(_) => None,
        };
        if let Some(id) = answer.as_ref().and_then(|answer| answer["call_id"].as_str()) {
            told.answered.insert(key, id.to_owned());
        } else {
            told.broken.insert(key);
            break;
        }
    }
    told
}

/// Writes a state file again and again, until the host is gone.
async fn switcher(base: String, token: String) {
    let http = client();
    for n in 0..10_000 {
        let action = if n % 2 == 0 { "disable" } else { "enable" };
        let asked = http.post(format!("{base}/api/v1/plugins/switched/{action}")).bearer_auth(&token);
        if asked.json(&json!({})).send().await.is_err() {
            return;
        }
    }
}

/// The keys with which a tool was begun, how often each.
fn begun(ledgers: &[PathBuf]) -> HashMap<String, usize> {
    let mut all = HashMap::new();
    for text in ledgers.iter().filter_map(|ledger| fs::read_to_string(ledger).ok()) {
        for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if entry["phase"] == "begin" && entry["tool"] == "count" {
                *all.entry(entry["arguments"]["key"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    all
}

/// Fault: the host is killed with SIGKILL under load, again and again, at random moments. Expected of each next host: it
/// finds a journal that it can read; knows each call that was answered as answered or, if its end was lost, as unknown; knows
/// of at least as many calls as ran; nothing ran twice; no file of the state is torn. (The same at each byte that the journal
/// writes, in 200 lives, is tried where its format is: `journal::tests` of the core.)
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test has no host whose tasks it could join")]
async fn f66_a_host_that_is_killed_while_it_writes() {
    const CALLERS: usize = 8;
    let mut case = Case::heavy("F66", Kind::Process, "SIGKILL to the host under load").await;
    let setup = Setup::new();
    let ledgers = ["p", "q"].map(|name| setup.scratch(&format!("ledger-{name}")));
    let p = mock().arg("--ledger").path(&ledgers[0]);
    let q = mock_on_port("http").arg("--ledger").path(&ledgers[1]);
    let setup = setup.plugin("p", &p).plugin("q", &q).plugin("switched", &mock());
    let mut host = setup.start().await;
    case.under(&host).await;
    let (begin, mut kills, mut unknown, mut answered) = (Instant::now(), 0_u64, 0, 0);
    let mut seed = 66_u64;
    while kills < 24 && begin.elapsed() < Duration::from_secs(30) {
        for plugin in ["p", "q"] {
            host.until_state(plugin, "ready").await;
        }
        let before: usize = begun(&ledgers).values().sum();
        let (base, token) = (host.base.clone(), host.token.clone());
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| tokio::spawn(caller(base.clone(), token.clone(), format!("r{kills}-c{n}"))))
            .collect();
        let switcher = tokio::spawn(switcher(base, token));
        eventually("the first calls", async || {
            let now: usize = begun(&ledgers).values().sum();
            if now > before + CALLERS { Ok(()) } else { Err(format!("{now} runs")) }
        })
        .await;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The moment of the fault is what this waits for.
        tokio::time::sleep(Duration::from_millis((seed >> 33) % 120)).await;
        host.end(Signal::SIGKILL);
        kills += 1;
        let mut told = Told::default();
        for caller in callers {
            let one = caller.await.unwrap();
            told.answered.extend(one.answered);
            told.broken.extend(one.broken);
        }
        switcher.await.unwrap();
        let ran = begun(&ledgers);
        host.again();
        let said = host.said();
        assert!(!said.contains("damaged") && !said.contains("cannot be read"), "{said}");
        let (well, lost) = as_told(&host, &ran, &told).await;
        answered += well;
        unknown += lost;
    }
    assert!(kills >= 3, "only {kills} kills in 30 s");
    case.figure("kills", kills);
    case.figure("calls answered", answered);
    case.figure("calls unknown", unknown);
    case.figure("calls that ran twice", 0);
}

/// The next host knows each call as what became of it. How many are known as answered, and as unknown.
async fn as_told(host: &TestHost, ran: &HashMap<String, usize>, told: &Told) -> (usize, usize) {
    let (mut answered, mut unknown) = (0, 0);
    for (key, times) in ran {
        assert_eq!(*times, 1, "{key} ran {times} times");
    }
    for (key, id) in &told.answered {
        assert!(ran.contains_key(key), "{key} was answered and never ran");
        let view = host.get(&format!("/api/v1/calls/{id}")).await.expect(200);
        assert_eq!(view["recovered"], true, "{view}");
        match view["outcome"].as_str() {
            Some("answered") => answered += 1,
            Some("unknown") => unknown += 1,
            other => panic!("{other:?}: {view}"),
        }
    }
    // Who ran is known, with or without an answer: it was written down before it was handed over. Of some that were answered
    // to the host, and not to their caller any more, the end is known as well.
    let lost = told.broken.iter().filter(|key| ran.contains_key(*key)).count();
    let calls = host.get("/api/v1/calls?limit=1000").await.expect(200);
    let run = told.answered.values().next().map(|id| id[..11].to_owned()).unwrap_or_default();
    let of_run = |call: &&Value| call["call_id"].as_str().unwrap().starts_with(&run);
    let known = calls["calls"].as_array().unwrap().iter().filter(of_run).count();
    let most = told.answered.len() + lost;
    assert!(
        known >= most.min(1000),
        "{most} calls were answered or ran and were lost, and {known} are known"
    );
    (answered, unknown + lost)
}
