//! `wharf mock`: an MCP server that does as it is told, for tests that need one.
//!
//! It starts in a few milliseconds, ends with its standard input or at SIGTERM, says nothing but MCP on standard output
//! (unless asked to) and writes down what it really ran. It shares no framing code with the host: each checks the other.
//!
//! # How it speaks
//!
//! | flag | meaning |
//! |---|---|
//! | `--dialect stdio` | lines on stdin and stdout (default) |
//! | `--dialect http` | streamable HTTP of 2025-03-26 to 2025-11-25 at `/mcp`; `--http-answer json\|sse` |
//! | `--dialect sse` | HTTP+SSE of 2024-11-05: `GET /sse`, `POST /messages?session_id=` |
//! | `--dialect sse-post` | `GET /`, `POST /sse` with `initialize`, `list_tools`, `call_tool`; session in `x-session-id` |
//! | `--host`, `--port` | where to listen; port 0 takes any. Stderr says `listening on http://127.0.0.1:N/path` |
//! | `--era legacy` | `initialize` and sessions; an unknown revision is answered with 2025-11-25 |
//! | `--ping-client` | sends `ping` and `roots/list` right after `notifications/initialized` |
//! | `--list-changed` | sends four `list_changed` in a row there |
//!
//! `http` and `sse` answer `GET /health`, `sse-post` answers `GET /`.
//!
//! # What it offers
//!
//! Without a script: the tools `echo {message}`, `add {a, b}`, `sleep {ms}`, `count {}` (the only one with a side
//! effect), `progress {steps, interval_ms}`, `env {name}`, `whoami {}`, `fail {message}`, `rpc_error {code}`,
//! `big {bytes}` and `ask {method, params, timeout_ms}` (asks the client), the resource `mock://readme`, the prompt `greet`.
//!
//! `--script FILE` (TOML if it is named so, else JSON) replaces them. All keys are optional but `name` and `uri`:
//!
//! ```toml
//! name = "weather"          # also version, instructions
//! page_size = 10            # lists come in pages
//! list_forever = false      # true: there is always a next page
//! default_tools = false     # true: the tools above as well
//! generate_tools = 0        # so many more: t0, t1, ..
//! [[tools]]
//! name = "forecast"         # also title, description, inputSchema, outputSchema, annotations, icons, execution, _meta
//! answer = { structuredContent = { sun = true }, delay = "20ms", progress = 3 }   # or text, content, isError, _meta
//! [[tools]]
//! name = "broken"
//! answer = { error = { code = -32000, message = "no weather today" } }
//! [[resources]]
//! uri = "weather://today"   # also name, title, description, mimeType, text or blob, ..
//! text = "sunny"
//! [[prompts]]
//! name = "ask"              # also title, description, arguments, messages
//! text = "How is the weather?"
//! ```
//!
//! # What it writes down
//!
//! `--ledger FILE`: one line of JSON for each call that ran, `{n, tool, arguments, at, pid, phase}`. `n` counts the calls
//! of this process from 1, `at` is in milliseconds since 1970, `phase` is `begin`, then `end` or `cancelled` (by the
//! client, or by an orderly end). A `begin` alone is a call that a crash cut off. A call whose name or arguments were
//! refused before a tool was reached leaves no line; several processes may share a file.
//!
//! # What goes wrong
//!
//! All can be combined. Calls are counted as in the ledger, from 1; a call that is refused counts too.
//!
//! | flag | fault |
//! |---|---|
//! | `--crash-at-start CODE`, `--exit-at-start` | exits before anything is read, with CODE or 0 |
//! | `--crash-at-call N` | dies when call N arrives: it did not run |
//! | `--crash-after-call N` | dies after call N ran, before it is answered |
//! | `--crash-code CODE`, `--abort` | how it dies there: exit code (1), or SIGABRT (at the start as well) |
//! | `--hang-at-start`, `--start-after MS` | initialize is never answered, or late |
//! | `--hang-at-call N` | call N begins and never ends |
//! | `--refuse-to-listen`, `--listen-after MS` | lives without a socket, for ever or for a while |
//! | `--garbage[=N]` | N (6) lines before the answer to initialize: no JSON, bad UTF-8, a BOM, half a message |
//! | `--garbage-at-call N` | the garbage comes before the answer to call N |
//! | `--log-on-stdout` | a human log line before each answer |
//! | `--huge-line BYTES` `[--huge-line-at-call N]` | a line of that size before the answer to initialize, or to call N |
//! | `--close-stdout-at-call N` | closes stdout (or breaks the response off) instead of answering, and lives |
//! | `--wrong-id[=instead\|extra\|next]` | calls are answered under an id that nobody sent, or not yet |
//! | `--odd-answer WHAT` `[--odd-answer-at-call N]` | `deep`, `digits`, `zeros`, `nan`, `surrogate` or `huge`, under the right id |
//! | `--one-at-a-time` | while a call runs, nothing else is answered: no ping either |
//! | `--answer-twice`, `--unknown-notification` | around the answer to each call |
//! | `--pretty` | results over several lines (on stdio a message stays one line) |
//! | `--unhealthy-after N` | answers N pings and health checks, then none |
//! | `--lose-sessions-after N`, `--session-lost-status 404\|400` | forgets all sessions after each N calls |
//! | `--ignore-sigterm`, `--ignore-stdin-close` | lives on, ten minutes at most |
//! | `--fork-grandchild` | leaves a `sleep 600` in a session of its own that holds stdout and stderr; its pid is on stderr |
//! | `--flood-stderr BYTES[/s]` | so much at once, or so much each second |
//! | `--memory BYTES[/s]` | allocates at once, or leaks up to 4 GiB |
//! | `--fault-times K --fault-counter FILE` | only the first K launches have the faults; each appends a byte to FILE |
//!
//! # Examples
//!
//! ```text
//! wharf mock --ledger ran.jsonl --crash-after-call 2 --fault-times 1 --fault-counter launches
//! wharf mock --dialect http --http-answer sse --port 7001 --lose-sessions-after 3 --session-lost-status 400
//! wharf mock --script weather.toml --garbage --log-on-stdout --ignore-sigterm
//! ```

