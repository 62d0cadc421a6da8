//! Ordinary servers of npm and PyPI, sandboxed as a careful user would.

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::servers::Servers;
use crate::support::{Manifest, TestHost};

const NOTE: &str = "a note";

#[tokio::test]
async fn ordinary_servers_run_with_their_files_and_system_calls_bounded() {
    let (node, python) = (Servers::node(), Servers::python());
    let setup = Setup::new();
    let [mine, others] = ["mine", "others"].map(|name| setup.scratch(name));
    for folder in [&mine, &others] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("note.txt"), NOTE).unwrap();
    }
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let files = || {
        // What it is told that it may reach is more than what it can reach.
        let manifest = Manifest::command(node.bin("mcp-server-filesystem")).path(&mine).path(&others);
        manifest.quick().set("health.start_timeout", "60s")
    };
    let time = Manifest::command(python.bin("mcp-server-time")).args(["--local-timezone", "UTC"]).quick();
    let memory = Manifest::command(node.bin("mcp-server-memory")).quick();
    let host = setup
        .plugin("free", &files())
        .plugin("bound", &files().set("sandbox.fs.write", vec![path(&mine)]).set("sandbox.seccomp", "strict"))
        .plugin("reads", &files().set("sandbox.fs.read", vec![path(&mine)]))
        .plugin("time", &time.set("sandbox.fs.read", Vec::<String>::new()).set("sandbox.seccomp", "strict"))
        .plugin("memory", &{
            let memory = memory.set("env.MEMORY_FILE_PATH", "${data_dir}/memory.json");
            memory.set("sandbox.fs.read", Vec::<String>::new()).set("sandbox.tcp.connect", vec![443])
        })
        .start()
        .await;
    for (id, reads, writes) in
        [("free", [true, true], true), ("bound", [true, false], true), ("reads", [true, false], false)]
    {
        for (folder, allowed) in ["mine", "others"].into_iter().zip(reads) {
            let note = host.scratch(folder).join("note.txt");
            let answer = host.call(id, "read_file", json!({ "path": note })).await;
            assert_eq!(
                (answer["isError"] != true, text_of(&answer) == NOTE),
                (allowed, allowed),
                "{id}: {answer}"
            );
        }
        let new = host.scratch("mine").join(id);
        let answer = host.call(id, "write_file", json!({ "path": new, "content": "x" })).await;
        assert_eq!((answer["isError"] != true, new.exists()), (writes, writes), "{id}: {answer}");
    }
    let arguments = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let noon = host.call("time", "convert_time", arguments).await;
    assert!(text_of(&noon).contains("T21:00:00+09:00"), "{noon}");
    it_remembers(&host).await;
}

async fn it_remembers(host: &TestHost) {
    let entity = json!({ "name": "wharf", "entityType": "place", "observations": [NOTE] });
    host.call("memory", "create_entities", json!({ "entities": [entity] })).await;
    let graph: Value = host.call("memory", "read_graph", json!({})).await;
    assert_eq!(graph["structuredContent"]["entities"][0]["observations"][0], NOTE, "{graph}");
    assert!(host.state().join("data/memory/memory.json").exists());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_as_the_cause() {
    let gone = Setup::new().scratch("gone");
    let bound = crate::support::mock().set("sandbox.fs.write", vec![gone.to_str().unwrap().to_owned()]);
    let host = TestHost::with([("bound", bound)]).await;
    let view = host.until_state("bound", "fatal").await;
    assert_eq!(view["cause"]["code"], "missing_file", "{view}");
    assert!(view["cause"]["detail"].as_str().unwrap().contains("gone"), "{view}");
}

#[tokio::test]
async fn a_start_that_fails_for_want_of_a_file_names_the_key() {
    let setup = Setup::new();
    let file = setup.scratch("file");
    std::fs::write(&file, NOTE).unwrap();
    let script = format!("cat '{}' && echo 'permission denied, it says' >&2; exit 78", file.display());
    let tries = |id| Manifest::command("/bin/sh").args(["-c", &script]).quick().set("description", id);
    let host = setup
        .plugin("bound", &tries("bound").set("sandbox.fs.read", Vec::<String>::new()))
        .plugin("free", &tries("free"))
        .start()
        .await;
    for (id, blamed) in [("bound", true), ("free", false)] {
        let view = host.until_state(id, "fatal").await;
        let detail = view["cause"]["detail"].as_str().unwrap();
        assert!(detail.contains("code 78"), "{view}");
        let (key, told) = ("sandbox.fs.read", file.to_str().unwrap());
        assert_eq!((detail.contains(key), detail.contains(told)), (blamed, blamed), "{view}");
    }
}

#[tokio::test]
async fn the_server_of_git_works_beside_settings_in_a_home() {
    let python = Servers::python();
    let setup = Setup::new();
    let [home, project] = ["home", "project"].map(|name| setup.scratch(name));
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join(".gitconfig"), "[user]\n\tname = A\n\temail = a@example.com\n").unwrap();
    std::fs::write(home.join(".git-credentials"), "https://a:b@example.com\n").unwrap();
    let made = std::process::Command::new("git").args(["init", "-q"]).arg(&project).status().unwrap();
    assert!(made.success());
    let path = project.to_str().unwrap().to_owned();
    let git = Manifest::command(python.bin("mcp-server-git")).quick().set("health.start_timeout", "60s");
    let git = git.set("env.HOME", home.to_str().unwrap()).set("sandbox.fs.write", vec![path.clone()]);
    let host = setup.plugin("git", &git).start().await;
    std::fs::write(project.join("new.txt"), NOTE).unwrap();
    let status = host.call("git", "git_status", json!({ "repo_path": path })).await;
    assert!(text_of(&status).contains("new.txt"), "{status}");
}
