//! One file of the folder: read, told apart, checked. It declares one plugin, or in a foreign format several.

use std::path::{Path, PathBuf};

use wharf_core::PluginId;
use wharf_core::manifest::Manifest;

use super::check::{Document, Subject, check};
use super::context::{Context, Defaults};
use super::foreign;
use super::problem::Problem;
use super::render::render;
use super::syntax::{self, MAX_BYTES, ReadError, Syntax};

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
    match foreign::servers(&root, syntax) {
        Some(servers) => foreign::read(report, &source, &root, servers, ctx, defaults),
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