mod args;
mod faults;
mod frame;
mod http;
mod ledger;
mod odd;
mod script;
mod server;
mod session;
mod sse;
mod sse_post;
mod stdio;
mod tools;
mod web;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod web_tests;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

pub use args::{Amount, Args, Bytes, Dialect, Era, FaultArgs, HttpAnswer, Odd, WrongId};
use faults::{Death, Die, Faults, LAST_RESORT};
use ledger::Ledger;
use script::{Script, ScriptError};
use server::Server;
use tokio::signal::unix::{SignalKind, signal};

/// Why the mock does not run.
#[derive(Debug, thiserror::Error)]
enum MockError {
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error("cannot open the ledger {path}: {error}")]
    Ledger { path: String, error: std::io::Error },
    #[error("cannot count the launch in the --fault-counter file: {0}")]
    Counter(std::io::Error),
    #[error("cannot start a fault (--fork-grandchild needs the program setsid): {0}")]
    Background(std::io::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Plays the server until its client or a signal ends it.
pub async fn run(args: Args) -> ExitCode {
    match play(&args).await {
        Ok(code) => {
            // Standard input and output are read and written by threads that may block for ever; nothing must wait for them.
            faults::really_die(Death::Exit(code));
            ExitCode::from(code)
        }
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(2)
        }
    }
}

async fn play(args: &Args) -> Result<u8, MockError> {
    let die: Die = Arc::new(faults::really_die);
    let faults = Faults::new(args, die).map_err(MockError::Counter)?;
    if faults.args.exit_at_start {
        return Ok(0);
    }
    if let Some(code) = faults.args.crash_at_start {
        faults.die(code).await;
    }
    let script = args.script.as_deref().map_or_else(|| Ok(Script::default()), Script::load)?;
    let open = |path: &std::path::PathBuf| {
        Ledger::open(path).map_err(|error| MockError::Ledger { path: path.display().to_string(), error })
    };
    let ledger = args.ledger.as_ref().map(open).transpose()?;
    let mut term = signal(SignalKind::terminate())?;
    faults.start_background().map_err(MockError::Background)?;
    let server = Server::new(args, script, faults, ledger);
    let ignore = server.faults.args.ignore_sigterm;
    let ended = async {
        term.recv().await;
        if ignore {
            note("ignores SIGTERM");
            tokio::time::sleep(LAST_RESORT).await;
        }
    };
    tokio::select! {
        () = ended => Ok(0),
        served = serve(args, &server) => served.map(|()| 0),
    }
}

async fn serve(args: &Args, server: &Arc<Server>) -> Result<(), MockError> {
    match args.dialect {
        Dialect::Stdio => {
            stdio::serve(Arc::clone(server), stdio::stdin()?, stdio::Stdout::open()?).await?;
            if server.faults.args.ignore_stdin_close {
                note("ignores the end of stdin");
                tokio::time::sleep(LAST_RESORT).await;
            }
        }
        Dialect::Http => {
            web::listen(args, server, http::routes(Arc::clone(server), args.http_answer), http::PATH).await?
        }
        Dialect::Sse => web::listen(args, server, sse::routes(Arc::clone(server)), sse::PATH).await?,
        Dialect::SsePost => {
            web::listen(args, server, sse_post::routes(Arc::clone(server)), sse_post::PATH).await?
        }
    }
    Ok(())
}

/// One line on stderr, where a server may say what it likes.
fn note(text: &str) {
    say(&format!("mock: {text}"));
}

/// The same, word for word.
fn say(line: &str) {
    // Nobody may be listening, and then nobody misses it.
    writeln!(std::io::stderr(), "{line}").ok();
}
