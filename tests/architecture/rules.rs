//! The rules that a single file keeps or breaks.

/// What is wrong, with the place.
pub(crate) type Breach = String;

/// A file of the project.
pub(crate) struct Source {
    /// From the project's root.
    path: String,
    text: String,
    /// Without comments and without what only tests see.
    code: String,
}

const LONGEST: usize = 400;

/// The modules of `host/src` in layers: a file may use its own layer and those before it. What is not named here stands
/// beside and is used by all, but for `host`, which wires everything, and `lib` and `main`.
const LAYERS: [&[&str]; 5] =
    [&["process", "dialect"], &["plugin"], &["route"], &["mcp", "host"], &["serve", "edge_stdio"]];

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let code = if is_test { String::new() } else { code_of(&text) };
        Self { path, text, code }
    }

    /// The module of `host/src` that this file belongs to.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("host/src/")?;
        Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    fn find(&self, what: &[&str]) -> Option<&str> {
        self.code.lines().find(|line| what.iter().any(|word| has_word(line, word))).map(str::trim)
    }
}

/// Drops comments, and the inline test module, which stands at the end of a file.
fn code_of(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text.get(..end).unwrap_or(text).lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether `word` stands in `line` and is not a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

pub(crate) fn length(source: &Source) -> Option<Breach> {
    let lines = source.text.lines().count();
    (lines > LONGEST).then(|| format!("{} has {lines} lines; split it below {LONGEST}", source.path))
}

pub(crate) fn introduction(source: &Source) -> Option<Breach> {
    let is_test = source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
    (!is_test && !source.text.starts_with("//! "))
        .then(|| format!("{} does not begin with what it does (//!)", source.path))
}

pub(crate) fn unsafe_code(source: &Source) -> Option<Breach> {
    let allowed = ["host/src/process/", "host/src/native/", "plugin-api/src/native/"];
    // Strings and attributes may hold the word; code has it before one of these.
    let forms = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "unsafe trait",
        "unsafe(",
        "allow(unsafe_code",
    ];
    let line = source.code.lines().find(|line| forms.iter().any(|form| line.contains(form)))?;
    (!source.is_in(&allowed)).then(|| format!("{} has unsafe code: {}", source.path, line.trim()))
}

pub(crate) fn arrows(source: &Source) -> Option<Breach> {
    let module = source.module().filter(|module| !matches!(*module, "lib" | "main" | "host"))?;
    let layer = LAYERS.iter().position(|layer| layer.contains(&module));
    let beside = layer.is_none() && module != "cli";
    let mut banned: Vec<&str> = match layer {
        Some(own) => LAYERS.iter().skip(own + 1).flat_map(|layer| layer.iter().copied()).collect(),
        // What stands beside is used by all layers; it must at least not know the edges.
        None if beside => vec!["serve", "edge_stdio"],
        None => Vec::new(),
    };
    if module != "cli" {
        banned.push("cli");
    }
    let uses: Vec<_> = banned.iter().map(|other| format!("crate::{other}")).collect();
    let line = source.find(&uses.iter().map(String::as_str).collect::<Vec<_>>())?;
    Some(format!("{} points the wrong way: {line}", source.path))
}

pub(crate) fn status_codes(source: &Source) -> Option<Breach> {
    // The dialects, the command line and the mock speak HTTP of their own.
    let allowed = ["host/src/serve/", "host/src/dialect/", "host/src/mock/", "host/src/cli/"];
    let line = source.find(&["StatusCode"])?;
    (!source.is_in(&allowed)).then(|| format!("{} knows HTTP status codes: {line}", source.path))
}

pub(crate) fn spawns(source: &Source) -> Option<Breach> {
    let line = source.find(&[
        "tokio::spawn",
        "task::spawn",
        "task::spawn_blocking",
        "spawn_local",
        "runtime.spawn",
    ])?;
    let excused = source.path.starts_with("host/src/mock/") && source.code.contains("reason = ");
    (source.path != "host/src/tasks.rs" && !excused)
        .then(|| format!("{} spawns a task that nobody tracks (use crate::tasks): {line}", source.path))
}

#[test]
fn each_rule_finds_what_breaks_it() {
    type Rule = fn(&Source) -> Option<Breach>;
    let cases: [(Rule, &str, &str, bool); 22] = [
        (length, "host/src/a.rs", &"x\n".repeat(401), true),
        (length, "host/src/a.rs", &"x\n".repeat(400), false),
        (introduction, "host/src/a.rs", "use x;", true),
        (introduction, "host/src/a.rs", "//! Does it.", false),
        (unsafe_code, "host/src/a.rs", "let x = unsafe { y };", true),
        (unsafe_code, "host/core/src/a.rs", "#[unsafe(no_mangle)]", true),
        (unsafe_code, "host/src/a.rs", "// unsafe { y }", false),
        (unsafe_code, "host/src/native/a.rs", "unsafe { y }", false),
        (arrows, "host/src/plugin/a.rs", "use crate::route::X;", true),
        (arrows, "host/src/dialect/a.rs", "use crate::plugin::X;", true),
        (arrows, "host/src/route/a.rs", "use crate::plugin::X;", false),
        (arrows, "host/src/process/a.rs", "crate::host::Host", true),
        (arrows, "host/src/manifest/a.rs", "use crate::serve::X;", true),
        (arrows, "host/src/serve/mod.rs", "use crate::cli::X;", true),
        (arrows, "host/src/cli/mod.rs", "use crate::serve::X;", false),
        (arrows, "host/src/plugin/a.rs", "use crate::routes::X;", false),
        (status_codes, "host/src/route/a.rs", "http::StatusCode::OK", true),
        (status_codes, "host/src/serve/a.rs", "http::StatusCode::OK", false),
        (spawns, "host/src/plugin/a.rs", "tokio::spawn(async {});", true),
        (spawns, "host/src/mock/a.rs", "#[allow(x, reason = \"\")]\ntokio::spawn(y)", false),
        (spawns, "host/src/mock/a.rs", "tokio::spawn(y)", true),
        (spawns, "host/src/plugin/a.rs", "#[cfg(test)]\nmod tests { tokio::spawn(y) }", false),
    ];
    for (rule, path, text, breaks) in cases {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.is_some(), breaks, "{path}: {text:?}: {found:?}");
    }
}
