//! Variables put in. What has no value is a problem that names the variable and its place, never an empty text. Values
//! from the environment and from files become secret pieces, and no message holds one.

use std::path::{Path, PathBuf};

use wharf_core::manifest::Template;
use wharf_core::manifest::env_file;
use wharf_core::manifest::template::Piece;
use wharf_core::manifest::variables::{Own, Part, Unset, Variable, parse};

use super::Subject;
use super::findings::Findings;
use crate::manifest::context::Context;
use crate::manifest::syntax::{ReadError, read_bounded};

/// The largest file that `${file:..}` and `env_file` read.
const MAX_BYTES: u64 = 64 * 1024;

/// The variables of editors that foreign files may hold.
const EDITORS: [&str; 4] = ["workspaceFolder", "workspaceFolderBasename", "pathSeparator", "userHome"];

/// Looks variables up for one plugin.
pub(super) struct Expander<'a> {
    ctx: &'a Context,
    /// The folder of the manifest, absolute.
    pub(super) plugin_dir: &'a Path,
    data_dir: PathBuf,
    /// What `env_file` sets; the host's environment wins over it.
    pub(super) env_file: Vec<(String, String)>,
    /// Whether another program's variables are known too.
    foreign: bool,
}

impl<'a> Expander<'a> {
    pub(super) fn new(ctx: &'a Context, plugin_dir: &'a Path, subject: &Subject<'_>) -> Self {
        let data_dir = ctx.state_dir.join("data").join(subject.id.as_str());
        Self { ctx, plugin_dir, data_dir, env_file: Vec::new(), foreign: subject.foreign.is_some() }
    }

    /// The text at a place of the document, expanded. Problems are found and leave their part out.
    pub(super) fn template(&self, pointer: &str, text: &str, findings: &mut Findings<'_>) -> Template {
        let parts = match parse(text) {
            Ok(parts) => parts,
            Err(bad) => {
                for bad in bad {
                    findings.error_in(pointer, bad.span, bad.message);
                }
                return Template::text("");
            }
        };
        let pieces = parts.into_iter().filter_map(|part| match part {
            Part::Text(text) => Some(Piece::Text(text)),
            Part::Variable(variable, span) => {
                self.value(variable).map_err(|lack| lack.tell(pointer, span, findings)).ok()
            }
        });
        Template::new(pieces.collect())
    }

    /// Likewise a text that must be known before the launch.
    pub(super) fn fixed(&self, pointer: &str, text: &str, findings: &mut Findings<'_>) -> String {
        let template = self.template(pointer, text, findings);
        if template.uses_port() || template.uses_replica() {
            findings.error(
                pointer,
                "`${port}` and `${replica}` are not known here: it is the same for all instances",
            );
        }
        template.render(wharf_core::manifest::Late::default())
    }

    fn value(&self, variable: Variable) -> Result<Piece, Lack> {
        match variable {
            Variable::Own(Own::Port) => Ok(Piece::Port),
            Variable::Own(Own::Replica) => Ok(Piece::Replica),
            Variable::Own(Own::DataDir) => path_piece(&self.data_dir),
            Variable::Own(Own::PluginDir) => path_piece(self.plugin_dir),
            Variable::Own(Own::Wharf) => path_piece(&self.ctx.wharf),
            Variable::Env(name, Unset::Problem) if self.foreign && EDITORS.contains(&name.as_str()) => {
                self.editors(&name)
            }
            Variable::Env(name, unset) => {
                self.env(&name, unset, "set it in the host's environment or in `env_file`")
            }
            Variable::Input(id, unset) => {
                let name = format!("WHARF_INPUT_{}", id.to_ascii_uppercase().replace('-', "_"));
                self.env(&name, unset, "it is the value of this input; set it in the host's environment")
            }
            Variable::File(path) => self.file(&path),
        }
    }

    /// What Cursor puts in for a variable of its own. The project is the folder that the file lies in.
    fn editors(&self, name: &str) -> Result<Piece, Lack> {
        match name {
            "workspaceFolder" => path_piece(self.plugin_dir),
            "workspaceFolderBasename" => {
                path_piece(Path::new(self.plugin_dir.file_name().unwrap_or_default()))
            }
            "pathSeparator" => Ok(Piece::Text("/".to_owned())),
            _ => (self.ctx.env)("HOME").map(Piece::Text).ok_or_else(|| Lack {
                message: format!("the variable {name} has no value: HOME is not set"),
                help: Some("set HOME in the host's environment".to_owned()),
            }),
        }
    }

    fn env(&self, name: &str, unset: Unset, remedy: &str) -> Result<Piece, Lack> {
        let of_file =
            || self.env_file.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        match ((self.ctx.env)(name).or_else(of_file), unset) {
            // As in a shell, `:-` also stands in for an empty value, and `:?` does not take one.
            (Some(value), Unset::Problem) => Ok(Piece::Secret(value)),
            (Some(value), Unset::Default(_) | Unset::Message(_)) if !value.is_empty() => {
                Ok(Piece::Secret(value))
            }
            (_, Unset::Default(default)) => Ok(Piece::Text(default)),
            (_, Unset::Message(message)) => Err(Lack {
                message: format!("the variable {name} is not set: {message}"),
                help: Some(remedy.to_owned()),
            }),
            (None, Unset::Problem) => Err(Lack {
                message: format!("the variable {name} is not set"),
                help: Some(format!("{remedy}, or give a default: ${{{name}:-default}}")),
            }),
        }
    }

    fn file(&self, path: &str) -> Result<Piece, Lack> {
        let lack =
            |why: String| Lack { message: format!("the file {path} of ${{file:..}} {why}"), help: None };
        let bytes =
            read_bounded(&self.plugin_dir.join(path), MAX_BYTES).map_err(|error| lack(reason(error)))?;
        let text = String::from_utf8(bytes).map_err(|_| lack("is not UTF-8".to_owned()))?;
        // Editors and `echo` end a file with a line break that no secret holds.
        Ok(Piece::Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Reads the file of variables that the manifest names.
    pub(super) fn read_env_file(&mut self, path: &str, findings: &mut Findings<'_>) {
        let path = self.plugin_dir.join(self.fixed("/env_file", path, findings));
        let text = match read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()),
            Err(error) => Err(reason(error)),
        };
        match text.map(|text| env_file::parse(&text)) {
            Ok(Ok(variables)) => self.env_file = variables,
            Ok(Err(bad)) => bad.iter().take(10).for_each(|bad| {
                findings.error("/env_file", format!("{}:{}: {}", path.display(), bad.line, bad.message));
            }),
            Err(why) => {
                findings.error("/env_file", format!("the file {} {why}", path.display()));
            }
        }
    }
}

fn path_piece(path: &Path) -> Result<Piece, Lack> {
    let text = path
        .to_str()
        .ok_or_else(|| Lack { message: format!("the path {} is not UTF-8", path.display()), help: None })?;
    Ok(Piece::Text(text.to_owned()))
}

fn reason(error: ReadError) -> String {
    match error {
        ReadError::Gone => "does not exist".to_owned(),
        ReadError::Other(why) => format!("cannot be used: {why}"),
    }
}

/// Why a variable has no value.
struct Lack {
    message: String,
    help: Option<String>,
}

impl Lack {
    fn tell(self, pointer: &str, span: std::ops::Range<usize>, findings: &mut Findings<'_>) {
        findings.missing(pointer, Some(span), self.message).help = self.help;
    }
}
