//! One file of the folder: read, told apart, checked. It declares one plugin, or in a foreign format several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::PluginId;
use wharf_core::manifest::Manifest;

use super::check::{Document, Subject, check};
use super::context::{Context, Defaults};
use super::foreign::{self, Foreign};
use super::problem::{Problem, Source, place_of};
use super::render::render;
use super::syntax::{self, MAX_BYTES, ReadError, Syntax};
use super::tree::Node;

/// The end of the name of a file with keys for foreign entries.
pub(crate) const OVERLAY: &str = ".overlay.toml";

/// What a file declares, and all that is wrong with it.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its plugins.
    pub plugins: Vec<Checked>,
    /// Problems that belong to none of them.
    pub loose: Vec<Problem>,
    pub(crate) overlays: Vec<PathBuf>,
    pub(crate) gone: bool,
    /// Whether the file could not be understood, so that it does not tell what it declares.
    pub(crate) broken: bool,
}

/// A plugin of a file.
#[derive(Debug)]
pub struct Checked {
    /// Its id.
    pub id: PluginId,
    /// There unless a problem is an error.
    pub manifest: Option<Manifest>,
    /// All problems, warnings included.
    pub problems: Vec<Problem>,
}

impl FileReport {
    /// Every problem of the file.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.loose.iter().chain(self.plugins.iter().flat_map(|plugin| &plugin.problems))
    }

    /// Whether a plugin of it cannot run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems().any(Problem::is_error)
    }

    /// All problems for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render(&self.problems().cloned().collect::<Vec<_>>(), color)
    }

    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            plugins: Vec::new(),
            loose: Vec::new(),
            overlays: Vec::new(),
            gone: false,
            broken: false,
        }
    }

    /// Problems of the file as a whole: its plugin's, if it is to declare one.
    fn blame(mut self, id: Result<PluginId, Vec<Problem>>, problems: Vec<Problem>) -> Self {
        self.broken = true;
        match id {
            Ok(id) => self.plugins.push(Checked { id, manifest: None, problems }),
            Err(no_id) => self.loose.extend(no_id.into_iter().chain(problems)),
        }
        self
    }
}

/// Checks a file without starting anything. `wharf validate` shows the report.
#[must_use]
pub fn check_file(path: &Path, ctx: &Context) -> FileReport {
    let (defaults, warnings) = ctx.defaults();
    let mut report = read(path, ctx, &defaults);
    report.loose.extend(warnings);
    if report.gone {
        report.loose.push(Problem::of_file(path, "the file does not exist"));
    }
    report
}

/// Reads and checks a file.
pub(crate) fn read(path: &Path, ctx: &Context, defaults: &Defaults) -> FileReport {
    let mut report = FileReport::new(path);
    let id = id_of(path);
    let Some(syntax) = Syntax::of(path) else {
        report
            .loose
            .push(Problem::of_file(path, "no manifest: the name must end in .toml, .yaml, .yml or .json"));
        return report;
    };
    let bytes = match syntax::read_bounded(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(ReadError::Gone) => {
            report.gone = true;
            return report;
        }
        Err(ReadError::Other(why)) => return report.blame(id, vec![Problem::of_file(path, why)]),
    };
    let (source, problem) = syntax::source(path, bytes);
    if let Some(problem) = problem {
        return report.blame(id, vec![problem]);
    }
    let root = match syntax::parse(&source, syntax, 0) {
        Ok(root) => root,
        Err(problems) => return report.blame(id, problems),
    };
    match (syntax == Syntax::Json).then(|| foreign::entries(&root)).flatten() {
        Some(entries) => read_foreign(report, &source, &root, entries, ctx, defaults),
        None => {
            let id = match id {
                Ok(id) => id,
                Err(no_id) => return report.blame(Err(no_id), Vec::new()),
            };
            let document = Document { sources: vec![source], root };
            let subject = Subject { id: &id, path, foreign: None };
            let (manifest, problems) = check(&document, &subject, ctx, defaults);
            report.plugins.push(Checked { id, manifest, problems });
            report
        }
    }
}

/// Whether the manifest's folder is the plugin's alone.
pub(crate) fn is_bundle(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "plugin.toml")
}

/// The id that a file's name stands for: its stem, or the folder of a bundle.
fn id_of(path: &Path) -> Result<PluginId, Vec<Problem>> {
    let bundle = is_bundle(path);
    let name = if bundle {
        std::path::absolute(path)
            .ok()
            .and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()))
    } else {
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    };
    PluginId::new(&name.unwrap_or_default()).map_err(|error| {
        let message = format!(
            "the name of the {} is the plugin's id, but {error}",
            if bundle { "folder" } else { "file" }
        );
        vec![Problem::of_file(path, message).help("rename it")]
    })
}

