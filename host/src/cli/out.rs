//! The only place that writes to stdout and stderr.

use std::io::{self, ErrorKind, IsTerminal, Write};

use super::exit::{Complaint, Exit};

/// Writes data to stdout. A reader that has seen enough (`| head`) ends the command without a word.
pub(super) fn data(text: &str) -> Result<(), Complaint> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            return Complaint::silent(Exit::Ok);
        }
        Complaint::new(Exit::Failure, "stdout cannot be written").detail(error.to_string())
    })
}

/// Writes data and a line end.
pub(super) fn line(text: &str) -> Result<(), Complaint> {
    data(&format!("{text}\n"))
}

/// Writes what a tool says: byte by byte into a file or a pipe, harmless onto a terminal.
pub(super) fn foreign(text: &str) -> Result<(), Complaint> {
    if io::stdout().is_terminal() { line(&harmless(text)) } else { line(text) }
}

/// Writes a message to stderr. That nobody hears it is no reason to stop.
pub(super) fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Tells why a command failed: title, details, remedy.
pub(super) fn complain(complaint: &Complaint) {
    if complaint.title.is_empty() {
        return;
    }
    let mut text = format!("error: {}", complaint.title);
    for detail in &complaint.details {
        text.push_str("\n  ");
        text.push_str(&detail.replace('\n', "\n  "));
    }
    if let Some(remedy) = &complaint.remedy {
        text.push_str("\n  help: ");
        text.push_str(remedy);
    }
    note(&harmless(&text));
}

/// Whether stdout takes colours.
pub(super) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text of several lines from a plugin or a host, safe for a terminal.
pub(super) fn harmless(text: &str) -> String {
    crate::telemetry::harmless(text, &['\n', '\t'])
}
