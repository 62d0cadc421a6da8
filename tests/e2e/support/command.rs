//! The command line under test, run to its end.

use std::process::Stdio;

use serde_json::Value;

use super::{PATIENCE, TestHost, WHARF};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails unless the command ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self:#?}"))
    }
}

/// Runs `wharf` with these arguments and environment variables, and nothing that the shell of the developer has set.
pub(crate) async fn wharf(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let run = tokio::process::Command::new(WHARF)
        .args(args)
        .env_remove("WHARF_STATE")
        .env_remove("WHARF_URL")
        .env_remove("WHARF_TOKEN")
        .env("NO_COLOR", "1")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(PATIENCE, run).await.expect("the command ends").expect("the command starts");
    Outcome {
        code: output.status.code().expect("it exits, no signal ends it"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// Runs a command against a host, which it finds by the state folder.
pub(crate) async fn on(host: &TestHost, args: &[&str]) -> Outcome {
    let state = host.state();
    let mut all = args.to_vec();
    all.extend(["--state", state.to_str().expect("a UTF-8 path")]);
    wharf(&all, &[]).await
}
