//! The command line of the mock. Knows no behaviour: what a flag does is said here and done elsewhere.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Everything that `wharf mock` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How it speaks
    #[arg(long, value_enum, default_value_t = Dialect::Stdio)]
    pub dialect: Dialect,
    /// Which era of the protocol it speaks
    #[arg(long, value_enum, default_value_t = Era::Legacy)]
    pub era: Era,
    /// Address to listen on (http, sse, sse-post)
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any and prints it on stderr
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// How a POST is answered (http)
    #[arg(long, value_enum, default_value_t = HttpAnswer::Json)]
    pub http_answer: HttpAnswer,
    /// Tools, resources and prompts to offer, as JSON or TOML
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Append one JSON line for each call that really ran
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Ask the client ping and roots/list right after `notifications/initialized`
    #[arg(long)]
    pub ping_client: bool,
    /// Send four list_changed in a row right after `notifications/initialized`
    #[arg(long)]
    pub list_changed: bool,
    /// Only the first K launches have the faults; needs --fault-counter
    #[arg(long, value_name = "K", requires = "fault_counter", help_heading = "Faults")]
    pub fault_times: Option<u64>,
    /// Counts the launches: one byte is appended by each
    #[arg(long, value_name = "FILE", requires = "fault_times", help_heading = "Faults")]
    pub fault_counter: Option<PathBuf>,
    /// What goes wrong.
    #[command(flatten)]
    pub faults: FaultArgs,
}

/// What goes wrong. Calls are counted from 1, per process, over all sessions.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Faults")]
pub struct FaultArgs {
    /// Exit with CODE before anything is read
    #[arg(long, value_name = "CODE")]
    pub crash_at_start: Option<u8>,
    /// Exit with 0 before anything is read
    #[arg(long)]
    pub exit_at_start: bool,
    /// Die when call N arrives, before it runs
    #[arg(long, value_name = "N")]
    pub crash_at_call: Option<u64>,
    /// Die after call N ran, before it is answered
    #[arg(long, value_name = "N")]
    pub crash_after_call: Option<u64>,
    /// The exit code of a crash at a call (default 1)
    #[arg(long, value_name = "CODE")]
    pub crash_code: Option<u8>,
    /// Crashes are SIGABRT instead of an exit code
    #[arg(long)]
    pub abort: bool,
    /// Never answer initialize
    #[arg(long)]
    pub hang_at_start: bool,
    /// Begin call N and never answer it
    #[arg(long, value_name = "N")]
    pub hang_at_call: Option<u64>,
    /// Live, but never listen (http, sse, sse-post)
    #[arg(long)]
    pub refuse_to_listen: bool,
    /// Listen after MS milliseconds (http, sse, sse-post)
    #[arg(long, value_name = "MS")]
    pub listen_after: Option<u64>,
    /// Answer initialize after MS milliseconds
    #[arg(long, value_name = "MS")]
    pub start_after: Option<u64>,
    /// Send N lines of garbage before the answer to initialize: no JSON, bad UTF-8, a BOM, half a message
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "6")]
    pub garbage: Option<u64>,
    /// Send the garbage before the answer to call N
    #[arg(long, value_name = "N", requires = "garbage")]
    pub garbage_at_call: Option<u64>,
    /// Print a human log line before each answer, where only MCP belongs
    #[arg(long)]
    pub log_on_stdout: bool,
    /// Send a line of BYTES without a break (`1GiB`), before the answer to initialize or to a call
    #[arg(long, value_name = "BYTES")]
    pub huge_line: Option<Bytes>,
    /// Send the huge line before the answer to call N
    #[arg(long, value_name = "N", requires = "huge_line")]
    pub huge_line_at_call: Option<u64>,
    /// Live on after SIGTERM (ten minutes at most)
    #[arg(long)]
    pub ignore_sigterm: bool,
    /// Live on after the end of stdin (ten minutes at most)
    #[arg(long)]
    pub ignore_stdin_close: bool,
    /// Leave a `sleep 600` in a session of its own that holds stdout and stderr
    #[arg(long)]
    pub fork_grandchild: bool,
    /// Write to stderr: `50MiB` as fast as it goes, `1MiB/s` for ever
    #[arg(long, value_name = "BYTES[/s]")]
    pub flood_stderr: Option<Amount>,
    /// Allocate: `512MiB` at once, `100MiB/s` until 4 GiB
    #[arg(long, value_name = "BYTES[/s]")]
    pub memory: Option<Amount>,
    /// Forget all sessions after each N calls (http, sse, sse-post)
    #[arg(long, value_name = "N")]
    pub lose_sessions_after: Option<NonZeroU64>,
    /// The status for an unknown session: 404 or 400 (default 404)
    #[arg(long, value_name = "STATUS", value_parser = ["404", "400"])]
    pub session_lost_status: Option<String>,
    /// Answer calls under an id that nobody sent, `instead` of the right one or as an `extra`
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "instead")]
    pub wrong_id: Option<WrongId>,
    /// Answer each call twice
    #[arg(long)]
    pub answer_twice: bool,
    /// Send a notification that MCP does not know before the answer to each call
    #[arg(long)]
    pub unknown_notification: bool,
    /// Pretty-print messages over several lines (http, sse, sse-post)
    #[arg(long)]
    pub pretty: bool,
    /// Answer calls with what no sane server sends
    #[arg(long, value_enum, value_name = "WHAT")]
    pub odd_answer: Option<Odd>,
    /// Answer call N alone so
    #[arg(long, value_name = "N", requires = "odd_answer")]
    pub odd_answer_at_call: Option<u64>,
    /// While a call runs, answer nothing else, as a server of one thread does
    #[arg(long)]
    pub one_at_a_time: bool,
    /// Close stdout, or the answer's connection, instead of answering call N
    #[arg(long, value_name = "N")]
    pub close_stdout_at_call: Option<u64>,
    /// Answer N pings and health checks, then none
    #[arg(long, value_name = "N")]
    pub unhealthy_after: Option<u64>,
}

