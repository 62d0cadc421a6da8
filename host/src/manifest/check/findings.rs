//! Where the checks put what they find: a document, and the problems so far.

use std::sync::Arc;

use crate::manifest::problem::{Problem, ProblemCode, Source, place_of};
use crate::manifest::tree::{Node, Spot};

/// The most problems of one plugin that are told.
const MAX_TOLD: usize = 100;

/// A plugin's keys, and the files they were read from.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) root: Node,
}

/// What was found in a document.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) document: &'a Document,
    problems: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(document: &'a Document) -> Self {
        Self { document, problems: Vec::new() }
    }

    /// An error at a value.
    pub(crate) fn error(&mut self, pointer: &str, message: impl Into<String>) -> &mut Problem {
        let spot = self.document.root.at(pointer).map(|node| node.spot);
        self.add(pointer, spot, message)
    }

    /// An error at a key.
    pub(crate) fn error_at_key(
        &mut self,
        table: &str,
        key: &str,
        message: impl Into<String>,
    ) -> &mut Problem {
        let spot = self.document.root.at(table).and_then(|node| node.entry(key)).map(|entry| entry.key_spot);
        self.add(&format!("{table}/{}", crate::manifest::tree::escape(key)), spot, message)
    }

    /// A value that is missing, at a part of a text.
    pub(crate) fn missing(
        &mut self,
        pointer: &str,
        part: Option<std::ops::Range<usize>>,
        message: String,
    ) -> &mut Problem {
        let spot = self.document.root.at(pointer).map(|node| self.inside(node, part));
        let problem = self.add(pointer, spot, message);
        problem.code = ProblemCode::MissingVariable;
        problem
    }

    /// An error at a part of a text.
    pub(crate) fn error_in(
        &mut self,
        pointer: &str,
        part: std::ops::Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        let spot = self.document.root.at(pointer).map(|node| self.inside(node, Some(part)));
        self.add(pointer, spot, message)
    }

    /// Whether the file says something at this place.
    pub(crate) fn wrote(&self, pointer: &str) -> bool {
        self.document.root.at(pointer).is_some()
    }

    /// The places of all problems so far.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| problem.pointer.as_str())
    }

    /// Whether something is wrong with this value already.
    pub(crate) fn told(&self, pointer: &str) -> bool {
        self.pointers().any(|other| other == pointer)
    }

    /// Whether anything found so far is an error.
    pub(crate) fn any_error(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// All problems, in the order of the file.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        let more = self.problems.len().saturating_sub(MAX_TOLD);
        if more > 0 {
            self.problems.truncate(MAX_TOLD);
            self.add("", None, format!("{more} more problems"));
        }
        self.problems
    }

    fn add(&mut self, pointer: &str, spot: Option<Spot>, message: impl Into<String>) -> &mut Problem {
        let sources = &self.document.sources;
        let place = spot.and_then(|spot| place_of(sources, spot));
        let main = spot.and_then(|spot| sources.get(spot.source)).or_else(|| sources.first());
        let path = main.map(|source| source.path.clone()).unwrap_or_default();
        let problem = Problem { place, pointer: pointer.to_owned(), ..Problem::of_file(&path, message) };
        self.problems.push_mut(problem)
    }

    /// The place of a part of a text, where the file holds the text as it is; with escapes in it, the whole text.
    fn inside(&self, node: &Node, part: Option<std::ops::Range<usize>>) -> Spot {
        let whole = node.spot;
        let raw = self.document.sources.get(whole.source).and_then(|source| source.text.get(whole.range()));
        let (Some(part), Some(raw), Some(text)) = (part, raw, node.str()) else { return whole };
        raw.find(text).map_or(whole, |at| {
            let start = whole.start + at;
            Spot { start: start + part.start, end: start + part.end, ..whole }
        })
    }
}
