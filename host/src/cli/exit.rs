//! How a command ends: the exit codes that scripts rely on, and what people are told.

use std::process::ExitCode;

use serde::Deserialize;
use wharf_core::Code;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// Not done.
    Failure = 1,
    /// The command line or its arguments are wrong.
    Usage = 2,
    /// No host answers.
    NotRunning = 3,
    /// No such plugin, tool, call, operation.
    NotFound = 4,
    /// The tool answered with an error.
    ToolError = 5,
    /// It took too long.
    Timeout = 6,
    /// A manifest is wrong.
    Invalid = 7,
    /// The host does not let us in.
    NotAuthorised = 8,
    /// Interrupted.
    Interrupted = 130,
}

/// Why a command did not do what it was asked to. Shown as title, details and remedy.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) exit: Exit,
    /// Empty: nothing is said, the exit code is all.
    pub(super) title: String,
    pub(super) details: Vec<String>,
    pub(super) remedy: Option<String>,
}

/// What the command line reads of a problem.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    #[serde(default)]
    errors: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    pointer: String,
    detail: String,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Complaint {
    pub(super) fn new(exit: Exit, title: impl Into<String>) -> Self {
        Self { exit, title: title.into(), details: Vec::new(), remedy: None }
    }

    /// Ends with a code and without words: they were said already.
    pub(super) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// An answer of the host that is not a success.
    pub(super) fn of_problem(status: u16, body: &[u8]) -> Self {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let code = Code::ALL.iter().copied().find(|code| Some(code.as_str()) == problem.code.as_deref());
        let title = problem.title.unwrap_or_else(|| format!("the host answered with status {status}"));
        let mut complaint = Self::new(code.map_or_else(|| exit_of_status(status), exit_of_code), title);
        // What concerns the whole stands in the detail already.
        let places = problem.errors.into_iter().filter(|place| !place.pointer.is_empty());
        complaint.details.extend(problem.detail);
        complaint.details.extend(places.map(|Place { pointer, detail }| format!("{pointer}: {detail}")));
        complaint.remedy = code.and_then(remedy_of_code).map(str::to_owned);
        complaint
    }
}

fn exit_of_code(code: Code) -> Exit {
    match code {
        Code::BadRequest | Code::InvalidArguments | Code::TooLarge | Code::UnsupportedMediaType => {
            Exit::Usage
        }
        Code::Unauthorized | Code::Forbidden => Exit::NotAuthorised,
        Code::NotFound
        | Code::PluginNotFound
        | Code::ToolNotFound
        | Code::CallNotFound
        | Code::OperationNotFound => Exit::NotFound,
        Code::ToolError => Exit::ToolError,
        Code::Deadline => Exit::Timeout,
        Code::MethodNotAllowed
        | Code::InputRequired
        | Code::IdempotencyConflict
        | Code::RateLimited
        | Code::QueueFull
        | Code::Overloaded
        | Code::PluginUnavailable
        | Code::NotDelivered
        | Code::NotDurable
        | Code::OutcomeUnknown
        | Code::ProtocolError
        | Code::SessionLost
        | Code::Cancelled
        | Code::Internal => Exit::Failure,
    }
}

/// For an answer that is no problem of ours, e.g. of a proxy in between.
fn exit_of_status(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::NotAuthorised,
        404 => Exit::NotFound,
        408 | 504 => Exit::Timeout,
        _ => Exit::Failure,
    }
}

fn remedy_of_code(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthorized => Some("give the host's token with --token or WHARF_TOKEN"),
        Code::PluginUnavailable => Some("`wharf ps` shows the states and their causes"),
        Code::InvalidArguments => Some("`wharf describe PLUGIN/TOOL` shows what the tool takes"),
        Code::Deadline => Some("give it longer with --timeout, within the manifest's limits.max_timeout"),
        Code::OutcomeUnknown => Some("the call may have run; look before you repeat it"),
        Code::BadRequest
        | Code::TooLarge
        | Code::UnsupportedMediaType
        | Code::Forbidden
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::PluginNotFound
        | Code::ToolNotFound
        | Code::CallNotFound
        | Code::OperationNotFound
        | Code::InputRequired
        | Code::IdempotencyConflict
        | Code::RateLimited
        | Code::QueueFull
        | Code::Overloaded
        | Code::NotDelivered
        | Code::NotDurable
        | Code::ProtocolError
        | Code::SessionLost
        | Code::Cancelled
        | Code::ToolError
        | Code::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Complaint, Exit};

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let all = [
            (Exit::Ok, 0),
            (Exit::Failure, 1),
            (Exit::Usage, 2),
            (Exit::NotRunning, 3),
            (Exit::NotFound, 4),
            (Exit::ToolError, 5),
            (Exit::Timeout, 6),
            (Exit::Invalid, 7),
            (Exit::NotAuthorised, 8),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in all {
            assert_eq!(exit as u8, code);
        }
    }

    #[test]
    fn a_problem_becomes_an_exit_code_and_words() {
        let of = |status, code: &str| {
            Complaint::of_problem(status, format!(r#"{{"code":"{code}"}}"#).as_bytes()).exit
        };
        assert_eq!(of(404, "plugin_not_found"), Exit::NotFound);
        assert_eq!(of(404, "tool_not_found"), Exit::NotFound);
        assert_eq!(of(401, "unauthorized"), Exit::NotAuthorised);
        assert_eq!(of(403, "forbidden"), Exit::NotAuthorised);
        assert_eq!(of(504, "deadline"), Exit::Timeout);
        assert_eq!(of(502, "tool_error"), Exit::ToolError);
        assert_eq!(of(422, "invalid_arguments"), Exit::Usage);
        assert_eq!(of(503, "plugin_unavailable"), Exit::Failure);
        assert_eq!(of(504, "from_the_future"), Exit::Timeout);
        assert_eq!(Complaint::of_problem(502, b"<html>").exit, Exit::Failure);

        let body = br#"{"title":"T","detail":"D","code":"invalid_arguments","errors":[{"pointer":"/n","detail":"no"}]}"#;
        let complaint = Complaint::of_problem(422, body);
        assert_eq!(
            (complaint.title.as_str(), complaint.details.as_slice()),
            ("T", ["D".into(), "/n: no".into()].as_slice())
        );
        assert!(complaint.remedy.is_some());
    }
}
