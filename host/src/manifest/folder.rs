//! The folder of manifests, read as a whole. It knows nothing of what runs: it tells truthfully what stands there now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use wharf_core::PluginId;
use wharf_core::manifest::Manifest;

use super::context::Context;
use super::file::{self, FileReport, OVERLAY};
use super::problem::Problem;
use super::syntax::Syntax;

/// The most files that are read.
const MAX_FILES: usize = 1000;

/// The most names of the folder that are looked at.
pub(crate) const MAX_NAMES: usize = 10_000;

/// What stands in the folder.
#[derive(Debug, Default)]
pub struct Reading {
    /// The plugins that can run.
    pub manifests: BTreeMap<PluginId, Manifest>,
    /// The plugins that cannot, with all that is wrong with each.
    pub invalid: BTreeMap<PluginId, Invalid>,
    /// The warnings about those that can.
    pub warnings: BTreeMap<PluginId, Vec<Problem>>,
    /// Problems that belong to no plugin.
    pub loose: Vec<Problem>,
    /// The files that could not be understood, so that they do not tell what they declare.
    pub broken: BTreeSet<PathBuf>,
    /// Whether the folder could not be read at all.
    pub unreadable: bool,
}

/// A plugin that cannot run.
#[derive(Debug)]
pub struct Invalid {
    /// The file that declares it.
    pub path: PathBuf,
    /// All problems; at least one is an error.
    pub problems: Vec<Problem>,
}

impl Reading {
    /// Whether a plugin that runs from an earlier reading, and is not in this one, is to be left alone: its file, or the
    /// folder, cannot be understood at the moment. (A half-written file of several plugins does not tell which.)
    #[must_use]
    pub fn keeps(&self, running: &Manifest) -> bool {
        self.unreadable || self.invalid.contains_key(&running.id) || self.broken.contains(&running.path)
    }
}

/// Reads all manifests of a folder. The order of everything is that of the names.
#[must_use]
pub fn load_dir(dir: &Path, ctx: &Context) -> Reading {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut reading = Reading::default();
    let (defaults, warnings) = ctx.defaults();
    reading.loose.extend(warnings);
    let mut names = match Names::of(&dir) {
        Ok(names) => names,
        Err(error) => {
            reading.unreadable = true;
            let problem = Problem::of_file(&dir, format!("the folder of manifests cannot be read: {error}"));
            reading.loose.push(
                problem
                    .help("create it, or name another one with --plugins; it is looked for again and again"),
            );
            return reading;
        }
    };
    if names.manifests.len() > MAX_FILES || names.cut {
        let message = format!("more than {MAX_FILES} manifests: those that come later by name are not read");
        reading.loose.push(Problem::of_file(&dir, message));
        names.manifests.truncate(MAX_FILES);
    }
    let reports: Vec<FileReport> =
        names.manifests.iter().map(|path| file::read(path, ctx, &defaults)).collect();
    let used: BTreeSet<&PathBuf> = reports.iter().flat_map(|report| &report.overlays).collect();
    for path in names.overlays.iter().filter(|path| !used.contains(path)) {
        reading.loose.push(
            Problem::of_file(path, "no file of another program has an entry for this overlay").warning(),
        );
    }
    sort_out(reports, &mut reading);
    reading
}

/// Puts each plugin where it belongs. Of several with the same id none is chosen: it would depend on chance which.
fn sort_out(reports: Vec<FileReport>, reading: &mut Reading) {
    let mut files: BTreeMap<PluginId, Vec<PathBuf>> = BTreeMap::new();
    for report in &reports {
        for plugin in &report.plugins {
            files.entry(plugin.id.clone()).or_default().push(report.path.clone());
        }
    }
    for report in reports {
        reading.loose.extend(report.loose);
        if report.broken {
            reading.broken.insert(report.path.clone());
        }
        for mut plugin in report.plugins {
            let all = files.get(&plugin.id).map(Vec::as_slice).unwrap_or_default();
            if all.len() > 1 {
                let others: BTreeSet<String> =
                    all.iter().filter(|p| **p != report.path).map(|p| p.display().to_string()).collect();
                let others = if others.is_empty() {
                    "the same file".to_owned()
                } else {
                    others.into_iter().collect::<Vec<_>>().join(", ")
                };
                let problem = Problem::of_file(
                    &report.path,
                    format!("the plugin {} is declared in {others} too", plugin.id),
                );
                plugin
                    .problems
                    .insert(0, problem.help("remove or rename one of them; until then none is used"));
                plugin.manifest = None;
            }
            match plugin.manifest {
                Some(manifest) => {
                    if !plugin.problems.is_empty() {
                        reading.warnings.insert(plugin.id.clone(), plugin.problems);
                    }
                    reading.manifests.insert(plugin.id, manifest);
                }
                None => {
                    let invalid = Invalid { path: report.path.clone(), problems: Vec::new() };
                    reading.invalid.entry(plugin.id).or_insert(invalid).problems.append(&mut plugin.problems);
                }
            }
        }
    }
}

/// The names of a folder that mean something.
#[derive(Debug, Default)]
struct Names {
    manifests: Vec<PathBuf>,
    overlays: Vec<PathBuf>,
    cut: bool,
}

impl Names {
    fn of(dir: &Path) -> std::io::Result<Self> {
        let mut names = Self::default();
        for (seen, entry) in std::fs::read_dir(dir)?.enumerate() {
            if seen >= MAX_NAMES {
                names.cut = true;
                break;
            }
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_noise(&name) {
                continue;
            }
            let bundle = path.join("plugin.toml");
            if path.is_dir() {
                if bundle.symlink_metadata().is_ok() {
                    names.manifests.push(bundle);
                }
            } else if name.ends_with(OVERLAY) {
                names.overlays.push(path);
            } else if Syntax::of(&path).is_some() {
                names.manifests.push(path);
            }
        }
        names.manifests.sort();
        names.overlays.sort();
        Ok(names)
    }
}

/// Hidden files, what editors leave while they work, and schemas that lie beside manifests.
pub(crate) fn is_noise(name: &str) -> bool {
    name.starts_with(['.', '#'])
        || name.ends_with(['~', '#'])
        || name.ends_with(".tmp")
        || name.ends_with(".swp")
        || name.ends_with(".schema.json")
}

#[cfg(test)]
mod tests;
