//! The registry on MongoDB. There is no server to install, so a stand-in takes its place (`mongo_stand_in.py`): the
//! driver, its connection and its messages are real, what answers them is not.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::plugin::{agents_come_and_go, value};
use super::running::Running;
use super::setup::{ids, with};
use crate::support::procs::kill9;
use crate::support::servers::Servers;
use crate::support::{TestHost, eventually};

#[tokio::test]
async fn the_registry_keeps_its_agents_in_a_mongodb_that_is_named() {
    let setup = with("registry");
    let (stand_in, port) = stand_in(setup.scratch("mongo.log")).await;
    let url = format!("mongodb://127.0.0.1:{port}/agents?directConnection=true");
    let host = setup.env("ATLAS_URL", &url).start().await;
    host.until_state("registry", "ready").await;
    assert_eq!(value(&host, "registry", "health_check", json!({})).await["storage"], "mongodb");
    agents_come_and_go(&host, "registry").await;

    let pid = host.pid_of("registry").await;
    kill9(pid);
    host.until_back("registry", pid).await;
    assert_eq!(ids(&value(&host, "registry", "list_agents", json!({})).await), ["analyst", "scientist"]);

    drop(stand_in);
    unhealthy_without_it(&host).await;
}

async fn unhealthy_without_it(host: &TestHost) {
    let port = host.plugin("registry").await["instances"][0]["port"].clone();
    let health = reqwest::get(format!("http://127.0.0.1:{port}/health")).await.expect("it answers");
    assert_eq!(health.status().as_u16(), 503);
    let failed = host.call("registry", "list_agents", json!({})).await;
    assert_eq!(failed["isError"], true, "{failed}");
}

async fn stand_in(log: std::path::PathBuf) -> (Running, u16) {
    let python = Servers::venv("registry-tests", "registry/requirements.txt").bin("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/examples/registry/mongo_stand_in.py");
    let running = Running::start(Command::new(python).arg(script), log);
    let port = eventually("the stand-in to tell its port", async || {
        let said = running.said();
        let port = said.split_once('\n').map(|(port, _)| port.parse::<u16>());
        port.unwrap_or_else(|| "".parse()).map_err(|error| format!("{error}: {said}"))
    })
    .await;
    (running, port)
}
