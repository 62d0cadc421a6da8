//! `execute_analysis_script`: what the tool refuses by itself, and what the sandbox refuses to a script that tries.

use serde_json::{Value, json};

use super::*;

const SAVE: &str = "log-analytics/save_analysis_script";
const RUN: &str = "log-analytics/execute_analysis_script";

async fn save(host: &TestHost, name: &str, code: &str) {
    ask(host, SAVE, json!({ "file_name": name, "code": code })).await;
}

async fn fetch(host: &TestHost) {
    ask(host, "log-analytics/get_raw_logs", json!({ "incident_id": "INC-0001" })).await;
}

fn run(script: &str, data: &str) -> Value {
    json!({ "script_path": script, "log_data_path": data })
}

#[tokio::test]
async fn the_tool_takes_no_path_outside_of_its_folder() {
    let host = fleet().await;
    fetch(&host).await;
    save(&host, "count.py", "import json, sys\nprint(len(json.load(open(sys.argv[1]))))").await;
    let good = "INC-0001-logs.json";
    let folder = host.state().join("data/log-analytics");
    for name in ["count.py", folder.join("count.py").to_str().unwrap()] {
        let ran = ask(&host, RUN, run(name, good)).await;
        assert_eq!(ran["output"], "1200\n", "{ran}");
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link.json")).unwrap();
    let token = host.state().join("token");
    for elsewhere in ["../../token", token.to_str().unwrap(), "/etc/passwd", "link.json"] {
        for arguments in [run(elsewhere, good), run("count.py", elsewhere)] {
            let said = refused(&host, RUN, arguments).await;
            assert!(said.contains("outside of the analysis folder"), "{elsewhere}: {said}");
        }
    }
    for name in ["../x.py", "/tmp/x.py", "x.sh"] {
        refused(&host, SAVE, json!({ "file_name": name, "code": "" })).await;
    }
    let said = refused(&host, RUN, run("none.py", good)).await;
    assert!(said.contains("save it there first"), "{said}");
    save(&host, "broken.py", "raise KeyError('level')").await;
    let said = refused(&host, RUN, run("broken.py", good)).await;
    assert!(said.contains("Traceback") && said.contains("KeyError: 'level'"), "{said}");
}

#[tokio::test]
async fn what_a_script_reads_is_not_lost_to_what_it_says() {
    let host = with_sandbox(true).await;
    fetch(&host).await;
    let logs = "INC-0001-logs.json";
    save(&host, "count.py", "import json, sys\nprint(len(json.load(open(sys.argv[1]))))").await;
    ask(&host, RUN, run("count.py", logs)).await;
    let results = host.state().join("data/log-analytics/count.out");
    // Each would empty a file before it is read: the script itself, and its data.
    for (arguments, remedy) in [
        (run("count.out", logs), "does not end in .py"),
        (run("count.py", "count.out"), "save the data under another name"),
    ] {
        let said = refused(&host, RUN, arguments).await;
        assert!(said.contains(remedy), "{remedy}: {said}");
        assert_eq!(fs::read_to_string(&results).unwrap(), "1200\n");
    }
}

/// Each way out is tried with the manifest as it is, and, to see that it is a way at all, without its sandbox.
#[tokio::test]
async fn a_script_that_tries_to_leave_is_held_by_the_sandbox() {
    for sandboxed in [true, false] {
        let host = with_sandbox(sandboxed).await;
        fetch(&host).await;
        let outside = host.scratch("outside");
        fs::write(&outside, "x").unwrap();
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let read = [
            path(outside),
            path(host.state().join("token")),
            path(host.plugins().join("log-analytics.toml")),
            path(host.plugins().join("../scratch/outside")),
        ];
        let temp = std::env::temp_dir().join(format!("incidents-{}", std::process::id()));
        let write = [
            path(temp.clone()),
            path(host.scratch("new")),
            path(host.state().join("data/new")),
            "../new".to_owned(),
        ];
        let port = host.base.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        let ways = json!({ "read": read, "write": write, "connect": [port] });
        save(&host, "escape.py", &include_str!("escape.py").replace("WAYS", &ways.to_string())).await;
        let ran = ask(&host, RUN, run("escape.py", "INC-0001-logs.json")).await;
        let tried: Value = serde_json::from_str(ran["output"].as_str().unwrap()).unwrap();
        assert_eq!(tried["entries"], 1200, "its own folder is open to it: {tried}");
        for (way, targets) in [("read", 4), ("write", 4), ("connect", 1)] {
            if way == "connect" && !networks_can_be_made() {
                continue;
            }
            let outcomes = tried[way].as_object().unwrap();
            assert_eq!(outcomes.len(), targets, "{tried}");
            assert!(
                outcomes.values().all(|worked| *worked == !sandboxed),
                "sandboxed: {sandboxed}, {way}: {tried}"
            );
        }
        assert_eq!(temp.exists(), !sandboxed);
        fs::remove_file(&temp).ok();
    }
}

async fn with_sandbox(sandboxed: bool) -> TestHost {
    let text = manifest(LOGS, "\"auto\"");
    let (rest, _) = text.split_once("\n[sandbox]").expect("the last table");
    let text = if sandboxed { &text } else { rest };
    let host = setup().file("log-analytics.toml", text).start().await;
    host.until_state(LOGS, "ready").await;
    host
}

#[tokio::test]
async fn a_script_that_leaves_something_running_leaves_nothing() {
    let host = fleet().await;
    fetch(&host).await;
    let code = "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'MARK']).pid > 0)";
    let mark = format!("left-{}", host.mark());
    save(&host, "leave.py", &code.replace("MARK", &mark)).await;
    let ran = ask(&host, RUN, run("leave.py", "INC-0001-logs.json")).await;
    assert_eq!(ran["output"], "True\n", "{ran}");
    crate::support::procs::assert_none_left(&mark, std::path::Path::new(&mark));
}
