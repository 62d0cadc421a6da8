use super::*;
use crate::manifest::problem::place_of;

fn read(syntax: Syntax, text: &str) -> Result<(Node, Arc<Source>), Vec<Problem>> {
    let (source, problem) = source(Path::new("p"), text.as_bytes().to_vec());
    assert!(problem.is_none(), "{problem:?}");
    parse(&source, syntax, 0).map(|node| (node, source))
}

fn place(node: &Node, source: &Arc<Source>, pointer: &str) -> (u32, u32) {
    let place = place_of(std::slice::from_ref(source), node.at(pointer).unwrap().spot).unwrap();
    (place.line, place.column)
}

const TOML: &str = "# c\ncommand = \"x\"\nargs = [\"a\", \"b\"]\n[limits]\nqueue = 7\nx = 1.5\nlate = true\n";
const YAML: &str = "# c\ncommand: x\nargs: [a, \"b\"]\nlimits:\n  queue: 7\n  x: 1.5\n  late: true\n";
const JSON: &str = "// c\n{\"command\": \"x\",\n\"args\": [\"a\", \"b\"],\n\"limits\": {\n\"queue\": 7, \"x\": 1.5, \"late\": true,}}";

#[test]
fn the_syntaxes_give_the_same_tree_and_know_its_places() {
    let expected = serde_json::json!({"command": "x", "args": ["a", "b"], "limits": {"queue": 7, "x": 1.5, "late": true}});
    for (syntax, text, queue, b) in [
        (Syntax::Toml, TOML, (5, 9), (3, 14)),
        (Syntax::Yaml, YAML, (5, 10), (3, 11)),
        (Syntax::Json, JSON, (5, 10), (3, 15)),
    ] {
        let (node, source) = read(syntax, text).unwrap();
        assert_eq!(node.to_json(), expected, "{syntax:?}");
        assert_eq!(place(&node, &source, "/limits/queue"), queue, "{syntax:?}");
        assert_eq!(place(&node, &source, "/args/1"), b, "{syntax:?}");
        let key = node.get("limits").unwrap().entry("queue").unwrap().key_spot;
        assert_eq!(node.pointer_to(key).as_deref(), Some("/limits/queue"), "{syntax:?}");
        assert!(source.text.get(key.range()).unwrap().contains("queue"), "{syntax:?}");
        assert_eq!(source.text.get(node.at("/limits/x").unwrap().spot.range()), Some("1.5"), "{syntax:?}");
    }
}

#[test]
fn bad_syntax_is_told_at_its_place() {
    for (syntax, text, line, column) in [
        (Syntax::Toml, "a = 1\nb = = 2\n", 2, 5),
        (Syntax::Toml, "a = 1\na = 2\n", 2, 1),
        (Syntax::Toml, "a = 99999999999999999999\n", 1, 5),
        (Syntax::Toml, "a = 2020-01-01\n", 1, 5),
        (Syntax::Toml, "a = inf\n", 1, 5),
        (Syntax::Yaml, "a: 1\nb: [1, 2\n", 2, 4),
        (Syntax::Yaml, "a: 1\na: 2\n", 2, 1),
        (Syntax::Yaml, "a: 1\n\tb: 2\n", 1, 4),
        (Syntax::Json, "{\"a\": 1\n\"b\": 2}", 1, 8),
        (Syntax::Json, "{\"a\": 1,\n \"a\": 2}", 2, 2),
        (Syntax::Json, "{\"ä\": 'x'}", 1, 7),
        (Syntax::Json, "{\"a\": 1", 1, 1),
        (Syntax::Json, "// only\n", 1, 1),
        (Syntax::Json, "[1]", 1, 1),
        (Syntax::Yaml, "just text\n", 1, 1),
    ] {
        let problems = read(syntax, text).unwrap_err();
        let place = problems.first().unwrap().place.clone().unwrap();
        assert_eq!((place.line, place.column), (line, column), "{syntax:?} {text:?} {problems:?}");
    }
}

fn nested(syntax: Syntax, before: &str, after: &str) {
    for depth in [32, 64, 300, 505, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        for (open, close) in [(&open, &close), (&open, &String::new())] {
            let problems = read(syntax, &format!("{before}{open}1{close}{after}")).unwrap_err();
            assert!(!problems.is_empty(), "{syntax:?} {depth}");
        }
    }
}

#[test]
fn nesting_is_bounded_in_toml() {
    nested(Syntax::Toml, "a = ", "");
}

#[test]
fn nesting_is_bounded_in_yaml() {
    nested(Syntax::Yaml, "a: ", "");
    // Without brackets.
    let deep: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(read(Syntax::Yaml, &deep).is_err());
}

#[test]
fn nesting_is_bounded_in_json() {
    nested(Syntax::Json, "{\"a\": ", "}");
    let (node, _) = read(Syntax::Json, "{\"a\": \"[[\\\"[[\" /* [[[ */, // [[[\n\"b\": [1]}").unwrap();
    assert_eq!(node.to_json(), serde_json::json!({"a": "[[\"[[", "b": [1]}));
}

#[test]
fn aliases_work_and_cannot_blow_up() {
    let (node, _) = read(Syntax::Yaml, "a: &x {b: 1}\nc: *x\n").unwrap();
    assert_eq!(node.to_json(), serde_json::json!({"a": {"b": 1}, "c": {"b": 1}}));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let parts = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{parts}]\n"));
    }
    assert!(read(Syntax::Yaml, &bomb).is_err());
}

#[test]
fn yaml_words_stay_words() {
    let (node, _) = read(Syntax::Yaml, "a: on\nb: \"1\"\nc: ~\nd: 1e3\n").unwrap();
    assert_eq!(node.to_json(), serde_json::json!({"a": "on", "b": "1", "c": null, "d": 1000}));
}

#[test]
fn what_is_no_text_is_told() {
    for (bytes, message, at) in [
        (b"a = 1\nb = \xff".to_vec(), "not UTF-8", Some((2, 5))),
        (b"\xef\xbb\xbfa = 1".to_vec(), "begins with a byte order mark", Some((1, 1))),
        (b" \n".to_vec(), "the file is empty", None),
    ] {
        let problem = source(Path::new("p"), bytes).1.unwrap();
        assert_eq!(problem.message, message);
        assert_eq!(problem.place.map(|p| (p.line, p.column)), at);
    }
}

#[test]
fn only_regular_files_of_a_fair_size_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let big = dir.path().join("big");
    std::fs::File::create(&big).unwrap().set_len(10 * 1024 * 1024).unwrap();
    assert!(
        matches!(read_bounded(&big, MAX_BYTES), Err(ReadError::Other(m)) if m == "larger than 1048576 bytes")
    );
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(read_bounded(&pipe, MAX_BYTES), Err(ReadError::Other(m)) if m == "not a regular file"));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(
        matches!(read_bounded(&link, MAX_BYTES), Err(ReadError::Other(m)) if m == "the link leads nowhere")
    );
    assert!(matches!(read_bounded(&dir.path().join("none"), MAX_BYTES), Err(ReadError::Gone)));
}