fn read_foreign(
    mut report: FileReport,
    source: &Arc<Source>,
    file: &Node,
    entries: Vec<Foreign>,
    ctx: &Context,
    defaults: &Defaults,
) -> FileReport {
    let stem = report.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    report.loose.extend(beside_servers(source, file));
    let shared = overlay(&mut report, &stem);
    let mut seen: BTreeMap<PluginId, String> = BTreeMap::new();
    for entry in entries {
        let Some(id) = foreign::id_of(&entry.name) else {
            let mut problem = Problem::at(
                source,
                entry.spot.range(),
                format!("the name {:?} cannot become a plugin's id", entry.name),
            );
            problem.pointer = entry.pointer;
            report.loose.push(problem.help("use up to 64 letters, digits, `-` and `_`"));
            continue;
        };
        let mut problems = Vec::new();
        if let Some(other) = seen.insert(id.clone(), entry.name.clone()) {
            let message = format!("{:?} and {other:?} both become the id {id}", entry.name);
            problems.push(Problem {
                pointer: entry.pointer.clone(),
                ..Problem::at(source, entry.spot.range(), message)
            });
        }
        let own = if id.as_str() == stem { None } else { overlay(&mut report, id.as_str()) };
        let of_shared =
            shared.as_ref().and_then(|(source, root)| Some((source.clone(), root.get(id.as_str())?.clone())));
        let mut plugin = check_entry(entry, id, source, file, of_shared.or(own), &report.path, ctx, defaults);
        problems.append(&mut plugin.problems);
        plugin.problems = problems;
        report.plugins.push(plugin);
    }
    report
}

#[allow(clippy::too_many_arguments, reason = "one call, and all of it is needed")]
fn check_entry(
    entry: Foreign,
    id: PluginId,
    source: &Arc<Source>,
    file: &Node,
    overlay: Option<(Arc<Source>, Node)>,
    path: &Path,
    ctx: &Context,
    defaults: &Defaults,
) -> Checked {
    let Some(mut root) = entry.root else {
        let problem =
            Problem::at(source, entry.spot.range(), "a server must be a table with `command` or `url`");
        return Checked { id, manifest: None, problems: vec![Problem { pointer: entry.pointer, ..problem }] };
    };
    let mut sources = vec![Arc::clone(source)];
    if let Some((source, over)) = overlay {
        sources.push(source);
        root.merge(over);
    }
    let document = Document { sources, root };
    let subject = Subject { id: &id, path, foreign: Some(0) };
    let (manifest, mut problems) = check(&document, &subject, ctx, defaults);
    for problem in problems.iter_mut().filter(|problem| problem.path == path) {
        // Our keys' pointers mean nothing in this file: tell where the place is in it.
        let spot = document.root.spot_of(&problem.pointer);
        let there = spot.filter(|spot| spot.source == 0).and_then(|spot| file.pointer_to(spot));
        problem.pointer = there.unwrap_or_else(|| entry.pointer.clone());
        problem.place = problem.place.take().or_else(|| place_of(&document.sources, entry.spot));
    }
    for (key, spot, about) in entry.ignored {
        let message = format!("the key `{key}` of another program has no effect here");
        let problem = Problem::at(source, spot.range(), message).warning();
        let problem =
            Problem { pointer: format!("{}/{}", entry.pointer, super::tree::escape(&key)), ..problem };
        problems.push(match about {
            Some(help) => problem.help(help),
            None => problem,
        });
    }
    Checked { id, manifest, problems }
}

/// A warning about what else stands in the file.
fn beside_servers(source: &Arc<Source>, file: &Node) -> Option<Problem> {
    let others = file.table()?.iter().filter(|entry| !matches!(entry.key.as_str(), "mcpServers" | "$schema"));
    let others: Vec<_> = others.collect();
    let first = others.first()?;
    let mut names =
        others.iter().take(10).map(|entry| format!("`{}`", entry.key)).collect::<Vec<_>>().join(", ");
    if others.len() > 10 {
        names.push_str(", ..");
    }
    let message = format!("keys of another program have no effect here: {names}");
    let problem = Problem::at(source, first.key_spot.range(), message).warning();
    Some(Problem { pointer: format!("/{}", super::tree::escape(&first.key)), ..problem })
}

/// The overlay of this name beside a file. A bad one is told, and counts as none.
fn overlay(report: &mut FileReport, name: &str) -> Option<(Arc<Source>, Node)> {
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
