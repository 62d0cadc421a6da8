//! What a script may say, and how a bad one is refused.

use super::*;

#[test]
fn toml_and_json_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("s.toml"), dir.path().join("s.json"));
    std::fs::write(&a, "name = \"x\"\n[[tools]]\nname = \"t\"\n[tools.answer]\ntext = \"hi\"\ndelay = \"20ms\"\nprogress = 2\n").unwrap();
    std::fs::write(
        &b,
        r#"{"name":"x","tools":[{"name":"t","answer":{"text":"hi","delay":20,"progress":2}}]}"#,
    )
    .unwrap();
    for path in [a, b] {
        let script = Script::load(&path).unwrap();
        assert_eq!(script.name, "x");
        let Act::Scripted(answer) = &script.tools[0].act else { panic!("not scripted") };
        assert_eq!(answer.delay, Duration::from_millis(20));
        assert_eq!(answer.progress, 2);
        assert_eq!(answer.outcome.as_ref().unwrap(), &json!({"content": [{"type": "text", "text": "hi"}]}));
        assert_eq!(script.tools[0].definition["inputSchema"], json!({"type": "object"}));
    }
}

#[test]
fn every_problem_is_told_with_its_path() {
    let problems = Script::check(json!({
        "nmae": "x",
        "page_size": 0,
        "tools": [
            {"answer": {"text": 1}},
            {"name": "a", "inputschema": {}, "answer": {"error": {"code": "x"}, "isError": true}},
            {"name": "a", "answer": {"delay": "soon", "content": "text"}},
        ],
        "resources": [7],
        "prompts": [{"name": "p", "messages": {}}],
    }))
    .err()
    .unwrap();
    for start in [
        "nmae: unknown key",
        "page_size: must be an integer from 1",
        "tools[0].name: is missing",
        "tools[0].answer.text: must be a string",
        "tools[1].inputschema: unknown key",
        "tools[1].answer.error: excludes",
        "tools[1].answer.error.code: must be an integer",
        "tools[2].answer.delay: must be",
        "tools[2].answer.content: must be an array",
        "resources[0]: must be an object",
        "prompts[0].messages: must be an array",
    ] {
        assert!(problems.iter().any(|p| p.starts_with(start)), "no {start:?} in {problems:#?}");
    }
    let twice = Script::check(json!({"tools": [{"name": "a"}, {"name": "a"}]})).err().unwrap();
    assert_eq!(twice, ["tools: \"a\" stands twice"]);
}

#[test]
fn a_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.toml");
    assert!(Script::load(&path).err().unwrap().to_string().contains("s.toml"));
    std::fs::write(&path, "name = ").unwrap();
    assert!(Script::load(&path).err().unwrap().to_string().contains("is no TOML"));
}

#[test]
fn generated_tools_add_up() {
    let script = Script::check(json!({"generate_tools": 3, "default_tools": true})).ok().unwrap();
    assert_eq!(script.tools.len(), Builtin::ALL.len() + 3);
}
