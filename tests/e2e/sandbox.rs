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
