//! Manifests as tests write them.

use std::path::Path;

use toml::{Table, Value};

use super::procs::MARK;

/// A manifest to be written into a test's plugin folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest(Table);

/// A manifest of the mock server on stdio that restarts quickly.
pub(crate) fn mock() -> Manifest {
    Manifest::command("${wharf}").arg("mock").quick()
}

/// A manifest of the mock server behind a dialect that listens on a port of the host's choice.
pub(crate) fn mock_on_port(dialect: &str) -> Manifest {
    let path = if dialect == "http" { "/mcp" } else { "/sse" };
    mock()
        .args(["--dialect", dialect, "--port", "${port}"])
        .set("dialect", dialect)
        .set("url", format!("http://127.0.0.1:${{port}}{path}"))
}

impl Manifest {
    /// A plugin that is launched.
    pub(crate) fn command(program: impl AsRef<Path>) -> Self {
        Self::default().set("command", program.as_ref().to_str().expect("a UTF-8 path"))
    }

    /// A plugin that runs elsewhere.
    pub(crate) fn url(url: &str) -> Self {
        Self::default().set("url", url).quick()
    }

    /// Several endpoints that run elsewhere, each with its priority.
    pub(crate) fn targets<const N: usize>(urls: [(String, i64); N]) -> Self {
        let target = |(url, priority): (String, i64)| {
            let mut table = Table::new();
            table.insert("url".to_owned(), Value::String(url));
            table.insert("priority".to_owned(), Value::Integer(priority));
            Value::Table(table)
        };
        Self::default()
            .set("targets", urls.into_iter().map(target).collect::<Vec<_>>())
            .set("dialect", "http")
            .quick()
    }

    /// A native library.
    pub(crate) fn library(path: &Path) -> Self {
        Self::default().set("library", path.to_str().expect("a UTF-8 path")).quick()
    }

    /// A manifest as it lies in a file.
    #[allow(dead_code, reason = "only the tests of the examples use it")]
    pub(crate) fn of_file(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Self(toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}")))
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        let args = self.0.entry("args").or_insert_with(|| Value::Array(Vec::new()));
        args.as_array_mut().expect("args is a list").push(Value::String(arg.into()));
        self
    }

    /// More arguments.
    pub(crate) fn args<A: Into<String>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// An argument that is a path.
    pub(crate) fn path(self, path: &Path) -> Self {
        self.arg(path.to_str().expect("a UTF-8 path"))
    }

    /// Sets a key; dots go into tables.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut table = &mut self.0;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                table.insert(name.to_owned(), value.into());
                break;
            }
            let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().expect("a table");
        }
        self
    }

    /// Small delays between restarts, so that a crash loop plays out while a test waits.
    pub(crate) fn quick(self) -> Self {
        self.set("restart.initial", "20ms").set("restart.max", "200ms").set("restart.jitter", 0.0)
    }

    /// The text of the file, with the test's mark in the plugin's environment.
    pub(crate) fn text(&self, mark: &str) -> String {
        let mut marked = self.clone();
        if marked.0.contains_key("command") {
            marked = marked.set(&format!("env.{MARK}"), mark);
        }
        toml::to_string(&marked.0).expect("a table is TOML")
    }
}
