//! Manifests come, change and go; processes die and come back. Only what a change is about is touched.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::procs::{is_gone, kill9};
use crate::support::{Manifest, TestHost, eventually, mock};

#[tokio::test]
async fn a_new_manifest_becomes_a_plugin_a_removed_one_ends() {
    let host = TestHost::with([]).await;
    assert_eq!(host.get("/api/v1/plugins").await.expect(200)["plugins"], json!([]));
    host.put("late", &mock());
    let pid = host.pid_of("late").await;
    let echo = host.call("late", "echo", json!({ "message": "here" })).await;
    assert_eq!(text_of(&echo), "here");
    host.remove("late");
    eventually("the plugin to be gone", async || {
        let answer = host.get("/api/v1/plugins/late").await;
        if answer.status == 404 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    host.get("/api/v1/plugins/late").await.problem(404, "plugin_not_found");
    assert!(is_gone(pid), "what is not shown any more does not run");
}

#[tokio::test]
async fn a_removed_plugin_is_stopping_until_it_is_gone_and_its_calls_are_told() {
    let slow = mock().args(["--ignore-sigterm", "--ignore-stdin-close", "--hang-at-call", "1"]);
    let host = TestHost::with([("late", slow.set("stop.grace", "500ms").set("stop.term", "1s"))]).await;
    let pid = host.pid_of("late").await;
    let removed = async {
        host.until("late", "in a call", |view| view["instances"][0]["inflight"] == 1).await;
        host.remove("late");
        let view = host.until_state("late", "stopping").await;
        assert!(!is_gone(pid));
        assert_eq!(view["instances"][0]["pid"], pid, "{view}");
        let detail = view["cause"]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("its manifest was removed"), "{view}");
        assert_eq!(host.get("/api/v1/plugins").await.expect(200)["plugins"][0]["state"], "stopping");
        host.try_call("late", "echo", json!({ "message": "x" })).await.problem(404, "plugin_not_found");
        eventually("the plugin to be gone", async || {
            let answer = host.get("/api/v1/plugins/late").await;
            if answer.status == 404 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
        assert!(is_gone(pid), "what is not shown any more does not run");
    };
    let (answer, ()) = tokio::join!(host.try_call("late", "echo", json!({ "message": "x" })), removed);
    answer.problem(502, "outcome_unknown");
    assert!(answer.text().contains("its manifest was removed"), "{}", answer.text());
}

/// F71: half of the changes are invalid, and everyone asks for a reading at once.
#[tokio::test]
async fn a_storm_of_reloads_touches_only_what_changes() {
    let host = TestHost::with([("steady", mock()), ("restless", mock())]).await;
    let (steady, first) = (host.pid_of("steady").await, host.pid_of("restless").await);
    let (start, pace) = (tokio::time::Instant::now(), std::time::Duration::from_millis(10));
    let round = async |n: u32| {
        tokio::time::interval_at(start + pace * n, pace).tick().await;
        let text = match n % 2 {
            0 => mock().set("env.ROUND", n.to_string()).text(host.mark()),
            _ => "command = 5\nargs = [".to_owned(),
        };
        host.put_file("restless.toml", text);
        host.post("/api/v1/reload", &json!({})).await.expect(200);
    };
    futures_util::future::join_all((0..300).map(round)).await;
    let view = host.plugin("steady").await;
    assert_eq!((&view["instances"][0]["pid"], &view["state"]), (&json!(steady), &json!("ready")), "{view}");
    assert_eq!((&view["instances"][0]["generation"], &view["restarts"]), (&json!(1), &json!(0)), "{view}");
    // The last one was wrong: what was right before it is what runs.
    let view = host.plugin("restless").await;
    assert!(view["manifest"]["problems"][0].is_object(), "{view}");
    host.put("restless", &mock().set("env.ROUND", "last"));
    host.post("/api/v1/reload", &json!({})).await.expect(200);
    host.until_back("restless", first).await;
    eventually("the last version to run", async || {
        let answer = host.try_call("restless", "env", json!({ "name": "ROUND" })).await;
        let round = answer.json()["result"]["structuredContent"]["value"].clone();
        if round == "last" { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    assert_eq!(host.pid_of("steady").await, steady);
}

#[tokio::test]
async fn only_the_changed_plugin_is_restarted() {
    let host = TestHost::with([("one", mock()), ("two", mock())]).await;
    let (one, two) = (host.pid_of("one").await, host.pid_of("two").await);
    host.put("one", &mock().set("env.COLOUR", "green"));
    host.until_back("one", one).await;
    let env = host.call("one", "env", json!({ "name": "COLOUR" })).await;
    assert_eq!(env["structuredContent"]["value"], "green");
    assert_eq!(host.pid_of("two").await, two, "its manifest did not change");
    assert_eq!(host.plugin("one").await["restarts"], 0, "a change is no crash");
}

#[tokio::test]
async fn a_changed_env_file_counts_from_the_next_reading() {
    let setup = Setup::new();
    // Not in the folder of manifests: what happens there is noticed by itself, and may be read before it is asked for.
    let (file, manifest) = (setup.scratch("colours.env"), setup.plugins().join("one.toml"));
    fs::write(&file, "COLOUR=green\n").unwrap();
    let with_file = mock().set("env_file", file.to_str().unwrap());
    let host = setup.plugin("one", &with_file).plugin("two", &mock()).start().await;
    let (mut one, two) = (host.pid_of("one").await, host.pid_of("two").await);
    let is = async |colour: &str| {
        let env = host.call("one", "env", json!({ "name": "COLOUR" })).await;
        assert_eq!(env["structuredContent"]["value"], colour);
    };
    is("green").await;
    fs::write(&file, "COLOUR=blue\n").unwrap();
    let reload = host.post("/api/v1/reload", &json!({})).await.expect(200);
    assert_eq!(reload["changed"], json!(["one"]), "{reload}");
    one = host.until_back("one", one).await;
    is("blue").await;
    fs::write(&file, "COLOUR=red\n").unwrap();
    // What `touch` does.
    fs::File::options()
        .append(true)
        .open(&manifest)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    host.until_back("one", one).await;
    is("red").await;
    assert_eq!(host.pid_of("two").await, two);
}

#[tokio::test]
async fn a_rewrite_without_a_change_touches_nothing() {
    let host = TestHost::with([("same", mock())]).await;
    let pid = host.pid_of("same").await;
    host.put_file("same.toml", format!("# a comment\n{}", mock().text(host.mark())));
    let reload = host.post("/api/v1/reload", &json!({})).await.expect(200);
    assert_eq!(reload["changed"], json!([]), "{reload}");
    assert_eq!(host.pid_of("same").await, pid);
}

#[tokio::test]
async fn a_half_written_manifest_leaves_the_running_plugin_alone_and_is_shown() {
    let host = TestHost::with([("torn", mock())]).await;
    let pid = host.pid_of("torn").await;
    let whole = mock().set("env.COLOUR", "green").text(host.mark());
    // Written in place and cut in the middle of a string, as an editor that crashes leaves it.
    let cut = whole.find("wharf}").unwrap();
    fs::write(host.plugins().join("torn.toml"), &whole[..cut]).unwrap();
    let view = host.until("torn", "with problems", |view| view["manifest"]["problems"][0].is_object()).await;
    assert!(view["manifest"]["problems"][0]["line"].is_u64(), "a problem has a place: {view}");
    assert_eq!(view["state"], "ready", "{view}");
    assert_eq!(host.pid_of("torn").await, pid, "the running version stays");
    host.call("torn", "echo", json!({ "message": "still here" })).await;
    fs::write(host.plugins().join("torn.toml"), &whole).unwrap();
    host.until_back("torn", pid).await;
    assert_eq!(host.plugin("torn").await["manifest"]["problems"], json!([]));
}

#[tokio::test]
async fn a_swapped_config_map_is_noticed() {
    let setup = Setup::new();
    let plugins = setup.plugins();
    let version = |name: &str, colour: &str, mark: &str| {
        fs::create_dir(plugins.join(name)).unwrap();
        fs::write(plugins.join(name).join("mapped.toml"), mock().set("env.COLOUR", colour).text(mark))
            .unwrap();
    };
    // The layout in which a cluster mounts a ConfigMap: the swap of one link changes all files at once.
    version("..v1", "green", "first");
    symlink("..v1", plugins.join("..data")).unwrap();
    symlink("..data/mapped.toml", plugins.join("mapped.toml")).unwrap();
    let host = setup.start().await;
    let pid = host.pid_of("mapped").await;
    version("..v2", "blue", host.mark());
    symlink("..v2", plugins.join("..data_tmp")).unwrap();
    fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
    host.until_back("mapped", pid).await;
    let env = host.call("mapped", "env", json!({ "name": "COLOUR" })).await;
    assert_eq!(env["structuredContent"]["value"], "blue");
    let all = host.get("/api/v1/plugins").await.expect(200);
    assert_eq!(all["plugins"].as_array().map(Vec::len), Some(1), "the hidden folders are no plugins: {all}");
}

#[tokio::test]
async fn a_killed_plugin_comes_back_and_tells_how_it_ended() {
    let host = TestHost::with([("phoenix", mock()), ("other", mock())]).await;
    let (pid, other) = (host.pid_of("phoenix").await, host.pid_of("other").await);
    kill9(pid);
    host.until_back("phoenix", pid).await;
    let view = host.plugin("phoenix").await;
    assert_eq!(view["restarts"], 1, "{view}");
    let instance = &view["instances"][0];
    assert_eq!(instance["generation"], 2, "{view}");
    assert_eq!(instance["last_exit"]["signal"], 9, "{view}");
    assert_eq!(text_of(&host.call("phoenix", "echo", json!({ "message": "back" })).await), "back");
    assert_eq!(host.pid_of("other").await, other);
}

#[tokio::test]
async fn a_crash_loop_ends_in_quarantine_and_says_when_it_is_tried_again() {
    let loops = mock().args(["--crash-at-start", "3"]);
    let host = TestHost::with([("loops", loops), ("well", mock())]).await;
    let pid = host.pid_of("well").await;
    let view = host.until_state("loops", "quarantined").await;
    assert_eq!(view["cause"]["code"], "exited", "{view}");
    assert_eq!(view["instances"][0]["last_exit"]["code"], 3, "{view}");
    let earlier = view["instances"][0]["earlier_exits"].as_array().expect("the deaths before it");
    let generations: Vec<_> = earlier.iter().map(|exit| exit["generation"].as_u64()).collect();
    assert_eq!(generations, [4, 3, 2, 1].map(Some), "{view}");
    assert!(earlier.iter().all(|exit| exit["code"] == 3 && exit["cause"] == "exited"), "{view}");
    assert!(view["next_attempt_at"].is_string(), "quarantine is not the end: {view}");
    assert_eq!(view["tools"], 0, "{view}");
    let answer = host.try_call("loops", "echo", json!({ "message": "x" })).await;
    answer.problem(503, "plugin_unavailable");
    assert!(
        answer.header("retry-after").parse::<u64>().is_ok(),
        "Retry-After {:?}",
        answer.header("retry-after")
    );
    host.put("loops", &mock());
    host.until_state("loops", "ready").await;
    assert_eq!(host.pid_of("well").await, pid);
}

#[tokio::test]
async fn a_plugin_has_a_data_folder_of_its_own_that_outlives_it() {
    let writes =
        Manifest::command("sh").arg("-c").arg("echo here >> ${data_dir}/kept; exec ${wharf} mock").quick();
    let host = TestHost::with([("writes", writes)]).await;
    let pid = host.pid_of("writes").await;
    kill9(pid);
    host.until_back("writes", pid).await;
    let kept = host.state().join("data/writes/kept");
    assert_eq!(fs::read_to_string(kept).unwrap().lines().count(), 2);
}
