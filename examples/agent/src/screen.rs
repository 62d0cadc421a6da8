//! What the user sees. The answer goes to stdout and nothing else does; what happens meanwhile goes to stderr.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::failure::short;

/// The longest line of a call or a result, in characters.
const WIDTH: usize = 160;

/// Where things are shown. What cannot be shown, as to a closed pipe, is dropped.
pub struct Screen {
    answer: Box<dyn Write + Send>,
    aside: Box<dyn Write + Send>,
    /// Whether the answer's last line is not ended yet.
    open: bool,
}

impl Screen {
    /// Shows answers here and the rest there.
    pub fn new(answer: impl Write + Send + 'static, aside: impl Write + Send + 'static) -> Self {
        Self { answer: Box::new(answer), aside: Box::new(aside), open: false }
    }

    /// A piece of the answer, at once.
    pub fn say(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        write!(self.answer, "{piece}").and_then(|()| self.answer.flush()).ok();
        self.open = !piece.ends_with('\n');
    }

    /// The end of a message.
    pub fn end_line(&mut self) {
        if std::mem::take(&mut self.open) {
            writeln!(self.answer).and_then(|()| self.answer.flush()).ok();
        }
    }

    /// Something that is not the answer.
    pub fn note(&mut self, text: &str) {
        self.end_line();
        writeln!(self.aside, "{text}").and_then(|()| self.aside.flush()).ok();
    }

    /// A prompt, which stays on its line.
    pub fn prompt(&mut self, text: &str) {
        self.end_line();
        write!(self.aside, "{text}").and_then(|()| self.aside.flush()).ok();
    }

    /// Something that the user asked for and may want to pipe on.
    pub fn table(&mut self, text: &str) {
        self.end_line();
        write!(self.answer, "{text}").and_then(|()| self.answer.flush()).ok();
    }

    /// A tool is called.
    pub fn call(&mut self, tool: &str, arguments: &Value) {
        self.note(&format!("   Calling: {tool}({})", short(arguments, WIDTH)));
    }

    /// A tool answered.
    pub fn result(&mut self, failed: bool, result: &Value, took: Duration) {
        let plain = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
        let head = if failed { "✗ Error" } else { "✓ Result" };
        self.note(&format!("   {head}: {} ({} ms)", short(plain, WIDTH), took.as_millis()));
    }
}
