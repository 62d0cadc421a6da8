//! What is deployed is well-formed: each file passes a checker that refuses it when it is spoilt.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::setup::example;
use crate::support::servers::Servers;

/// Whether the checker lets the file pass, and what it says.
fn passes(checker: &Path, flags: &[&str], file: &Path) -> (bool, String) {
    let output = Command::new(checker).args(flags).arg(file).output().expect("the checker runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The file passes, and does not when `right` in it is replaced by `wrong`.
fn checked(name: &str, checker: &Path, flags: &[&str], right: &str, wrong: &str) {
    let file = example().join("deploy").join(name);
    let (fine, said) = passes(checker, flags, &file);
    assert!(fine, "{name}: {said}");
    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.contains(right), "{name} has no {right:?} any more");
    let folder = tempfile::tempdir().expect("a folder");
    let spoilt = folder.path().join(name);
    fs::write(&spoilt, text.replace(right, wrong)).expect("the folder is writable");
    let (fine, said) = passes(checker, flags, &spoilt);
    assert!(!fine, "{name} passes even with {wrong:?}: {said}");
}

fn python_tools() -> Servers {
    Servers::venv("registry-tests", "registry/requirements.txt")
}

#[test]
fn the_container_files_pass_hadolint() {
    let hadolint = python_tools().bin("hadolint");
    checked("Dockerfile.server", &hadolint, &[], "WORKDIR /app", "WORKDIR app");
    checked("Dockerfile.wharf", &hadolint, &[], "USER 10001", "USER root");
}

#[test]
fn the_compose_file_fits_the_schema_and_restarts_its_services() {
    let dclint = Servers::npm("registry-tests-node", "registry/").bin("dclint");
    checked("docker-compose.yml", &dclint, &["--quiet"], "restart:", "restrt:");
    let text = fs::read_to_string(example().join("deploy/docker-compose.yml")).expect("the file");
    assert_eq!(text.matches("restart: unless-stopped").count(), 3, "the registry, wharf and nginx go on");
}

#[test]
fn the_kubernetes_manifests_fit_the_schemas() {
    let validate = python_tools().bin("kubernetes-validate");
    checked("kubernetes.yaml", &validate, &["--strict"], "replicas: 3", "replicas: three");
    let (_, said) = passes(&validate, &["--strict"], &example().join("deploy/kubernetes.yaml"));
    for resource in ["secret/mongodb-secret", "deployment/mcp-server", "service/mcp-server"] {
        assert!(said.contains(&format!("passed for resource {resource}")), "{resource}: {said}");
    }
}
