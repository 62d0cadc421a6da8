//! The variables of a manifest's texts, found but not looked up: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`,
//! `${env:VAR}`, `${file:PATH}`, `${input:ID}`, the host's own (`${port}` ..), and `$${` for a literal `${`.
//!
//! A bare `$VAR` is text. Nothing is nested. Where values come from is not known here.

use std::ops::Range;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Literal text, escapes resolved.
    Text(String),
    /// A variable, and where it stands in the text (bytes).
    Variable(Variable, Range<usize>),
}

/// A variable that a text uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `${VAR}` and `${env:VAR}`.
    Env(String, Unset),
    /// `${input:ID}`: something that a user is asked for.
    Input(String, Unset),
    /// `${file:PATH}`: the contents of a file.
    File(String),
    /// One that the host itself knows.
    Own(Own),
}

/// What counts where a variable has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It is a problem.
    Problem,
    /// It is a problem, and this says more: `${VAR:?message}`.
    Message(String),
    /// This stands in, also for an empty value: `${VAR:-default}`.
    Default(String),
}

/// The host's own variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The port chosen for the launch.
    Port,
    /// The number of the instance.
    Replica,
    /// A folder that is the plugin's alone and outlives it.
    DataDir,
    /// The folder of the manifest.
    PluginDir,
    /// Our own executable.
    Wharf,
}

/// A `${` that is no variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadVariable {
    /// Where (bytes of the text).
    pub span: Range<usize>,
    /// What is wrong.
    pub message: &'static str,
}

// === impl Own ===

impl Own {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Port, Self::Replica, Self::DataDir, Self::PluginDir, Self::Wharf];

    /// The name in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Replica => "replica",
            Self::DataDir => "data_dir",
            Self::PluginDir => "plugin_dir",
            Self::Wharf => "wharf",
        }
    }
}

/// Takes a text apart. Neighbouring text is one part; an empty text has no parts.
///
/// # Errors
/// Every `${` that is not closed, or does not name a variable.
pub fn parse(text: &str) -> Result<Vec<Part>, Vec<BadVariable>> {
    let mut parts = Vec::new();
    let mut bad = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("$${") {
            literal.push_str("${");
            at += 3;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let Some(len) = inner.find('}') else {
                bad.push(BadVariable { span: at..text.len(), message: "`${` without a closing `}`" });
                break;
            };
            let span = at..at + len + 3;
            at = span.end;
            match variable(inner.get(..len).unwrap_or_default()) {
                Ok(variable) => {
                    flush(&mut literal, &mut parts);
                    parts.push(Part::Variable(variable, span));
                }
                Err(message) => bad.push(BadVariable { span, message }),
            }
        } else {
            let len = rest.chars().next().map_or(1, char::len_utf8);
            literal.push_str(rest.get(..len).unwrap_or_default());
            at += len;
        }
    }
    flush(&mut literal, &mut parts);
    if bad.is_empty() { Ok(parts) } else { Err(bad) }
}

/// A text that [`parse`] reads back as exactly `text`.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn flush(literal: &mut String, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
}

/// What stands between `${` and `}`.
fn variable(inner: &str) -> Result<Variable, &'static str> {
    if inner.contains("${") {
        return Err("variables cannot be nested");
    }
    if let Some(path) = inner.strip_prefix("file:") {
        return if path.is_empty() {
            Err("`${file:}` needs a path")
        } else {
            Ok(Variable::File(path.to_owned()))
        };
    }
    let (source, rest) = match inner.split_once(':') {
        Some((source @ ("env" | "input"), rest)) if !rest.starts_with(['-', '?']) => (source, rest),
        _ => ("", inner),
    };
    let (name, unset) = split_unset(rest)?;
    if source == "input" {
        let legal = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        return if legal { Ok(Variable::Input(name.to_owned(), unset)) } else { Err(BAD_INPUT) };
    }
    if source.is_empty()
        && let Some(own) = Own::ALL.into_iter().find(|own| own.name() == name)
    {
        return if unset == Unset::Problem { Ok(Variable::Own(own)) } else { Err(BAD_OWN) };
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let legal = first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if legal { Ok(Variable::Env(name.to_owned(), unset)) } else { Err(BAD_NAME) }
}

const BAD_INPUT: &str = "the id of an input is 1 to 64 letters, digits, `_` and `-`";
const BAD_OWN: &str = "this variable always has a value; it takes no default and no message";
const BAD_NAME: &str = "no variable: write ${VAR}, ${VAR:-default}, ${VAR:?message}, ${env:VAR}, ${file:PATH}, ${input:ID}, \
                        ${port}, ${replica}, ${data_dir}, ${plugin_dir} or ${wharf}; $${ stands for a literal ${";

