//! What lazy plugins offered when they last ran, in the state folder: so their tools are listed before they are started.
//!
//! It is a memory and no proof: the next start replaces it. One of something that is launched otherwise counts as none, and
//! so does one that cannot be read; that is told, and the file is kept aside.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wharf_core::PluginId;
use wharf_core::manifest::{Kind, Late, Manifest, Start, Template};
use wharf_plugin_api::Hello;

use super::prove::{ListedTool, Proof, listed_tool};

/// The largest memory of one plugin, bytes. One whose lists are larger is started once with each start of the host.
const MAX_BYTES: usize = 16 << 20;
/// The layout of the file.
const VERSION: u32 = 1;

/// Where memories are kept.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// `None`: they end with the host.
    dir: Option<PathBuf>,
    /// Held while one is written: the last to write it writes the latest.
    writing: Mutex<()>,
}

/// What a plugin offered, and what it said of itself.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) proof: Arc<Proof>,
    pub(crate) hello: Arc<Hello>,
    /// What was launched; a hash, since commands may hold secrets.
    launch: u64,
}

#[derive(Serialize, Deserialize)]
struct Written<R> {
    version: u32,
    launch: String,
    dialect: String,
    revision: String,
    server_info: Option<R>,
    capabilities: Option<R>,
    instructions: Option<String>,
    tools: Vec<R>,
    prompts: Vec<R>,
    resources: Vec<R>,
    templates: Vec<R>,
}

// === impl Memory ===

impl Memory {
    /// In the state folder of a host.
    pub(crate) fn new(state: &Path) -> Self {
        Self { dir: Some(state.join("catalogs")), writing: Mutex::default() }
    }

    /// What is remembered of a lazy plugin. To be called off the runtime.
    pub(crate) fn recall(&self, manifest: &Manifest) -> Option<Record> {
        if manifest.start != Start::Lazy || matches!(manifest.kind, Kind::Embedded(_)) {
            return None;
        }
        let path = self.path(&manifest.id)?;
        match read(&path) {
            Ok(record) => record.filter(|record| record.launch == launch(manifest)),
            Err(error) => {
                let aside = path.with_extension("json.corrupt");
                tracing::error!(plugin = %manifest.id, path = %path.display(), aside = %aside.display(), %error, "what the plugin offers was remembered, but cannot be read; it is started to learn it anew");
                if let Err(error) = std::fs::rename(&path, &aside) {
                    tracing::error!(%error, "and it cannot be kept aside");
                }
                None
            }
        }
    }

    /// Remembers what `latest` says then; on disk before it returns. To be called off the runtime. A failure is told: the
    /// plugin is started once after a restart of the host.
    pub(crate) fn keep(&self, id: &PluginId, latest: impl FnOnce() -> Option<Arc<Record>>) {
        let Some(path) = self.path(id) else { return };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = latest() else { return };
        if let Err(error) = write(&path, &record) {
            tracing::warn!(plugin = %id, path = %path.display(), %error, "what the plugin offers cannot be remembered");
        }
    }

    fn path(&self, id: &PluginId) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("{id}.json")))
    }
}

// === impl Record ===

impl Record {
    /// What a launch of this manifest has shown.
    pub(crate) fn of(manifest: &Manifest, hello: Arc<Hello>, proof: Proof) -> Self {
        Self { proof: Arc::new(proof), hello, launch: launch(manifest) }
    }
}

/// What is launched, whatever port it gets, and how it is spoken to.
fn launch(manifest: &Manifest) -> u64 {
    let text = |template: &Template| template.render(Late::default());
    // Its keys are always the same. Should another release of it hash in another way, each plugin is started once more.
    let mut hasher = DefaultHasher::new();
    manifest.era.hash(&mut hasher);
    match &manifest.kind {
        Kind::Command(command) => {
            let argv: Vec<String> = command.argv.iter().map(text).collect();
            let env: Vec<_> = command.env.iter().map(|(name, value)| (name, text(value))).collect();
            let url = command.url.as_ref().map(text);
            (argv, env, &command.cwd, command.dialect, url, &command.library).hash(&mut hasher);
        }
        Kind::Remote(remote) => {
            let own = remote.targets.iter().flat_map(|target| &target.headers);
            let headers: Vec<_> =
                remote.headers.iter().chain(own).map(|(name, value)| (name, text(value))).collect();
            let targets: Vec<_> =
                remote.targets.iter().map(|target| (text(&target.url), target.dialect)).collect();
            (targets, headers).hash(&mut hasher);
        }
        Kind::Embedded(_) => {}
    }
    hasher.finish()
}

fn read(path: &Path) -> std::io::Result<Option<Record>> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => drop(file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let written: Written<Box<RawValue>> = serde_json::from_slice(&bytes)?;
    if written.version != VERSION {
        // Of another version of the host: no harm was done to it.
        return Ok(None);
    }
    let tools: Result<Vec<ListedTool>, _> = written.tools.into_iter().map(listed_tool).collect();
    let shared = |list: Vec<Box<RawValue>>| list.into_iter().map(Into::into).collect();
    let proof = Proof {
        tools: tools.map_err(std::io::Error::other)?,
        prompts: shared(written.prompts),
        resources: shared(written.resources),
        templates: shared(written.templates),
        ttl: None,
    };
    let dialect = ["stdio", "sse", "sse-post", "http"].into_iter().find(|known| *known == written.dialect);
    let hello = Hello {
        dialect: dialect.ok_or_else(|| std::io::Error::other("a dialect that does not exist"))?,
        revision: written.revision,
        server_info: written.server_info,
        capabilities: written.capabilities,
        instructions: written.instructions,
    };
    let launch = u64::from_str_radix(&written.launch, 16).map_err(std::io::Error::other)?;
    Ok(Some(Record { proof: Arc::new(proof), hello: Arc::new(hello), launch }))
}