/// How the mock speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Lines on stdin and stdout
    Stdio,
    /// Streamable HTTP of 2025-03-26 to 2025-11-25, at /mcp
    Http,
    /// HTTP+SSE of 2024-11-05: GET /sse, POST /messages
    Sse,
    /// POST /sse with initialize, list_tools, call_tool and x-session-id
    SsePost,
}

/// Which era of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Era {
    /// Up to 2025-11-25: initialize, sessions
    Legacy,
}

/// How a POST is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HttpAnswer {
    /// application/json
    Json,
    /// text/event-stream
    Sse,
}

/// What a wrong id does to the right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WrongId {
    /// The right answer never comes
    Instead,
    /// The right answer follows
    Extra,
    /// The right answer follows; the wrong id is the one after it, which may be the next to be sent
    Next,
}

/// An answer that is right in nothing but its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Odd {
    /// 200,000 arrays in each other
    Deep,
    /// A number of 400,000 digits
    Digits,
    /// An array of two million zeros, 4 MiB
    Zeros,
    /// NaN, which JSON has not
    Nan,
    /// Half of a surrogate pair
    Surrogate,
    /// A text of 1 GiB
    Huge,
}

/// A number of bytes: `64`, `64k`, `1MiB`, `1GB`. All units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A total of bytes, or a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many, as fast as it goes.
    Total(u64),
    /// So many each second, for ever.
    PerSecond(u64),
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
        let shift = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            other => return Err(format!("unknown unit {other:?}; use k, MiB or GiB")),
        };
        let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no whole number"))?;
        number.checked_mul(1 << shift).map(Bytes).ok_or_else(|| "too large".to_owned())
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix("/s") {
            Some(rate) => rate.parse().map(|Bytes(n)| Self::PerSecond(n)),
            None => text.parse().map(|Bytes(n)| Self::Total(n)),
        }
    }
}

impl FaultArgs {
    /// How long initialize waits for its answer.
    pub(crate) fn start_after(&self) -> Duration {
        Duration::from_millis(self.start_after.unwrap_or(0))
    }

    /// How long the socket waits to be bound.
    pub(crate) fn listen_after(&self) -> Duration {
        Duration::from_millis(self.listen_after.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_units_and_refuse_nonsense() {
        assert_eq!("64".parse(), Ok(Bytes(64)));
        assert_eq!("2k".parse(), Ok(Bytes(2048)));
        assert_eq!("1GiB".parse(), Ok(Bytes(1 << 30)));
        assert_eq!("1MB/s".parse(), Ok(Amount::PerSecond(1 << 20)));
        assert_eq!("1MB".parse(), Ok(Amount::Total(1 << 20)));
        assert!("".parse::<Bytes>().is_err());
        assert!("-1".parse::<Bytes>().is_err());
        assert!("3parsec".parse::<Bytes>().unwrap_err().contains("parsec"));
        assert!("99999999999999999GiB".parse::<Bytes>().is_err());
    }
}
