use std::os::unix::fs::symlink;

use super::*;
use wharf_core::manifest::{Dialect, Kind, Span};

fn context() -> Context {
    Context {
        env: Box::new(|name| (name == "TOKEN").then(|| "hush-hush".to_owned())),
        state_dir: "/state".into(),
        wharf: "/bin/wharf".into(),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(&self) -> Reading {
        load_dir(self.0.path(), &context())
    }
}

fn ids<T>(map: &BTreeMap<PluginId, T>) -> Vec<&str> {
    map.keys().map(PluginId::as_str).collect()
}

fn messages(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|p| p.message.as_str()).collect()
}

#[test]
fn only_manifests_are_read() {
    let folder = Folder::new(&[
        ("a.toml", "command = 'x'"),
        ("b.yaml", "command: x"),
        ("c.yml", "command: x"),
        ("d.json", "{\"command\": \"x\"}"),
        ("e/plugin.toml", "command = 'x'"),
        ("e/other.toml", "nonsense"),
        ("f/deep/plugin.toml", "nonsense"),
        ("README.md", "text"),
        (".hidden.toml", "nonsense"),
        ("a.toml~", "nonsense"),
        (".#a.toml", "nonsense"),
        ("#a.toml#", "nonsense"),
        (".a.toml.swp", "nonsense"),
        ("4913", "nonsense"),
        ("x.tmp", "nonsense"),
        ("plugin.schema.json", "{}"),
    ]);
    let reading = folder.read();
    assert_eq!(ids(&reading.manifests), ["a", "b", "c", "d", "e"]);
    assert!(reading.invalid.is_empty() && reading.loose.is_empty(), "{reading:?}");
}

#[test]
fn one_bad_file_touches_no_other() {
    let folder = Folder::new(&[
        ("a.toml", "command = 'x'"),
        ("b.toml", "command = "),
        ("c.yaml", ""),
        ("Bad Name.toml", "command = 'x'"),
    ]);
    let big = folder.0.path().join("big.toml");
    std::fs::File::create(big).unwrap().set_len(10 << 20).unwrap();
    symlink("nowhere", folder.0.path().join("link.toml")).unwrap();
    let reading = folder.read();
    assert_eq!(ids(&reading.manifests), ["a"]);
    assert_eq!(ids(&reading.invalid), ["b", "big", "c", "link"]);
    assert_eq!(messages(&reading.invalid["big"].problems), ["larger than 1048576 bytes"]);
    assert_eq!(messages(&reading.invalid["link"].problems), ["the link leads nowhere"]);
    assert_eq!(messages(&reading.invalid["c"].problems), ["the file is empty"]);
    assert!(
        messages(&reading.loose)[0]
            .starts_with("the name of the file is the plugin's id, but \"Bad Name\" is no plugin id")
    );
}

