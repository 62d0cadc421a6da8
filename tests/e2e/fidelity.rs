//! What wharf carries it carries to the byte, in both directions, at every way in. The messages are in `table`, a plugin
//! that says nothing else in `literal.py`.
//!
//! These places are wharf's, and no others:
//! - the envelope: the order of its members, blanks between them, members that JSON-RPC does not know;
//! - the id at each hop, and `_meta.progressToken`, which is another at each hop as well;
//! - the name of a tool or prompt where several plugins stand beside each other;
//! - what a modern client says of its own hop in `_meta`, which goes no further;
//! - `resultType`, `ttlMs` and `cacheScope`, which a modern client must be told and a legacy plugin does not say;
//! - the tasks of 2025, which the other era does not know: `task` of a call, and `execution.taskSupport` of a tool;
//! - that a message is one line: a CR or LF between tokens becomes a blank.

mod door;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use self::door::{CAPABILITIES, Door, LEGACY_INFO, numbered, question};
use self::table::{CASES, Case, HELLO, LISTED, OWN};
use crate::support::host::Setup;
use crate::support::mcp::{LEGACY, MODERN};
use crate::support::{Manifest, TestHost};

/// The client's token, spelled as no writer would.
const TOKEN: &str = r#""t\u006fk\/""#;
/// Who a modern client is.
const INFO: &str = r#"{ "name":"c","version":"1","vendor":[1.0] }"#;
/// What tasks there are of in the table.
const TASK: &str = r#","task":{"ttl":60000,"vendor":1.0}"#;
const TASK_SUPPORT: &str = r#""taskSupport":"optional","#;
/// Ids of the client, in turn.
const IDS: [&str; 6] = [r#""a\u0062\/""#, "18446744073709551616", "-7", "0", r#""""#, r#""☂""#];

/// What only the plugin and the host know of.
struct Stage {
    host: TestHost,
    heard: PathBuf,
    modern: bool,
}

impl Stage {
    async fn start(isolation: &str) -> Self {
        Self::of("legacy", isolation).await
    }

    async fn of(era: &str, isolation: &str) -> Self {
        let modern = era == "modern";
        let setup = Setup::new();
        let (script, heard) = (setup.scratch("script"), setup.scratch("heard"));
        fs::write(&script, self::script(modern)).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/fidelity/literal.py");
        let plugin = Manifest::command("python3").path(&program).path(&script).path(&heard).quick();
        let plugin = plugin.set("era", era).set("isolation", isolation);
        let host = setup.plugin("literal", &plugin).start().await;
        host.until_state("literal", "ready").await;
        Self { host, heard, modern }
    }

    /// What the plugin heard since, but for what the host asks itself: the id and what follows it.
    fn heard(&self, since: usize) -> Vec<(String, String)> {
        let all = fs::read(&self.heard).unwrap();
        let text = std::str::from_utf8(&all[since..]).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#));
        let lines = lines.filter_map(|line| line.strip_suffix('}')?.split_once(','));
        let own = [
            "ping",
            "logging/setLevel",
            "initialize",
            "tools/list",
            "prompts/list",
            "resources/",
            "server/",
            "subscriptions/",
        ];
        let own = own.map(|method| format!("\"method\":\"{method}"));
        let read = r#""method":"resources/read""#;
        let lines = lines.filter(|(_, rest)| {
            rest.starts_with(read) || !own.iter().any(|own| rest.starts_with(own.as_str()))
        });
        lines.map(|(id, rest)| (id.to_owned(), rest.to_owned())).collect()
    }

    fn mark(&self) -> usize {
        fs::read(&self.heard).unwrap().len()
    }
}

/// The plugin's part of the table. Its envelopes are in an order of their own, with blanks and members that nobody knows.
fn script(modern: bool) -> String {
    let mut out = String::new();
    let mut section = |key: &str, lines: &[String]| {
        out += &format!("= {key}\n");
        lines.iter().for_each(|line| out += &format!("{line}\n"));
    };
    let answer =
        |members: &str| format!(r#"{{ "vendor" : 1.0, {members} , "id" : @ID@ , "jsonrpc" : "2.0" }}"#);
    let mut offers: Vec<_> =
        LISTED.iter().map(|(method, key, entry)| (*method, *key, (*entry).to_owned())).collect();
    offers[0].2 = offers[0].2.replace("@NAME@", "listed");
    offers[1].2 = offers[1].2.replace("@NAME@", "prompt");
    for case in CASES.iter().filter(|case| case.method == "tools/call") {
        let name = case.name;
        offers[0].2 += &format!(r#",{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
    }
    for (method, key, entries) in &offers {
        section(method, &[answer(&format!(r#""result":{{"{key}":[{entries}],"vendor":1.0}}"#))]);
    }
    let [experimental, vendor, tasks, completions, info] = HELLO else { panic!("five of them") };
    let hello = format!(
        r#""result":{{"protocolVersion":"{LEGACY}","capabilities":{{{experimental},{vendor},{tasks},{completions},"tools":{{}},"prompts":{{}},"resources":{{}},"logging":{{}}}},"serverInfo":{info}}}"#
    );
    section("initialize", &[answer(&hello)]);
    let discovered = format!(
        r#""result":{{"supportedVersions":["{MODERN}"],"capabilities":{{{experimental},{completions},"tools":{{}},"prompts":{{}},"resources":{{}}}},"serverInfo":{info},"resultType":"complete"}}"#
    );
    if modern {
        section("server/discover", &[answer(&discovered)]);
    }
    for quiet in ["ping", "logging/setLevel"] {
        section(quiet, &[answer(r#""result":{}"#)]);
    }
    for case in CASES.iter().chain(OWN) {
        let mut lines: Vec<_> = case
            .says
            .iter()
            .map(|(method, params)| {
                format!(r#"{{ "params" : {params} , "method":"{method}","jsonrpc":"2.0","x":1}}"#)
            })
            .collect();
        if let Some(ask) = &case.asks {
            let (id, method, params) = (ask.id, ask.method, ask.params);
            lines.push(format!(
                r#"{{"id":{id} , "x":1, "method":"{method}","params": {params} ,"jsonrpc":"2.0"}}"#
            ));
            lines.push("?".to_owned());
        }
        lines.push(answer(&said(case, modern)));
        let tool = case.method == "tools/call";
        section(&if tool { format!("tools/call {}", case.name) } else { case.method.to_owned() }, &lines);
    }
    out
}

/// What a modern client says of its own hop, after other members.
fn hop() -> String {
    let io = r#""io.modelcontextprotocol/"#;
    format!(
        r#",{io}protocolVersion":"{MODERN}",{io}clientCapabilities":{CAPABILITIES},{io}clientInfo":{INFO},{io}logLevel":"debug""#
    )
}

/// The members of an answer as the plugin says them: a modern one says of what type it is, and for how long it holds.
fn said(case: &Case, modern: bool) -> String {
    let Some(object) = case.answer.strip_prefix(r#""result":{"#).filter(|_| modern) else {
        return case.answer.to_owned();
    };
    let object = object.strip_suffix('}').unwrap();
    let comma = if object.is_empty() { "" } else { "," };
    let kept = if case.method == "resources/read" { r#","ttlMs":5.0,"cacheScope":"public""# } else { "" };
    format!(r#""result":{{"resultType":"complete"{comma}{object}{kept}}}"#)
}

/// The members of an answer as the client is told them.
fn told(case: &Case, plugin_modern: bool, modern: bool) -> String {
    if plugin_modern {
        // What only a modern client knows, a legacy one is not told.
        return if modern { said(case, true) } else { case.answer.to_owned() };
    }
    let Some(object) = case.answer.strip_prefix(r#""result":{"#).filter(|_| modern) else {
        return case.answer.to_owned();
    };
    let object = object.strip_suffix('}').unwrap();
    let comma = if object.is_empty() { "" } else { "," };
    let kept = if case.method == "resources/read" { r#","ttlMs":0,"cacheScope":"private""# } else { "" };
    format!(r#""result":{{{object}{comma}"resultType":"complete"{kept}}}"#)
}

/// The params as a modern plugin gets them: at the end of `_meta` stands what wharf says there for the client, and its token.
fn stamped(params: &str, client_modern: bool, id: &str) -> String {
    let (info, level) = if client_modern { (INFO, "debug") } else { (LEGACY_INFO, "info") };
    let meta = params.rfind(r#""_meta""#).unwrap();
    let open = meta + params[meta..].find('{').unwrap() + 1;
    let token = params.find(r#""progressToken""#).unwrap();
    let close = token + params[token..].find('}').unwrap();
    let kept = params[open..token].trim().trim_end_matches(',').trim_end();
    let (before, comma, after) = (&params[..open], if kept.is_empty() { "" } else { "," }, &params[close..]);
    let io = r#""io.modelcontextprotocol/"#;
    format!(
        r#"{before}{kept}{comma}{io}protocolVersion":"{MODERN}",{io}clientCapabilities":{CAPABILITIES},{io}clientInfo":{info},{io}logLevel":"{level}","progressToken":{id}{after}"#
    )
}

/// Plays a case at a door. `prefix` is before the names there.
async fn play(stage: &Stage, door: &mut Door<'_>, case: &Case, prefix: &str, id: &str) -> usize {
    let since = stage.mark();
    let name = if case.name.is_empty() { String::new() } else { format!("{prefix}{}", case.name) };
    // What stands as a tab in the table is a break between two tokens where a message may hold one.
    let (sent, one_line) = if door.is_http() { ("\r\n", "  ") } else { ("\t", "\t") };
    let params = case.params.replace("@NAME@", &name).replace("@TOKEN@", TOKEN);
    let params =
        params.replace("@HOP@", &if door.modern { hop() } else { String::new() }).replace('\t', sent);
    let message = |params: &str| {
        let method = case.method;
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    };
    let door_modern = door.modern;
    let crosses = door.modern && !stage.modern;
    let at_plugin = |hop_id: &str| {
        let params = case.params.replace("@NAME@", case.name).replace("@HOP@", "").replace('\t', one_line);
        let params = if crosses { params.replace(TASK, "") } else { params };
        let params = if stage.modern {
            stamped(&params, door_modern, hop_id)
        } else {
            params.replace("@TOKEN@", hop_id)
        };
        format!(r#""method":"{}","params":{params}"#, case.method)
    };
    let opening = format!(r#"{{"jsonrpc":"2.0","id":{id},"#);
    let mut expected: Vec<_> = case
        .says
        .iter()
        .map(|(method, params)| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"{method}","params":{}}}"#,
                params.replace("@TOKEN@", TOKEN)
            )
        })
        .collect();
    let mut lines = door.lines(case, &name, message(&params), &opening).await;
    if let Some(ask) = &case.asks {
        let asked = format!(r#""method":"{}","params":{}}}"#, ask.method, ask.params);
        let line = lines.remove(0);
        if door.modern {
            assert!(line.contains(&format!("{{{asked}")), "{}: {line}", case.name);
            let (key, state) = question(&line);
            let answer = ask.reply.strip_prefix(r#""result":"#).unwrap();
            let again = params.strip_suffix('}').unwrap();
            let again = format!(r#"{again},"inputResponses":{{"{key}":{answer}}},"requestState":{state}}}"#);
            lines = door.lines(case, &name, message(&again), &opening).await;
        } else {
            assert_eq!(numbered(&line).map(|(_, rest)| rest), Some(&*asked), "{}", case.name);
        }
    }
    expected.push(format!("{opening}{}}}", told(case, stage.modern, door.modern)));
    assert_eq!(lines, expected, "{} at the client", case.name);
    let heard = stage.heard(since);
    let asks = usize::from(case.asks.is_some());
    assert_eq!(heard.len(), 1 + asks, "{}: {heard:#?}", case.name);
    assert_eq!(heard[0].1, at_plugin(&heard[0].0), "{} at the plugin", case.name);
    if let Some(ask) = &case.asks {
        assert_eq!(heard[1], (ask.id.to_owned(), ask.reply.to_owned()), "{} at the plugin", case.name);
    }
    2 + case.says.len() + 2 * asks
}

/// Plays the whole table at a door, and gives how many messages that were.
async fn all(stage: &Stage, mut door: Door<'_>, prefix: &str, own: bool) -> usize {
    let mut ids = IDS.iter().cycle();
    let mut messages = 0;
    let own = OWN.iter().filter(|_| own);
    // A modern plugin asks in its answers, and the questions are the client's to put: that is not one exchange any more.
    let asks = |case: &&Case| case.asks.is_some() && stage.modern;
    for case in CASES.iter().chain(own).filter(|case| !asks(case)) {
        messages += play(stage, &mut door, case, prefix, ids.next().unwrap()).await;
    }
    for (n, (method, _, entry)) in LISTED.iter().enumerate() {
        let bare = Case { method, name: "", params: "{}", says: &[], asks: None, answer: "" };
        if door.modern && door.is_http() {
            // A modern list says the same, and its head would name nothing.
            continue;
        }
        let hop = if door.modern { format!(r#"{{"_meta":{{"x":1{}}}}}"#, hop()) } else { "{}".to_owned() };
        let message = format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"{method}","params":{hop}}}"#);
        let lines = door.lines(&bare, "", message, &format!(r#"{{"jsonrpc":"2.0","id":{n},"#)).await;
        let name = if *method == "tools/list" { "listed" } else { "prompt" };
        let entry = entry.replace("@NAME@", &format!("{prefix}{name}"));
        let entry = if door.modern == stage.modern { entry } else { entry.replace(TASK_SUPPORT, "") };
        assert!(lines[0].contains(&entry), "{method}: {entry} is not in {}", lines[0]);
        messages += 2;
    }
    messages
}

#[tokio::test]
async fn a_legacy_client_of_all_plugins() {
    let stage = Stage::start("shared").await;
    let (door, _) = Door::http(&stage.host, "/mcp", false).await;
    all(&stage, door, "literal__", false).await;
}

#[tokio::test]
async fn a_legacy_client_of_one_plugin() {
    let stage = Stage::start("shared").await;
    let (door, hello) = Door::http(&stage.host, "/plugins/literal/mcp", false).await;
    for said in HELLO {
        assert!(hello.contains(said), "{said} is not in {hello}");
    }
    let messages = all(&stage, door, "", true).await;
    assert!(messages >= 53, "the table has shrunk: {messages} messages");
}

#[tokio::test]
async fn modern_clients() {
    let stage = Stage::start("shared").await;
    for (path, prefix) in [("/mcp", "literal__"), ("/plugins/literal/mcp", "")] {
        let (door, _) = Door::http(&stage.host, path, true).await;
        all(&stage, door, prefix, false).await;
    }
}

#[tokio::test]
async fn clients_on_a_pipe() {
    let stage = Stage::start("shared").await;
    let own: &[&str] = &["--plugin", "literal"];
    for modern in [false, true] {
        for (args, prefix) in [(&[][..], "literal__"), (own, "")] {
            let (door, _) = Door::pipe(&stage.host, args, modern).await;
            all(&stage, door, prefix, !prefix.contains("literal") && !modern).await;
        }
    }
}

/// A modern plugin is told of the client in the client's own words, with each request.
#[tokio::test]
async fn a_modern_plugin() {
    let stage = Stage::of("modern", "shared").await;
    for (path, prefix) in [("/mcp", "literal__"), ("/plugins/literal/mcp", "")] {
        for modern in [false, true] {
            let (door, _) = Door::http(&stage.host, path, modern).await;
            all(&stage, door, prefix, false).await;
        }
    }
    let (door, _) = Door::pipe(&stage.host, &[], true).await;
    all(&stage, door, "literal__", false).await;
}

/// An instance of one client is told that client's own words.
#[tokio::test]
async fn a_client_with_an_instance_of_its_own() {
    let stage = Stage::start("session").await;
    let since = stage.mark();
    let (door, _) = Door::http(&stage.host, "/plugins/literal/mcp", false).await;
    all(&stage, door, "", true).await;
    let heard = fs::read(&stage.heard).unwrap();
    let heard = std::str::from_utf8(&heard[since..]).unwrap();
    let hello = heard.lines().find(|line| line.contains(r#""method":"initialize""#));
    let hello = hello.expect("an instance was started");
    assert!(hello.contains(&format!(r#""capabilities":{CAPABILITIES}"#)), "{hello}");
}
