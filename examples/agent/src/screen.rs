//! What the user sees. The answer goes to stdout and nothing else does; what happens meanwhile goes to stderr. Models and
//! tools cannot steer the terminal: control characters are left out.

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
        write!(self.answer, "{}", plain(piece)).and_then(|()| self.answer.flush()).ok();
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
        writeln!(self.aside, "{}", plain(text)).and_then(|()| self.aside.flush()).ok();
    }

    /// A prompt, which stays on its line.
    pub fn prompt(&mut self, text: &str) {
        self.end_line();
        write!(self.aside, "{text}").and_then(|()| self.aside.flush()).ok();
    }

    /// Something that the user asked for and may want to pipe on.
    pub fn table(&mut self, text: &str) {
        self.end_line();
        write!(self.answer, "{}", plain(text)).and_then(|()| self.answer.flush()).ok();
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

/// The text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::{Duration, Screen};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn nobody_steers_the_terminal_and_answers_stay_apart() {
        let (answer, aside) = (Paper::default(), Paper::default());
        let mut screen = Screen::new(answer.clone(), aside.clone());
        screen.say("a\u{1b}[2J\tb\u{9b}c");
        screen.call("t\u{7}", &json!({ "x": "y\u{1b}" }));
        screen.result(false, &"one\n\u{1b}]0;two".into(), Duration::from_millis(7));
        screen.say("end\n");
        screen.end_line();
        assert_eq!(answer.text(), "a[2J\tbc\nend\n");
        assert_eq!(aside.text(), "   Calling: t({\"x\":\"y\\u001b\"})\n   ✓ Result: one ]0;two (7 ms)\n");
    }
}
