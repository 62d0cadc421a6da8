//! `wharf validate` and `wharf schema`: what `crate::manifest` says of files, without a host.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Complaint, Exit};
use super::out;
use crate::manifest::{self, Context, Problem, ProblemView};

/// The folder that is checked when no file is named.
const FOLDER: &str = "plugins";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The manifests; without any, all in ./plugins
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Of what
    #[arg(value_enum, default_value_t = Document::Plugin)]
    document: Document,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Document {
    /// A plugin's manifest
    Plugin,
    /// The same for people, as a Markdown table
    Reference,
}

/// What the checker says of one file.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    problems: Vec<ProblemView>,
    #[serde(skip)]
    all: Vec<Problem>,
}

pub(super) fn run(args: &Args, state: &Path) -> Result<(), Complaint> {
    let context =
        Context::of_process(state).map_err(|error| Complaint::new(Exit::Failure, error.to_string()))?;
    let reports = if args.files.is_empty() {
        folder(Path::new(FOLDER), &context)?
    } else {
        named(&args.files, &context)
    };
    if args.json {
        let text = serde_json::to_string(&reports);
        out::line(&text.map_err(|error| Complaint::new(Exit::Failure, error.to_string()))?)?;
    }
    for report in &reports {
        if report.all.is_empty() {
            out::note(&format!("{}: ok", report.path.display()));
        } else {
            out::note(manifest::render(&report.all, out::colours()).trim_end());
        }
    }
    let wrong = reports.iter().filter(|report| report.all.iter().any(Problem::is_error)).count();
    match (wrong, reports.len()) {
        (0, _) => Ok(()),
        (wrong, all) => Err(Complaint::new(Exit::Invalid, format!("{wrong} of {all} manifests are wrong"))),
    }
}

pub(super) fn schema(args: &SchemaArgs) -> Result<(), Complaint> {
    match args.document {
        Document::Reference => out::data(&manifest::reference_markdown()),
        Document::Plugin => {
            let text = serde_json::to_string_pretty(&manifest::schema());
            out::line(&text.map_err(|error| Complaint::new(Exit::Failure, error.to_string()))?)
        }
    }
}

fn named(files: &[PathBuf], context: &Context) -> Vec<Report> {
    let check = |path: &PathBuf| {
        let report = manifest::check_file(path, context);
        Report::new(path.clone(), report.problems().cloned().collect())
    };
    files.iter().map(check).collect()
}

/// The whole folder as a host reads it, so that two files that claim one id are found too.
fn folder(folder: &Path, context: &Context) -> Result<Vec<Report>, Complaint> {
    let reading = manifest::load_dir(folder, context);
    if reading.unreadable {
        let why = reading.loose.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(Complaint::new(Exit::Usage, why).remedy("name the files to check"));
    }
    let right = reading.manifests.iter().map(|(id, manifest)| {
        let warnings = reading.warnings.get(id).cloned().unwrap_or_default();
        Report::new(manifest.path.clone(), warnings)
    });
    let wrong = reading.invalid.values().map(|file| Report::new(file.path.clone(), file.problems.clone()));
    let loose = reading.loose.iter().map(|problem| Report::new(problem.path.clone(), vec![problem.clone()]));
    Ok(right.chain(wrong).chain(loose).collect())
}

impl Report {
    fn new(path: PathBuf, all: Vec<Problem>) -> Self {
        Self { path, problems: all.iter().map(ProblemView::from).collect(), all }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Args, Context, Exit, folder, run};

    #[test]
    fn one_wrong_file_decides_the_exit_code_and_two_of_one_id_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("good.toml"), "command = \"true\"\n").unwrap();
        fs::write(at("bad.toml"), "comand = \"true\"\n").unwrap();
        let args = |names: &[&str]| Args { files: names.iter().map(|name| at(name)).collect(), json: false };
        assert!(run(&args(&["good.toml"]), dir.path()).is_ok());
        let complaint = run(&args(&["good.toml", "bad.toml"]), dir.path()).unwrap_err();
        assert_eq!((complaint.exit, &*complaint.title), (Exit::Invalid, "1 of 2 manifests are wrong"));

        fs::write(at("good.yaml"), "command: \"true\"\n").unwrap();
        let context = Context::of_process(dir.path()).unwrap();
        assert!(folder(dir.path(), &context).unwrap().iter().all(|report| !report.all.is_empty()));
        assert_eq!(folder(&at("none"), &context).unwrap_err().exit, Exit::Usage);
    }
}
