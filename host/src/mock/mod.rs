//! `wharf mock`: an MCP server that does as it is told. (The manual comes with the HTTP dialects.)

mod args;
mod faults;
mod frame;
mod http;
mod ledger;
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

pub use args::{Amount, Args, Bytes, Dialect, Era, FaultArgs, HttpAnswer, WrongId};
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
