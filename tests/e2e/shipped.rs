//! The manifests that come with the project: what a user drops in first must work as it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::built;
use crate::support::command::wharf;
use crate::support::host::Setup;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the project's folder")
}

/// Every `*.toml` of `plugins/` and of the examples' folders that is a manifest.
fn manifests() -> Vec<PathBuf> {
    let folders =
        fs::read_dir(root().join("examples")).into_iter().flatten().flatten().map(|entry| entry.path());
    let files =
        [root().join("plugins")].into_iter().chain(folders).filter_map(|folder| fs::read_dir(folder).ok());
    let mut found: Vec<PathBuf> = files
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .filter(|path| path.file_name().is_some_and(|name| name != "Cargo.toml"))
        .collect();
    found.sort();
    found
}

/// The manifest as its users have it: copied into `plugins/`, and the example's settings made from those that it comes with.
fn installed(home: &Path, manifest: &Path) -> PathBuf {
    let (folder, there) =
        (manifest.parent().unwrap(), home.join("plugins").join(manifest.file_name().unwrap()));
    fs::create_dir(home.join("plugins")).unwrap();
    fs::copy(manifest, &there).unwrap();
    let settings = folder.join(".env.example");
    if settings.is_file() {
        let example = home.join("examples").join(folder.file_name().unwrap());
        fs::create_dir_all(&example).unwrap();
        fs::copy(settings, example.join(".env")).unwrap();
    }
    there
}

/// Were they not linked with the program, nobody would notice.
#[tokio::test]
async fn the_program_has_the_settings_of_its_allocator() {
    let told = wharf(&["--version"], &[("_RJEM_MALLOC_CONF", "confirm_conf:true")]).await.expect(0);
    assert!(told.stderr.contains("Set conf value: narenas:2"), "{told:?}");
}

#[tokio::test]
async fn every_shipped_manifest_is_valid() {
    let found = manifests();
    assert!(found.len() >= 3, "the manifests are looked for in the wrong place: {found:?}");
    for path in found {
        let home = tempfile::tempdir().unwrap();
        let there = installed(home.path(), &path);
        let outcome = wharf(
            &["validate", there.to_str().unwrap()],
            &["REMOTE_TOKEN", "REGISTRY_TOKEN", "LINKEDIN_COOKIE"].map(|name| (name, "x")),
        )
        .await;
        assert_eq!(outcome.code, 0, "{}: {}{}", path.display(), outcome.stdout, outcome.stderr);
    }
}

#[tokio::test]
async fn the_readmes_manifest_is_valid() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, from) = readme.split_once("```toml\n").expect("a block of TOML");
    let (text, _) = from.split_once("\n```").expect("its end");
    assert!(text.starts_with("# plugins/memory.toml\n"), "another block: {text}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.toml");
    fs::write(&path, text).unwrap();
    wharf(&["validate", path.to_str().unwrap()], &[]).await.expect(0);
}

#[tokio::test]
async fn the_shipped_mock_works_with_nothing_installed() {
    let text = fs::read(root().join("plugins/mock.toml")).unwrap();
    let host = Setup::new().file("mock.toml", text).start().await;
    host.until_state("mock", "ready").await;
    let echo = host.call("mock", "echo", json!({ "message": "out of the box" })).await;
    assert_eq!(text_of(&echo), "out of the box");
}

#[tokio::test]
async fn a_shipped_manifest_whose_runtime_is_missing_says_so() {
    let mut setup = Setup::new();
    let mut ids = Vec::new();
    for name in ["everything", "time"] {
        let text = fs::read(root().join(format!("plugins/{name}.toml"))).unwrap();
        setup = setup.file(&format!("{name}.toml"), text);
        ids.push(name);
    }
    // A PATH on which neither Node nor Python is.
    let empty = setup.scratch("bin");
    fs::create_dir(&empty).unwrap();
    let host = setup.env("PATH", empty.to_str().unwrap()).start().await;
    for id in ids {
        let view = host.until_cause(id, "not_found").await;
        assert_eq!(view["state"], "fatal", "{view}");
        assert!(view["cause"]["remedy"].as_str().unwrap().contains("install"), "{view}");
    }
}

#[tokio::test]
async fn the_examples_work_when_their_manifests_are_copied_into_the_plugin_folder() {
    let mut setup = Setup::new();
    // Their paths are those of the project: ../examples and ../target/debug beside the plugin folder.
    let home = setup.plugins().parent().unwrap().to_owned();
    symlink(root().join("examples"), home.join("examples")).unwrap();
    fs::create_dir(home.join("target")).unwrap();
    symlink(built(), home.join("target/debug")).unwrap();
    for name in ["echo-rust", "native", "node", "python"] {
        let text = fs::read(root().join(format!("examples/{name}/{name}.toml"))).unwrap();
        setup = setup.file(&format!("{name}.toml"), text);
    }
    let host = setup.start().await;
    for (id, tool, arguments, expected) in [
        ("echo-rust", "echo", json!({ "text": "hello" }), json!("hello")),
        ("native", "sum", json!({ "numbers": [1, 2, 3] }), json!({ "sum": 6.0 })),
        ("node", "greet", json!({ "name": "Ada" }), json!("Hello, Ada!")),
        (
            "python",
            "words",
            json!({ "text": "to be or not to be" }),
            json!({ "to": 2, "be": 2, "or": 1, "not": 1 }),
        ),
    ] {
        host.until_state(id, "ready").await;
        let answer = host.post(&format!("/tools/{id}/{tool}"), &arguments).await;
        assert_eq!(answer.expect(200), expected, "{id}");
    }
}
