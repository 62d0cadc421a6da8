//! The chat: reads lines, answers them, and does what begins with a slash. Ctrl-C ends an answer; at the prompt it ends
//! the chat.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::failure::{Failure, short};
use crate::screen::Screen;
use crate::status;
use crate::tools::{self, Allowed};

/// What can be typed.
const HELP: &str = "\
/status            how the servers do: state, requests, success rate, mean time, breaker; and the tools
/tools             the tools that the model may use
/namespace [NAME..] shows the namespaces, or restricts the model to these; `all` lifts that
/save FILE         keeps the conversation in a file from here on
/new               begins a new conversation
/quit              ends the chat, as the end of input does
";

/// The longest message, in bytes.
const LONGEST: usize = 1 << 20;

/// A chat.
pub struct Chat {
    /// Answers.
    pub agent: Agent,
    /// Shows.
    pub screen: Screen,
    /// Where the conversation is kept, if it is.
    pub keep: Option<PathBuf>,
    /// Ctrl-C, also when it was pressed while nobody looked.
    pub interrupts: Signal,
}

/// Whether a chat goes on.
enum Next {
    Go,
    End,
}

impl Chat {
    /// Answers once.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn once(&mut self, prompt: &str) -> Result<(), Failure> {
        let answered = self.answer(prompt).await;
        answered.and(self.save())
    }

    /// Answers until the end of input.
    ///
    /// # Errors
    /// If the conversation cannot be kept. What goes wrong with one message is shown and does not end the chat.
    pub async fn run(&mut self) -> Result<(), Failure> {
        let prompt = if std::io::stdin().is_terminal() { "\nYou: " } else { "" };
        let mut lines = lines();
        loop {
            self.screen.prompt(prompt);
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = self.interrupts.recv() => return Err(Failure::Interrupted),
            };
            let Some(line) = line else { return Ok(()) };
            let line = line.trim();
            if line.len() > LONGEST {
                self.screen.note(&format!("A message may have {LONGEST} bytes at most."));
            } else if line.starts_with('/') {
                if matches!(self.command(line).await?, Next::End) {
                    return Ok(());
                }
            } else if !line.is_empty() {
                if let Err(failure) = self.answer(line).await {
                    self.screen.note(&format!("✗ {failure}"));
                }
                self.save()?;
            }
        }
    }

    /// Ends it in good order.
    pub async fn close(self) {
        self.agent.server.close().await;
    }

    async fn answer(&mut self, prompt: &str) -> Result<(), Failure> {
        let Self { agent, screen, interrupts, .. } = self;
        let answered = tokio::select! {
            answered = agent.answer(prompt, screen) => answered,
            _ = interrupts.recv() => Err(Failure::Interrupted),
        };
        self.agent.interrupted();
        self.screen.end_line();
        answered
    }

    fn save(&self) -> Result<(), Failure> {
        self.keep.as_ref().map_or(Ok(()), |path| self.agent.conversation.save(path))
    }

    async fn command(&mut self, line: &str) -> Result<Next, Failure> {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let rest: Vec<_> = words.map(str::to_owned).collect();
        match (command, rest.as_slice()) {
            ("/quit" | "/exit", _) => return Ok(Next::End),
            ("/help", _) => self.screen.table(HELP),
            ("/status", _) => {
                let table = status::table(&self.agent.server, &self.agent.counts).await;
                self.screen.table(&table);
            }
            ("/tools", _) => self.tools().await,
            ("/namespace" | "/namespaces", _) => self.namespaces(rest).await,
            ("/save", [path]) => {
                self.keep = Some(PathBuf::from(path));
                self.save()?;
            }
            ("/new", _) => self.agent.conversation.messages.clear(),
            ("/save", _) => self.screen.note("Which file? /save FILE"),
            _ => self.screen.note(&format!("There is no {command}; /help lists what there is.")),
        }
        Ok(Next::Go)
    }

    async fn tools(&mut self) {
        self.refresh().await;
        let lines = self.agent.tools().iter().fold(String::new(), |lines, tool| {
            format!("{lines}{}  {}\n", tool.name, short(&tool.description, 90))
        });
        self.screen.table(&lines);
    }

    async fn namespaces(&mut self, names: Vec<String>) {
        self.refresh().await;
        let counts = tools::count(self.agent.server.tools());
        if let Some(unknown) = names.iter().find(|name| *name != "all" && !counts.contains_key(name.as_str()))
        {
            self.screen.note(&format!("There is no namespace {unknown}."));
        } else if !names.is_empty() {
            self.agent.allowed = Allowed::only(names.into_iter().filter(|name| name != "all"));
        }
        let counts = tools::count(self.agent.server.tools());
        let lines = counts.iter().fold(String::new(), |lines, (namespace, count)| {
            let used = self.agent.allowed.has_namespace(namespace);
            let name = if namespace.is_empty() { "(none)" } else { namespace };
            format!("{lines}{} {name}  {count} tools\n", if used { "*" } else { " " })
        });
        self.screen.table(&lines);
    }

    async fn refresh(&mut self) {
        if let Err(failure) = self.agent.server.refresh().await {
            self.screen.note(&format!("✗ {failure}"));
        }
    }
}

/// The lines of stdin. A thread reads them, since nothing can end a read of a terminal.
fn lines() -> mpsc::Receiver<String> {
    let (line, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for read in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
            if line.blocking_send(String::from_utf8_lossy(&read).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}
