//! Further processes of this executable: upstreams and hops. They end with their owner here.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::common::Outcome;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One that listens.
pub(crate) struct Listening {
    pub(crate) pid: u32,
    /// `IP:PORT`
    pub(crate) address: String,
    _child: Child,
}

impl Listening {
    /// Starts one with these arguments and waits until it listens.
    pub(crate) async fn start(args: &[&str]) -> Outcome<Self> {
        let mut child = command(args)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let address = line.as_deref().and_then(|line| line.strip_prefix("listening on "));
        let address = address.ok_or_else(|| format!("{args:?} does not listen: {line:?}"))?.to_owned();
        Ok(Self { pid: child.id().ok_or("it has ended")?, address, _child: child })
    }
}

/// Starts one that is spoken to over its pipes.
pub(crate) fn piped(args: &[&str]) -> Outcome<(Child, ChildStdin, ChildStdout)> {
    let mut child = command(args)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().ok_or("no stdin")?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    Ok((child, stdin, stdout))
}

fn command(args: &[&str]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).kill_on_drop(true);
    Ok(command)
}

/// The manifest of a plugin that is this executable as an upstream with these arguments.
pub(crate) fn manifest(args: &[&str], keys: &str) -> Outcome<String> {
    let exe = std::env::current_exe()?;
    let args: Vec<String> = ["upstream"].iter().chain(args).map(|arg| format!("{arg:?}")).collect();
    Ok(format!("command = {:?}\nargs = [{}]\n{keys}", exe.display().to_string(), args.join(", ")))
}
