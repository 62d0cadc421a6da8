//! A foreign file, entry by entry: each with its overlay and checked, those that share a plugin joined.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wharf_core::PluginId;

use super::join::{Part, join};
use super::{Foreign, Servers, id_of};
use crate::manifest::check::{Document, Subject, check};
use crate::manifest::context::{Context, Defaults};
use crate::manifest::file::{FileReport, OVERLAY};
use crate::manifest::problem::{Problem, Source, place_of};
use crate::manifest::syntax::{self, MAX_BYTES, ReadError, Syntax};
use crate::manifest::tree::Node;

/// What all entries of a file are read with.
struct Reader<'a> {
    source: &'a Arc<Source>,
    file: &'a Node,
    path: &'a Path,
    ctx: &'a Context,
    defaults: &'a Defaults,
}

/// A file and what lies over it.
type Overlay = (Arc<Source>, Node);

/// Reads all entries into the report.
pub(crate) fn read(
    mut report: FileReport,
    source: &Arc<Source>,
    file: &Node,
    servers: Servers,
    ctx: &Context,
    defaults: &Defaults,
) -> FileReport {
    let path = report.path.clone();
    let reader = Reader { source, file, path: &path, ctx, defaults };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    report.loose.extend(servers.remarks.into_iter().map(|remark| remark.into_problem(source)));
    let shared = overlay(&mut report, &stem);
    // The name that has taken an id, and where its plugin is if others may join it.
    let mut seen: BTreeMap<PluginId, (String, Option<usize>)> = BTreeMap::new();
    let mut plugins: Vec<(PluginId, Vec<Part>)> = Vec::new();
    for entry in servers.entries {
        let name = entry.shares.as_ref().unwrap_or(&entry.name).clone();
        let Some(id) = id_of(&name) else {
            let message = format!("the name {name:?} cannot become a plugin's id");
            let problem = reader.about(&entry, message);
            report.loose.push(problem.help("use up to 64 letters, digits, `-` and `_`"));
            continue;
        };
        let taken = seen.get(&id).cloned();
        // Both must share: whether they join must not depend on which stands first.
        let shares = entry.shares.is_some();
        let at = taken.as_ref().filter(|(other, _)| shares && *other == name).and_then(|(_, at)| *at);
        let clash = taken.as_ref().filter(|_| at.is_none()).map(|(other, _)| {
            reader.about(&entry, format!("{name:?} and {other:?} both become the id {id}"))
        });
        let own = if id.as_str() == stem { None } else { overlay(&mut report, id.as_str()) };
        let of_shared =
            shared.as_ref().and_then(|(source, root)| Some((source.clone(), root.get(id.as_str())?.clone())));
        let mut part = reader.part(entry, &id, of_shared.or(own));
        part.problems.splice(0..0, clash);
        if let Some((_, parts)) = at.and_then(|at| plugins.get_mut(at)) {
            parts.push(part);
        } else {
            seen.insert(id.clone(), (name, shares.then_some(plugins.len())));
            plugins.push((id, vec![part]));
        }
    }
    report.plugins.extend(plugins.into_iter().map(|(id, parts)| join(id, parts)));
    report
}

impl Reader<'_> {
    fn part(&self, entry: Foreign, id: &PluginId, overlay: Option<Overlay>) -> Part {
        let (spot, pointer, name) = (entry.spot, entry.pointer.clone(), entry.name.clone());
        let note = self.about(&entry, "");
        let remarks: Vec<Problem> =
            entry.remarks.into_iter().map(|remark| remark.into_problem(self.source)).collect();
        let mut root = match entry.root {
            Ok(root) => root,
            Err(message) => {
                let problem = Problem { message: message.to_owned(), ..note.clone() };
                return Part {
                    name,
                    note,
                    manifest: None,
                    problems: std::iter::once(problem).chain(remarks).collect(),
                };
            }
        };
        let mut sources = vec![Arc::clone(self.source)];
        if let Some((source, over)) = overlay {
            sources.push(source);
            root.merge(over);
        }
        let document = Document { sources, root };
        let subject = Subject { id, path: self.path, foreign: Some(0) };
        let (manifest, mut problems) = check(&document, &subject, self.ctx, self.defaults);
        for problem in problems.iter_mut().filter(|problem| problem.path == self.path) {
            // Our keys' pointers mean nothing in this file: tell where the place is in it.
            let there = document.root.spot_of(&problem.pointer);
            let there = there.filter(|spot| spot.source == 0).and_then(|spot| self.file.pointer_to(spot));
            problem.pointer = there.unwrap_or_else(|| pointer.clone());
            problem.place = problem.place.take().or_else(|| place_of(&document.sources, spot));
        }
        problems.extend(remarks);
        let manifest = manifest.filter(|_| !problems.iter().any(Problem::is_error));
        Part { name, note, manifest, problems }
    }

    /// A problem of an entry as a whole.
    fn about(&self, entry: &Foreign, message: impl Into<String>) -> Problem {
        let problem = Problem::at(self.source, entry.spot.range(), message);
        Problem { pointer: entry.pointer.clone(), ..problem }
    }
}

/// The overlay of this name beside a file. A bad one is told, and counts as none.
fn overlay(report: &mut FileReport, name: &str) -> Option<Overlay> {
    let path = report.path.parent()?.join(format!("{name}{OVERLAY}"));
    let bytes = match syntax::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(ReadError::Gone) => return None,
        Err(ReadError::Other(why)) => {
            report.loose.push(Problem::of_file(&path, why));
            return None;
        }
    };
    report.overlays.push(path.clone());
    let (source, problem) = syntax::source(&path, bytes);
    // The overlay is the second source of the documents that use it.
    match problem.map_or_else(|| syntax::parse(&source, Syntax::Toml, 1), |problem| Err(vec![problem])) {
        Ok(root) => Some((source, root)),
        Err(problems) => {
            report.loose.extend(problems);
            None
        }
    }
}