fn split_unset(rest: &str) -> Result<(&str, Unset), &'static str> {
    let Some((name, tail)) = rest.split_once(':') else { return Ok((rest, Unset::Problem)) };
    if let Some(default) = tail.strip_prefix('-') {
        Ok((name, Unset::Default(default.to_owned())))
    } else if let Some(message) = tail.strip_prefix('?') {
        Ok((name, Unset::Message(message.to_owned())))
    } else {
        Err(BAD_NAME)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Variable {
        match parse(text).unwrap().remove(0) {
            Part::Variable(variable, span) => {
                assert_eq!(span, 0..text.len());
                variable
            }
            Part::Text(text) => panic!("{text:?} is text"),
        }
    }

    #[test]
    fn every_form_is_read() {
        let env = |name: &str, unset| Variable::Env(name.to_owned(), unset);
        assert_eq!(one("${A_1}"), env("A_1", Unset::Problem));
        assert_eq!(one("${A:-b:c}"), env("A", Unset::Default("b:c".into())));
        assert_eq!(one("${A:-}"), env("A", Unset::Default(String::new())));
        assert_eq!(one("${A:?why}"), env("A", Unset::Message("why".into())));
        assert_eq!(one("${env:port}"), env("port", Unset::Problem));
        assert_eq!(one("${env:-x}"), env("env", Unset::Default("x".into())));
        assert_eq!(one("${env:A:-x}"), env("A", Unset::Default("x".into())));
        assert_eq!(one("${file:/run/a:-b}"), Variable::File("/run/a:-b".into()));
        assert_eq!(one("${input:api-key}"), Variable::Input("api-key".into(), Unset::Problem));
        for own in Own::ALL {
            assert_eq!(one(&format!("${{{}}}", own.name())), Variable::Own(own));
        }
    }

    #[test]
    fn what_is_no_variable_is_text() {
        for text in ["$VAR", "$", "$$", "100$", "%VAR%", "{x}", "$ {x}", "ä$ö"] {
            assert_eq!(parse(text).unwrap(), [Part::Text(text.into())], "{text}");
        }
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("a$${X}b").unwrap(), [Part::Text("a${X}b".into())]);
        assert_eq!(parse("$$${X}").unwrap(), [Part::Text("$${X}".into())]);
    }

    #[test]
    fn bad_ones_are_told_with_their_place() {
        for (text, span) in [
            ("a${X", 1..4),
            ("${}", 0..3),
            ("${1A}", 0..5),
            ("${A B}", 0..6),
            ("${A:b}", 0..6),
            ("${cmd:ls}", 0..9),
            ("${port:-1}", 0..10),
            ("${file:}", 0..8),
            ("${input:}", 0..9),
            ("x${A:-${B}", 1..10),
        ] {
            assert_eq!(parse(text).unwrap_err().first().unwrap().span, span, "{text}");
        }
        assert_eq!(parse("${1} ${2}").unwrap_err().len(), 2, "all at once");
    }

    proptest! {
        #[test]
        fn never_panics_and_spans_lie_inside(text in "[ -~äß$\\{\\}:\\-?]{0,60}") {
            let spans: Vec<Range<usize>> = match parse(&text) {
                Ok(parts) => parts.into_iter().filter_map(|part| match part {
                    Part::Variable(_, span) => Some(span),
                    Part::Text(_) => None,
                }).collect(),
                Err(bad) => bad.into_iter().map(|b| b.span).collect(),
            };
            for span in &spans {
                prop_assert!(text.get(span.clone()).is_some_and(|t| t.starts_with("${")), "{span:?} of {text:?}");
            }
            prop_assert!(spans.is_sorted_by(|a, b| a.end <= b.start));
        }

        #[test]
        fn escaped_text_comes_back(text in "[$\\{\\}a-z:ä]{0,40}") {
            let back = parse(&escape(&text)).unwrap();
            let expected: Vec<Part> = if text.is_empty() { vec![] } else { vec![Part::Text(text)] };
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn text_around_a_variable_is_kept(before in "[a-z$]{0,9}[a-z]", after in "[a-z$}]{0,9}") {
            let text = format!("{before}${{V}}{after}");
            let parts = parse(&text).unwrap();
            prop_assert_eq!(parts.first(), Some(&Part::Text(before.clone())));
            prop_assert_eq!(parts.get(1), Some(&Part::Variable(Variable::Env("V".into(), Unset::Problem), before.len()..before.len() + 4)));
            prop_assert_eq!(parts.get(2).cloned(), (!after.is_empty()).then_some(Part::Text(after)));
        }
    }
}
