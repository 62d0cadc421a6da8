//! Names by which a program is made to run something else.

use super::{report_in, told};
use crate::manifest::Severity;

const RUN: [&str; 10] = [
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "PYTHONWARNINGS",
    "BROWSER",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_KEY_0",
    "PERL5OPT",
    "BASH_ENV",
    "npm_config_script-shell",
    "NPM_CONFIG_NODE_OPTIONS",
];
const REDIRECT: [&str; 5] =
    ["PYTHONPATH", "NODE_PATH", "SSL_CERT_FILE", "npm_config_registry", "NODE_TLS_REJECT_UNAUTHORIZED"];
const ORDINARY: [&str; 6] =
    ["HTTP_PROXY", "https_proxy", "GIT_AUTHOR_NAME", "GITHUB_TOKEN", "NODE_ENV", "API_KEY"];

#[test]
fn code_is_warned_of_and_what_is_common_is_not() {
    for name in RUN {
        let expected = format!(
            "3:1 `{name}` makes a program load other code / make sure that you know the code that it names"
        );
        assert_eq!(told(&format!("command = 'x'\n[env]\n{name} = 'y'\n")), [expected]);
    }
    for name in REDIRECT.into_iter().chain(ORDINARY) {
        assert_eq!(told(&format!("command = 'x'\n[env]\n{name} = 'y'\n")), [""; 0], "{name}");
    }
}

#[test]
fn none_of_them_is_taken_from_another_program_s_file() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str| {
        let text = format!(r#"{{"mcpServers": {{"a": {{"command": "x", "env": {{"{name}": "y"}}}}}}}}"#);
        let report = report_in(dir.path(), "mcp.json", &text, &super::context());
        let mut problems = report.problems();
        let found = problems.next().map(|problem| {
            assert_eq!(problem.severity, Severity::Error, "{name}");
            assert!(problem.help.as_ref().unwrap().contains("manifest of wharf's own"), "{name}");
            problem.message.clone()
        });
        assert!(problems.next().is_none());
        found
    };
    for name in RUN {
        assert_eq!(refused(name), Some(format!("`{name}` makes a program load other code")));
    }
    for name in REDIRECT {
        let message = format!("`{name}` tells a program where to load code from, or whom to trust");
        assert_eq!(refused(name), Some(message));
    }
    for name in ORDINARY {
        assert_eq!(refused(name), None, "{name}");
    }
}

#[test]
fn an_env_file_is_no_way_round() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("e"), "LD_PRELOAD=/x\nPYTHONPATH=/y\n").unwrap();
    let report = report_in(dir.path(), "p.toml", "command = 'x'\nenv_file = 'e'\n", &super::context());
    let messages: Vec<_> =
        report.problems().map(|problem| (problem.severity, problem.message.as_str())).collect();
    let message = "it sets `LD_PRELOAD`, which makes a program load other code";
    assert_eq!(messages, [(Severity::Warning, message)]);
}
