//! What operators switched on or off, kept in the state folder and never in the user's files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The operators' switches: each overrides `enabled` of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    path: PathBuf,
    enabled: BTreeMap<String, bool>,
}

impl Switches {
    /// Reads them. A file that cannot be read is kept aside and reported; nobody is switched off by a torn file.
    pub(super) fn load(state: &Path) -> Self {
        let path = state.join("switches.json");
        let enabled = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let aside = path.with_extension("json.corrupt");
                tracing::error!(path = %path.display(), aside = %aside.display(), %error, "the switches cannot be read; starting without");
                if let Err(error) = std::fs::rename(&path, &aside) {
                    tracing::error!(%error, "and they cannot be kept aside");
                }
                BTreeMap::new()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the switches cannot be read; starting without");
                BTreeMap::new()
            }
        };
        Self { path, enabled }
    }

    /// What an operator said about a plugin.
    pub(super) fn get(&self, id: &str) -> Option<bool> {
        self.enabled.get(id).copied()
    }

    /// These, and one more word of an operator.
    #[must_use]
    pub(super) fn with(&self, id: &str, enabled: bool) -> Self {
        let mut next = self.clone();
        next.enabled.insert(id.to_owned(), enabled);
        next
    }

    /// Writes them; on disk before it returns.
    pub(super) fn save(&self) -> std::io::Result<()> {
        let temporary = self.path.with_extension("json.tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&self.enabled)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::Switches;

    #[test]
    fn switches_survive_and_a_torn_file_switches_nobody_off() {
        let dir = tempfile::tempdir().unwrap();
        let switches = Switches::load(dir.path());
        assert_eq!(switches.get("a"), None);
        switches.with("a", false).save().unwrap();
        assert_eq!(Switches::load(dir.path()).get("a"), Some(false));
        std::fs::write(dir.path().join("switches.json"), b"{\"a\":fal").unwrap();
        assert_eq!(Switches::load(dir.path()).get("a"), None);
        assert!(dir.path().join("switches.json.corrupt").exists());
    }
}
