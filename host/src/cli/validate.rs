//! `wharf validate` and `wharf schema`: what `crate::manifest` says of files, without a host.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Complaint, Exit};
use super::out;
use crate::manifest::ProblemView;

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
}

/// What the checker says of one file.
#[derive(Debug, Serialize)]
struct Report {
    path: PathBuf,
    problems: Vec<ProblemView>,
    /// The problems as a terminal shows them.
    #[serde(skip)]
    shown: String,
}

/// The seam to the reader of manifests.
trait Checker {
    fn check(&self, file: &Path) -> Result<Report, Complaint>;
    fn schema(&self) -> Result<String, Complaint>;
}

/// The reader of this build.
struct Manifests;

impl Checker for Manifests {
    fn check(&self, file: &Path) -> Result<Report, Complaint> {
        Err(Complaint::new(
            Exit::Failure,
            format!("{} was not checked: this build reads no manifests", file.display()),
        ))
    }

    fn schema(&self) -> Result<String, Complaint> {
        Err(Complaint::new(Exit::Failure, "this build has no schema of manifests"))
    }
}

pub(super) fn run(args: &Args) -> Result<(), Complaint> {
    let files = if args.files.is_empty() { all(Path::new("plugins"))? } else { args.files.clone() };
    check(&Manifests, &files, args.json)
}

pub(super) fn schema(args: &SchemaArgs) -> Result<(), Complaint> {
    match args.document {
        Document::Plugin => out::line(&Manifests.schema()?),
    }
}

fn check(checker: &impl Checker, files: &[PathBuf], json: bool) -> Result<(), Complaint> {
    let reports = files.iter().map(|file| checker.check(file)).collect::<Result<Vec<_>, _>>()?;
    if json {
        let text = serde_json::to_string(&reports);
        out::line(&text.map_err(|error| Complaint::new(Exit::Failure, error.to_string()))?)?;
    }
    for report in &reports {
        if report.problems.is_empty() {
            out::note(&format!("{}: ok", report.path.display()));
        } else {
            out::note(report.shown.trim_end());
        }
    }
    let wrong = reports.iter().filter(|report| !report.problems.is_empty()).count();
    if wrong == 0 {
        Ok(())
    } else {
        Err(Complaint::new(Exit::Invalid, format!("{wrong} of {} manifests are wrong", reports.len())))
    }
}

/// The manifests of a folder: its files of a known kind, and `plugin.toml` of its folders.
fn all(folder: &Path) -> Result<Vec<PathBuf>, Complaint> {
    let failed = |error: std::io::Error| {
        Complaint::new(Exit::Usage, format!("{} cannot be read: {error}", folder.display()))
            .remedy("name the files to check")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let bundle = path.join("plugin.toml");
        let kind = path.extension().and_then(|kind| kind.to_str());
        if bundle.is_file() {
            files.push(bundle);
        } else if matches!(kind, Some("toml" | "yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{Checker, Complaint, Exit, ProblemView, Report, all, check};

    /// Finds a file wrong by its name.
    struct ByName;

    impl Checker for ByName {
        fn check(&self, file: &Path) -> Result<Report, Complaint> {
            let problem = ProblemView {
                line: None,
                column: None,
                pointer: String::new(),
                message: "bad".into(),
                help: None,
            };
            let problems = if file.starts_with("bad") { vec![problem] } else { Vec::new() };
            Ok(Report { path: file.to_owned(), problems, shown: "bad".into() })
        }

        fn schema(&self) -> Result<String, Complaint> {
            Ok("{}".into())
        }
    }

    #[test]
    fn one_wrong_file_decides_the_exit_code() {
        assert!(check(&ByName, &["good".into()], false).is_ok());
        let complaint = check(&ByName, &["good".into(), "bad".into()], true).unwrap_err();
        assert_eq!(complaint.exit, Exit::Invalid);
        assert_eq!(complaint.title, "1 of 2 manifests are wrong");
    }

    #[test]
    fn a_folder_is_searched_as_the_host_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b.toml", "a.yaml", "c.json", "README.md", "token"] {
            fs::write(at(name), "").unwrap();
        }
        for name in ["bundle", "other.toml"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("bundle/plugin.toml"), "").unwrap();
        fs::write(at("bundle/more.toml"), "").unwrap();
        let expected: Vec<PathBuf> = ["a.yaml", "b.toml", "bundle/plugin.toml", "c.json"].map(at).into();
        assert_eq!(all(folder.path()).unwrap(), expected);
        assert_eq!(all(&at("none")).unwrap_err().exit, Exit::Usage);
    }
}
