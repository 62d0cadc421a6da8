//! The command line: one file per command. Data goes to stdout, everything else to stderr, and the exit code says the rest.
//!
//! Only `up` runs a host; every other command is a client of one, over its unix socket or a URL.

mod call;
mod client;
mod command;
mod exit;
mod logs;
mod out;
mod ps;
mod status;
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
    /// List the tools
    Tools(tools::ListArgs),
    /// Show one tool
    Describe(tools::DescribeArgs),
    /// Call a tool
    Call(call::Args),
    /// Check manifests without starting anything
    Validate(validate::Args),
    /// Print a JSON Schema
    Schema(validate::SchemaArgs),
    /// Serve MCP as the mock server
    #[command(disable_help_flag = true)]
    Mock(workers::MockArgs),
    /// Serve a native plugin on stdio
    #[command(hide = true)]
    Native(workers::NativeArgs),
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
        Ok(()) => Exit::Ok.into(),
        Err(complaint) => {
            out::complain(&complaint);
            complaint.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Complaint> {
    let Cli { target, command } = cli;
    match command {
        Command::Up(args) => up::run(args, &target),
        Command::Validate(args) => validate::run(&args),
        Command::Schema(args) => validate::schema(&args),
        Command::Mock(args) => workers::mock(&args),
        Command::Native(args) => workers::native(&args),
        Command::Ps(args) => client::run(&target, async |host| ps::run(&args, host).await),
        Command::Status(args) => client::run(&target, async |host| status::run(&args, host).await),
        Command::Logs(args) => client::run(&target, async |host| logs::run(&args, host).await),
        Command::Start(args) => client::run(&target, async |host| command::run("start", &args, host).await),
        Command::Stop(args) => client::run(&target, async |host| command::run("stop", &args, host).await),
        Command::Restart(args) => {
            client::run(&target, async |host| command::run("restart", &args, host).await)
        }
        Command::Drain(args) => client::run(&target, async |host| command::run("drain", &args, host).await),
        Command::Enable(args) => client::run(&target, async |host| command::run("enable", &args, host).await),
        Command::Disable(args) => {
            client::run(&target, async |host| command::run("disable", &args, host).await)
        }
        Command::Tools(args) => client::run(&target, async |host| tools::list(&args, host).await),
        Command::Describe(args) => client::run(&target, async |host| tools::describe(&args, host).await),
        Command::Call(args) => client::run(&target, async |host| call::run(&args, host).await),
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
