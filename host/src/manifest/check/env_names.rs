//! Which names of environment variables are legal, and which ones change what a program runs or whom it trusts.
//!
//! Taken from another program's file they would hide what is launched behind a harmless command, so they are refused there.
//! In a manifest of wharf's own they are the owner's word: those that execute code bring a warning, the rest is common
//! (`PYTHONPATH`, `SSL_CERT_FILE`) and brings none. `HTTP_PROXY` and its like are taken from anywhere: behind a proxy, what is
//! encrypted stays so.

use wharf_core::manifest::PluginFile;

use super::Subject;
use super::expand::Expander;
use super::findings::Findings;
use crate::manifest::tree::escape;

/// By these the loader, a language's runtime or a tool is made to run something else.
const RUNS_CODE: &[&str] = &[
    "BASH_ENV",
    "BROWSER",
    "COR_PROFILER_PATH",
    "CORECLR_PROFILER_PATH",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GIT_ASKPASS",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_SYSTEM",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_TEMPLATE_DIR",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "OPENSSL_CONF",
    "PERL5DB",
    "PERL5OPT",
    "PYTHONBREAKPOINT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "RUBYOPT",
    "SSH_ASKPASS",
    "_JAVA_OPTIONS",
];

/// By these it is told where code is loaded from, or whom to trust.
const REDIRECTS: &[&str] = &[
    "CLASSPATH",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_PATH",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PERL5LIB",
    "PIP_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PYTHONPATH",
    "REQUESTS_CA_BUNDLE",
    "RUBYLIB",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
];

/// Settings of npm that name a program to run. Its other ones name where packages come from, among much else.
const OF_NPM: &[&str] = &["EDITOR", "GIT", "NODE_OPTIONS", "SCRIPT_SHELL", "SHELL", "VIEWER"];

/// What a variable does to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    RunsCode,
    Redirects,
}

/// The names that `env` sets.
pub(super) fn check(file: &PluginFile, subject: &Subject<'_>, findings: &mut Findings<'_>) {
    for name in file.env.keys() {
        if !is_legal(name) {
            let message = "no name of an environment variable: it is empty, or holds `=` or NUL";
            findings.error_at_key("/env", name, message);
            continue;
        }
        let Some(power) = power(name) else { continue };
        let source =
            findings.document.root.at(&format!("/env/{}", escape(name))).map(|node| node.spot.source);
        let foreign = subject.foreign.is_some() && source == subject.foreign;
        if foreign {
            let problem = findings.error_at_key("/env", name, format!("`{name}` {}", power.words()));
            problem.help = Some(
                "it is not taken from another program's file: set it in a manifest of wharf's own".to_owned(),
            );
        } else if power == Power::RunsCode {
            let problem = findings.error_at_key("/env", name, format!("`{name}` {}", power.words()));
            *problem = problem.clone().warning().help("make sure that you know the code that it names");
        }
    }
}

/// The names that the file of `env_file` sets.
pub(super) fn check_env_file(expander: &Expander<'_>, subject: &Subject<'_>, findings: &mut Findings<'_>) {
    let foreign = subject.foreign.is_some();
    for (name, power) in expander.env_file.iter().filter_map(|(name, _)| Some((name, power(name)?))) {
        if foreign || power == Power::RunsCode {
            let problem = findings.error("/env_file", format!("it sets `{name}`, which {}", power.words()));
            if !foreign {
                *problem = problem.clone().warning().help("make sure that you know the code that it names");
            }
        }
    }
}

fn is_legal(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn power(name: &str) -> Option<Power> {
    // npm takes its settings in any case, with `-` or `_`.
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let of_npm = upper.strip_prefix("NPM_CONFIG_");
    let runs_code = RUNS_CODE.contains(&name)
        || ["LD_", "DYLD_", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"]
            .iter()
            .any(|start| name.starts_with(start))
        || of_npm.is_some_and(|setting| OF_NPM.contains(&setting));
    if runs_code {
        Some(Power::RunsCode)
    } else {
        (of_npm.is_some() || REDIRECTS.contains(&name)).then_some(Power::Redirects)
    }
}

impl Power {
    fn words(self) -> &'static str {
        match self {
            Self::RunsCode => "makes a program load other code",
            Self::Redirects => "tells a program where to load code from, or whom to trust",
        }
    }
}
