//! A set of tools under a name, and the ways to serve it.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, ToolError};
use super::call::Call;
use super::session::Session;
use super::tool::Tool;
use crate::pipe::{self, Sink};

pub(super) type Handler = Arc<dyn Fn(&Call) -> Result<Answer, ToolError> + Send + Sync>;

/// The exit code by which a host knows that only other configuration helps, so that it does not start us again.
const EX_CONFIG: u8 = 78;

/// A set of tools under a name.
pub struct Server {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) instructions: Option<String>,
    pub(super) concurrency: usize,
    pub(super) waiting: usize,
    pub(super) grace: Duration,
    pub(super) tools: Vec<(Arc<Tool>, Handler)>,
}

/// The server as it was built cannot be served; every problem is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server cannot be served: {}", .0.join("; "))]
pub struct BuildError(pub Vec<String>);

/// A variable that a server needs is not in its environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set, or empty; set it under `env` in the plugin's manifest")]
pub struct MissingVariable(pub String);

impl Server {
    /// A server without tools.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            instructions: None,
            concurrency: 64,
            waiting: 1024,
            grace: Duration::from_secs(10),
            tools: Vec::new(),
        }
    }

    /// Adds a tool and what it does. Calls of it may run at the same time.
    #[must_use]
    pub fn tool<F, R>(mut self, tool: Tool, run: F) -> Self
    where
        F: Fn(&Call) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<Answer>,
    {
        self.tools.push((Arc::new(tool), Arc::new(move |call| run(call).map(Into::into))));
        self
    }

    /// What a model should know of the server as a whole.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = Some(text.into());
        self
    }

    /// How many calls run at once (64 unless said otherwise); 1024 more wait.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls;
        self
    }

    /// How long calls in flight may go on after the end of input (10 s unless said otherwise).
    #[must_use]
    pub fn grace(mut self, span: Duration) -> Self {
        self.grace = span;
        self
    }

    /// Serves on stdin and stdout until the end of input. Nothing else may write to stdout; logs belong on stderr.
    ///
    /// # Errors
    /// If the server is built wrong, or the streams fail.
    pub fn serve_stdio(self) -> io::Result<()> {
        self.serve(io::stdin(), io::stdout())
    }

    /// Serves on any pair of byte streams until the end of input.
    ///
    /// # Errors
    /// If the server is built wrong, or the streams fail.
    pub fn serve(self, input: impl Read, output: impl Write + Send + 'static) -> io::Result<()> {
        pipe::pump(input, output, |sink| {
            self.open(sink).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
        })
    }

    /// Opens a session without a transport: messages go in by [`Session::receive`] and out by `sink`.
    ///
    /// # Errors
    /// If the server is built wrong.
    pub fn open(self, sink: Sink) -> Result<Session, BuildError> {
        let mut problems: Vec<_> = self.tools.iter().flat_map(|(tool, _)| tool.problems.clone()).collect();
        let mut names = std::collections::HashSet::new();
        for (tool, _) in &self.tools {
            if !names.insert(tool.name.as_str()) {
                problems.push(format!("there are two tools of the name {:?}", tool.name));
            }
        }
        if problems.is_empty() { Ok(Session::new(self, sink)) } else { Err(BuildError(problems)) }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tools: Vec<_> = self.tools.iter().map(|(tool, _)| &tool.name).collect();
        f.debug_struct("Server").field("name", &self.name).field("tools", &tools).finish_non_exhaustive()
    }
}

/// A variable of the environment that the server cannot do without.
///
/// # Errors
/// If it is not set, empty, or not UTF-8.
pub fn env(name: &str) -> Result<String, MissingVariable> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| MissingVariable(name.to_owned()))
}

/// A `main` for servers that need configuration: builds the server and serves it on stdin and stdout. If it cannot be
/// built the process ends with code 78, so that a host does not start it again before someone has changed something.
pub fn run<E: fmt::Display>(build: impl FnOnce() -> Result<Server, E>) -> ExitCode {
    let complain = |what: &dyn fmt::Display| {
        // Without stderr there is nobody to tell.
        writeln!(io::stderr(), "{what}").ok();
    };
    let server = match build() {
        Ok(server) => server,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EX_CONFIG);
        }
    };
    match server.serve_stdio() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(if error.kind() == io::ErrorKind::InvalidInput { EX_CONFIG } else { 1 })
        }
    }
}
