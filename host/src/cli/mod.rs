//! The command line: one file per command. Data goes to stdout, everything else to stderr, and the exit code says the rest.
//!
//! Only `up` runs a host; every other command is a client of one, over its unix socket or a URL.

mod call;
mod calls;
mod client;
mod command;
mod doctor;
mod exit;
mod logs;
mod out;
mod ps;
mod status;
mod stdio;
mod table;
mod tools;
mod up;
mod validate;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::{Complaint, Exit};

/// A plugin host: supervises MCP servers and lets everyone call their tools.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// Which host a command is for.
#[derive(Clone, Debug, Args)]
struct Target {
    /// The state folder: token, socket, logs [default: $XDG_STATE_HOME/wharf]
    #[arg(long, global = true, value_name = "DIR", env = "WHARF_STATE")]
    state: Option<PathBuf>,
    /// A host elsewhere, instead of the one of the state folder
    #[arg(long, global = true, value_name = "URL", env = "WHARF_URL")]
    url: Option<String>,
    /// The token for --url
    #[arg(long, global = true, value_name = "TOKEN", env = "WHARF_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host
    Up(up::Args),
    /// Serve MCP on stdin and stdout: on the running host, or on one that lives as long as the input
    Stdio(stdio::Args),
    #[command(flatten)]
    Ask(Ask),
    /// Check manifests without starting anything
    Validate(validate::Args),
    /// Check this machine and the folders; with --deep the running host and its plugins too
    Doctor(doctor::Args),
    /// Print a JSON Schema
    Schema(validate::SchemaArgs),
    /// Serve MCP as the mock server
    Mock(Box<crate::mock::Args>),
    /// Serve a native plugin on stdio
    #[command(hide = true)]
    Native(workers::NativeArgs),
}

/// What is asked of a running host.
#[derive(Debug, Subcommand)]
enum Ask {
    /// List the plugins
    Ps(ps::Args),
    /// Show one plugin: state, cause, instances, last lines
    Status(status::Args),
    /// Show what plugins log
    Logs(logs::Args),
    /// Start a plugin, also out of backoff, quarantine and fatal
    Start(command::Args),
    /// Stop a plugin
    Stop(command::Args),
    /// Stop a plugin and start it
    Restart(command::Args),
    /// Let a plugin's calls end, then stop it
    Drain(command::Args),
    /// Switch a plugin on, and remember it
    Enable(command::Args),
    /// Switch a plugin off, and remember it
    Disable(command::Args),
    /// Have another number of replicas of a plugin, and remember it
    Scale(command::ScaleArgs),
    /// List the tools
    Tools(tools::ListArgs),
    /// Show one tool
    Describe(tools::DescribeArgs),
    /// Call a tool
    Call(call::Args),
    /// Show what calls do and did, or take one back
    Calls(calls::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to stdout.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            error.print().ok();
            return exit.into();
        }
    };
    match run(cli) {
        Ok(exit) => exit,
        Err(complaint) => {
            out::complain(&complaint);
            complaint.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Complaint> {
    let Cli { target, command } = cli;
    match command {
        Command::Up(args) => up::run(args, &target)?,
        Command::Stdio(args) => stdio::run(args, &target)?,
        Command::Validate(args) => validate::run(&args, &target.state()?)?,
        Command::Doctor(args) => doctor::run(&args, &target)?,
        Command::Schema(args) => validate::schema(&args)?,
        Command::Ask(ask) => client::run(&target, async |host| ask.run(host).await)?,
        // Programs of their own, with their own exit codes.
        Command::Mock(args) => return Ok(workers::mock(*args)),
        Command::Native(args) => return Ok(workers::native(&args)),
    }
    Ok(Exit::Ok.into())
}

impl Ask {
    async fn run(&self, host: &client::Client) -> Result<(), Complaint> {
        match self {
            Self::Ps(args) => ps::run(args, host).await,
            Self::Status(args) => status::run(args, host).await,
            Self::Logs(args) => logs::run(args, host).await,
            Self::Start(args) => command::run("start", args, host).await,
            Self::Stop(args) => command::run("stop", args, host).await,
            Self::Restart(args) => command::run("restart", args, host).await,
            Self::Drain(args) => command::run("drain", args, host).await,
            Self::Enable(args) => command::run("enable", args, host).await,
            Self::Disable(args) => command::run("disable", args, host).await,
            Self::Scale(args) => command::scale(args, host).await,
            Self::Tools(args) => tools::list(args, host).await,
            Self::Describe(args) => tools::describe(args, host).await,
            Self::Call(args) => call::run(args, host).await,
            Self::Calls(args) => calls::run(args, host).await,
        }
    }
}

impl Target {
    /// The state folder, by option or by the rules of XDG.
    fn state(&self) -> Result<PathBuf, Complaint> {
        state_folder(self.state.clone(), |name| std::env::var_os(name).map(PathBuf::from))
    }
}

fn state_folder(
    given: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf, Complaint> {
    // XDG says that a relative path in its variables means nothing.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let default = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    given.or_else(|| default().map(|folder| folder.join("wharf"))).ok_or_else(|| {
        Complaint::new(Exit::Usage, "there is no state folder: neither XDG_STATE_HOME nor HOME is set")
            .remedy("name one with --state DIR")
    })
}

#[cfg(test)]
mod tests {
    mod against_a_host;

    use std::path::PathBuf;

    use clap::CommandFactory;

    use super::{Cli, state_folder};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_state_folder_follows_the_rules() {
        let of = |given: Option<&str>, set: &[(&str, &str)]| {
            let found =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
            state_folder(given.map(PathBuf::from), found).ok()
        };
        assert_eq!(of(Some("s"), &[("XDG_STATE_HOME", "/x")]), Some("s".into()));
        assert_eq!(of(None, &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), Some("/x/wharf".into()));
        assert_eq!(
            of(None, &[("XDG_STATE_HOME", "x"), ("HOME", "/h")]),
            Some("/h/.local/state/wharf".into())
        );
        assert_eq!(of(None, &[]), None);
    }
}