#[test]
fn of_two_with_one_id_none_is_used() {
    let folder = Folder::new(&[
        ("a.toml", "command = 'x'"),
        ("a.yaml", "command: x"),
        ("b.toml", "command = 'x'"),
        (
            "team.json",
            r#"{"mcpServers": {"B": {"command": "x"}, "c d": {"command": "x"}, "c/d": {"command": "x"}, "e": {"command": "x"}}}"#,
        ),
    ]);
    let reading = folder.read();
    assert_eq!(ids(&reading.manifests), ["e"]);
    assert_eq!(ids(&reading.invalid), ["a", "b", "c-d"]);
    let paths: Vec<_> =
        reading.invalid["a"].problems.iter().map(|p| p.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(paths, ["a.toml", "a.yaml"], "told at both");
    assert!(
        reading.invalid["c-d"]
            .problems
            .iter()
            .any(|p| p.message == "\"c/d\" and \"c d\" both become the id c-d")
    );
}

#[test]
fn a_file_of_other_programs_is_taken_as_it_is() {
    let folder = Folder::new(&[(
        "claude_desktop_config.json",
        r#"{
  // comments, as VS Code writes them
  "globalShortcut": "x",
  "mcpServers": {
    "Memory": {"command": "npx", "args": ["-y", "mem"], "env": {"A": "b", "T": "${env:TOKEN}"},},
    "remote": {"type": "http", "url": "https://a.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
    "events": {"type": "sse", "url": "https://a.example/sse"},
    "wind": {"serverUrl": "https://b.example/mcp", "disabled": true},
    "gem": {"httpUrl": "https://c.example/mcp", "timeout": 600000, "trust": true},
    "mcpo": {"type": "streamable-http", "url": "https://d.example/mcp", "disabledTools": ["a*"]},
    "ours": {"command": "x", "env": {"A": "1"}, "x-wharf": {"replicas": 2, "env": {"B": "2"}, "limits": {"queue": 1}}},
  },
}"#,
    )]);
    let reading = folder.read();
    assert!(reading.invalid.is_empty(), "{reading:#?}");
    assert_eq!(messages(&reading.loose), ["keys of another program have no effect here: `globalShortcut`"]);
    assert_eq!(ids(&reading.manifests), ["events", "gem", "mcpo", "memory", "ours", "remote", "wind"]);
    let dialect = |id: &str| match &reading.manifests[id].kind {
        Kind::Remote(remote) => remote.targets[0].dialect,
        Kind::Command(command) => Some(command.dialect),
        Kind::Embedded(_) => None,
    };
    assert_eq!(
        ["remote", "events", "wind", "gem", "mcpo", "memory"].map(dialect),
        [
            Some(Dialect::Http),
            Some(Dialect::Sse),
            None,
            Some(Dialect::Http),
            Some(Dialect::Http),
            Some(Dialect::Stdio)
        ]
    );
    assert!(!reading.manifests["wind"].enabled && reading.manifests["gem"].enabled);
    assert_eq!(reading.manifests["mcpo"].tools.exclude, ["a[*]"]);
    let ours = &reading.manifests["ours"];
    assert_eq!((ours.replicas, ours.limits.queue), (2, 1));
    let Kind::Command(command) = &ours.kind else { panic!("remote") };
    assert_eq!(command.env.len(), 2, "merged key by key");
    let ignored: Vec<(&str, Option<u32>)> = reading.warnings["gem"]
        .iter()
        .map(|p| (p.pointer.as_str(), p.place.as_ref().map(|place| place.line)))
        .collect();
    assert_eq!(ignored, [("/mcpServers/gem/timeout", Some(9)), ("/mcpServers/gem/trust", Some(9))]);
    assert!(!format!("{reading:?}").contains("hush"));
}

#[test]
fn what_is_wrong_in_a_foreign_file_is_told_at_its_place() {
    let folder = Folder::new(&[(
        "team.json",
        "{\"mcpServers\": {\n\"a\": {\"command\": \"x\", \"env\": {\"NODE_OPTIONS\": \"-r x\"}},\n\"b\": {\"serverUrl\": \"ftp://x\"},\n\
         \"c\": {\"command\": \"x\", \"type\": \"websocket\"},\n\"d\": 7,\n\"--\": {\"command\": \"x\"},\n\
         \"e\": {\"args\": []},\n\"f\": {\"command\": \"x\", \"x-wharf\": {\"replica\": 2}}}}",
    )]);
    let reading = folder.read();
    let told: Vec<(&str, u32, &str)> = reading
        .invalid
        .values()
        .flat_map(|invalid| &invalid.problems)
        .map(|p| (p.pointer.as_str(), p.place.as_ref().unwrap().line, p.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("/mcpServers/a/env/NODE_OPTIONS", 2, "`NODE_OPTIONS` makes a program load other code"),
            ("/mcpServers/b/serverUrl", 3, "`url` must begin with http:// or https://"),
            ("/mcpServers/c/type", 4, "`dialect` must be one of `stdio`, `http`, `sse`, `sse-post`"),
            ("/mcpServers/d", 5, "a server must be a table with `command` or `url`"),
            ("/mcpServers/e", 7, "nothing to run"),
            ("/mcpServers/f/x-wharf/replica", 8, "unknown key `replica`"),
        ]
    );
    assert_eq!(messages(&reading.loose), ["the name \"--\" cannot become a plugin's id"]);
}

#[test]
fn overlays_lie_over_foreign_entries() {
    let folder = Folder::new(&[
        (
            "team.json",
            r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}, "c": {"command": "x"}}}"#,
        ),
        ("team.overlay.toml", "[a]\nreplicas = 3\n[a.limits]\ncall_timeout = '9s'\n[c]\nreplica = 1\n"),
        ("b.overlay.toml", "replicas = 4\nenv = { LD_DEBUG = 'all' }\n"),
        ("z.overlay.toml", "replicas = 4\n"),
    ]);
    let reading = folder.read();
    let a = &reading.manifests["a"];
    assert_eq!((a.replicas, a.limits.call_timeout), (3, Span::secs(9)));
    assert_eq!(reading.manifests["b"].replicas, 4);
    assert!(!reading.warnings["b"].is_empty(), "an overlay is ours: a warning, no refusal");
    let problem = &reading.invalid["c"].problems[0];
    assert_eq!(problem.path.file_name().unwrap(), "team.overlay.toml");
    assert_eq!((problem.place.as_ref().unwrap().line, problem.pointer.as_str()), (6, "/replica"));
    assert_eq!(messages(&reading.loose), ["no file of another program has an entry for this overlay"]);
}