/// Whoever reads it meanwhile, or after a crash, finds the old one or the new one.
fn write(path: &Path, record: &Record) -> std::io::Result<()> {
    fn raw(list: &[Arc<RawValue>]) -> Vec<&RawValue> {
        list.iter().map(|raw| &**raw).collect()
    }
    let Record { proof, hello, launch } = record;
    let written = Written::<&RawValue> {
        version: VERSION,
        launch: format!("{launch:016x}"),
        dialect: hello.dialect.to_owned(),
        revision: hello.revision.clone(),
        server_info: hello.server_info.as_deref(),
        capabilities: hello.capabilities.as_deref(),
        instructions: hello.instructions.clone(),
        tools: proof.tools.iter().map(|tool| &*tool.definition).collect(),
        prompts: raw(&proof.prompts),
        resources: raw(&proof.resources),
        templates: raw(&proof.templates),
    };
    let bytes = serde_json::to_vec(&written)?;
    if bytes.len() > MAX_BYTES {
        let text = format!("its lists have {} bytes together, and {MAX_BYTES} are the most", bytes.len());
        return Err(std::io::Error::other(text));
    }
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    crate::process::private_dir(path.parent().unwrap_or(path))?;
    let temporary = path.with_extension("json.tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_core::manifest::{Kind, Manifest, Start, Template};
    use wharf_plugin_api::Hello;

    use super::{MAX_BYTES, Memory, Record};
    use crate::plugin::prove::{Proof, listed_tool};
    use crate::plugin::testkit::{manifest, raw};

    fn lazy() -> Manifest {
        Manifest { start: Start::Lazy, ..manifest("p") }
    }

    fn record(of: &Manifest, description: &str) -> Arc<Record> {
        let tool = format!(r#"{{"name":"t", "description":"{description}","inputSchema":{{ "x":1.0 }}}}"#);
        let proof = Proof {
            tools: vec![listed_tool(raw(&tool)).unwrap()],
            prompts: vec![raw(r#"{"name":"p"}"#).into()],
            resources: Vec::new(),
            templates: Vec::new(),
            ttl: None,
        };
        let hello = Hello {
            dialect: "stdio",
            revision: "2025-11-25".into(),
            server_info: Some(raw(r#"{"name":"x"}"#)),
            capabilities: None,
            instructions: Some("be kind".into()),
        };
        Arc::new(Record::of(of, Arc::new(hello), proof))
    }

    fn with_arg(mut of: Manifest, arg: &str) -> Manifest {
        let Kind::Command(command) = &mut of.kind else { unreachable!() };
        command.argv.push(Template::text(arg));
        of
    }

    #[test]
    fn what_was_offered_survives_byte_by_byte_and_only_for_what_is_launched() {
        let state = tempfile::tempdir().unwrap();
        let (memory, lazy) = (Memory::new(state.path()), lazy());
        assert!(memory.recall(&lazy).is_none());
        memory.keep(&lazy.id, || Some(record(&lazy, "d")));
        let recalled = memory.recall(&lazy).unwrap();
        let expected = record(&lazy, "d");
        assert_eq!(recalled.proof.tools[0].definition.get(), expected.proof.tools[0].definition.get());
        assert_eq!(recalled.proof.prompts.len(), 1);
        assert_eq!(recalled.hello.instructions.as_deref(), Some("be kind"));
        assert!(memory.recall(&with_arg(lazy.clone(), "-v")).is_none(), "something else is launched");
        assert!(memory.recall(&Manifest { start: Start::Eager, ..lazy.clone() }).is_none());
        let described = Manifest { description: Some("x".to_owned()), replicas: 2, ..lazy };
        assert!(memory.recall(&described).is_some(), "the same is launched");
    }

    #[test]
    fn what_cannot_be_read_is_kept_aside_and_counts_as_nothing() {
        let state = tempfile::tempdir().unwrap();
        let (memory, lazy) = (Memory::new(state.path()), lazy());
        memory.keep(&lazy.id, || Some(record(&lazy, "d")));
        let path = state.path().join("catalogs/p.json");
        let whole = std::fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() / 2], b"", b"[]", b"{\"version\":1}"] {
            std::fs::write(&path, torn).unwrap();
            assert!(memory.recall(&lazy).is_none());
            assert_eq!(
                std::fs::read(path.with_extension("json.corrupt")).unwrap(),
                torn,
                "nothing is deleted"
            );
            assert!(!path.exists());
        }
        memory.keep(&lazy.id, || Some(record(&lazy, "d")));
        assert!(memory.recall(&lazy).is_some());
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_the_old_one_stays() {
        let state = tempfile::tempdir().unwrap();
        let (memory, lazy) = (Memory::new(state.path()), lazy());
        memory.keep(&lazy.id, || Some(record(&lazy, "d")));
        memory.keep(&lazy.id, || Some(record(&lazy, &"d".repeat(MAX_BYTES))));
        assert_eq!(memory.recall(&lazy).unwrap().proof.tools[0].description.as_deref(), Some("d"));
    }
}
