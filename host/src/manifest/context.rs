//! What a manifest's meaning depends on beside its text: the environment, our own paths, the defaults of the environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use wharf_core::manifest::Span;

use super::problem::Problem;

/// Looks up an environment variable.
pub type Env = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The environment of a reading. Tests give their own; nothing here reads the process's.
pub struct Context {
    /// Looks up an environment variable.
    pub env: Env,
    /// The state folder, absolute.
    pub state_dir: PathBuf,
    /// Our own executable.
    pub wharf: PathBuf,
}

/// Defaults that the environment sets for all manifests.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) call_timeout: Option<Span>,
    pub(crate) max_retries: Option<u32>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("state_dir", &self.state_dir)
            .field("wharf", &self.wharf)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The context of this process.
    ///
    /// # Errors
    /// If the system does not tell our own executable, or the current folder.
    pub fn of_process(state_dir: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self {
            env: Box::new(|name| std::env::var(name).ok()),
            state_dir: std::path::absolute(state_dir)?,
            wharf: std::env::current_exe()?,
        })
    }

    /// The defaults, and a warning for each variable that is no number in its bounds.
    pub(crate) fn defaults(&self) -> (Defaults, Vec<Problem>) {
        let mut warnings = Vec::new();
        let mut number = |name: &str, most: u64, least: u64| {
            let text = (self.env)(name).filter(|text| !text.is_empty())?;
            let number = text.trim().parse::<u64>().ok().filter(|n| (least..=most).contains(n));
            if number.is_none() {
                let message = format!(
                    "the environment variable {name} is ignored: it is no whole number from {least} to {most}"
                );
                warnings.push(Problem::of_file(&PathBuf::from(name), message).warning());
            }
            number
        };
        let timeout = number("EXTERNAL_MCP_TIMEOUT", 86_400, 1);
        let retries = number("EXTERNAL_MCP_MAX_RETRIES", 10, 0);
        let defaults = Defaults {
            call_timeout: timeout.map(|seconds| Span(Duration::from_secs(seconds))),
            max_retries: retries.and_then(|n| u32::try_from(n).ok()),
        };
        (defaults, warnings)
    }
}