#[test]
fn what_cannot_be_understood_now_leaves_what_runs_alone() {
    let folder = Folder::new(&[
        ("team.json", r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}}}"#),
        ("c.toml", "command = 'x'"),
    ]);
    let before = folder.read();
    let kept = |reading: &Reading| ["a", "b", "c"].map(|id| reading.keeps(&before.manifests[id]));
    assert_eq!(kept(&before), [false, false, false]);
    std::fs::write(folder.0.path().join("team.json"), r#"{"mcpServers": {"a": {"comm"#).unwrap();
    assert_eq!(kept(&folder.read()), [true, true, false]);
    std::fs::write(folder.0.path().join("team.json"), r#"{"mcpServers": {"a": {"comm": 1}}}"#).unwrap();
    std::fs::write(folder.0.path().join("c.toml"), "").unwrap();
    assert_eq!(kept(&folder.read()), [true, false, true], "b is gone for good");
    let dir = folder.0.path().to_owned();
    drop(folder);
    let gone = load_dir(&dir, &context());
    assert!(gone.unreadable && gone.loose[0].message.starts_with("the folder of manifests cannot be read"));
    assert_eq!(kept(&gone), [true, true, true]);
}

#[test]
fn a_single_file_is_checked_as_in_the_folder() {
    let folder = Folder::new(&[("b/plugin.toml", "command = 'x'"), ("c.txt", "command = 'x'")]);
    let check = |name: &str| file::check_file(&folder.0.path().join(name), &context());
    let bundle = check("b/plugin.toml");
    assert!(!bundle.has_errors());
    assert_eq!(bundle.plugins[0].id.as_str(), "b");
    assert_eq!(messages(&check("none.toml").loose), ["the file does not exist"]);
    assert_eq!(
        messages(&check("c.txt").loose),
        ["no manifest: the name must end in .toml, .yaml, .yml or .json"]
    );
    assert_eq!(messages(&check("b").loose).len(), 1);
}

#[test]
fn links_as_in_a_config_map_are_followed() {
    let folder = Folder::new(&[("..1/a.toml", "command = 'x'")]);
    symlink("..1", folder.0.path().join("..data")).unwrap();
    symlink("..data/a.toml", folder.0.path().join("a.toml")).unwrap();
    let reading = folder.read();
    assert_eq!(ids(&reading.manifests), ["a"]);
    assert_eq!(reading.manifests["a"].path, folder.0.path().join("a.toml"));
}

#[test]
fn the_number_of_manifests_is_bounded() {
    let names: Vec<String> = (0..=MAX_FILES).map(|n| format!("p{n:04}.toml")).collect();
    let folder = Folder::new(&names.iter().map(|name| (name.as_str(), "command = 'x'")).collect::<Vec<_>>());
    let reading = folder.read();
    assert_eq!(reading.manifests.len(), MAX_FILES);
    assert!(reading.loose[0].message.starts_with("more than 1000 manifests"));
}
