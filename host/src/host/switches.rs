//! What operators switched on or off, and scaled; kept in the state folder and never in the user's files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The operators' words about plugins.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    path: PathBuf,
    words: BTreeMap<String, Words>,
}

/// What was said about one plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
struct Words {
    /// Overrides `enabled` of its manifest.
    enabled: Option<bool>,
    /// Overrides `replicas`.
    scaled: Option<Scaled>,
}

/// How many replicas an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scaled {
    /// So many.
    pub(super) wanted: u32,
    /// Instead of so many: it holds until the manifest declares another number.
    pub(super) instead_of: u32,
}

/// How it stands in the file: as it did when there was no more to say than on or off, wherever that does.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Enabled(bool),
    All {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enabled: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replicas: Option<Scaled>,
    },
}

// === impl Words ===

impl From<Written> for Words {
    fn from(written: Written) -> Self {
        match written {
            Written::Enabled(enabled) => Self { enabled: Some(enabled), scaled: None },
            Written::All { enabled, replicas } => Self { enabled, scaled: replicas },
        }
    }
}

impl From<Words> for Written {
    fn from(words: Words) -> Self {
        match words {
            Words { enabled: Some(enabled), scaled: None } => Self::Enabled(enabled),
            Words { enabled, scaled } => Self::All { enabled, replicas: scaled },
        }
    }
}

// === impl Switches ===

impl Switches {
    /// Reads them. A file that cannot be read is kept aside and reported; nobody is switched off by a torn file.
    pub(super) fn load(state: &Path) -> Self {
        let path = state.join("switches.json");
        let words = match std::fs::read(&path) {
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
        Self { path, words }
    }

    /// Whether an operator switched a plugin on or off.
    pub(super) fn get(&self, id: &str) -> Option<bool> {
        self.words.get(id)?.enabled
    }

    /// How many replicas an operator wants of a plugin whose manifest declares so many.
    pub(super) fn replicas(&self, id: &str, declared: u32) -> Option<u32> {
        self.words.get(id)?.scaled.filter(|scaled| scaled.instead_of == declared).map(|scaled| scaled.wanted)
    }

    /// These, and one more word of an operator.
    #[must_use]
    pub(super) fn with(&self, id: &str, enabled: bool) -> Self {
        let mut next = self.clone();
        next.words.entry(id.to_owned()).or_default().enabled = Some(enabled);
        next
    }

    /// Likewise; who wants as many as are declared wants no other number.
    #[must_use]
    pub(super) fn scaled(&self, id: &str, scaled: Scaled) -> Self {
        let mut next = self.clone();
        let wanted = Some(scaled).filter(|scaled| scaled.wanted != scaled.instead_of);
        next.words.entry(id.to_owned()).or_default().scaled = wanted;
        next.words.retain(|_, words| *words != Words::default());
        next
    }

    /// Forgets what was asked of a plugin whose manifest declares another number since. Whether there was something.
    pub(super) fn lapse(&mut self, id: &str, declared: u32) -> bool {
        let Some(words) = self.words.get_mut(id) else { return false };
        words.scaled.take_if(|scaled| scaled.instead_of != declared).is_some()
    }

    /// Writes them; on disk before it returns.
    pub(super) fn save(&self) -> std::io::Result<()> {
        let temporary = self.path.with_extension("json.tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&self.words)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::{Scaled, Switches};

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

    #[test]
    fn a_scale_survives_until_the_manifest_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("switches.json"), br#"{"a":false,"b":true}"#).unwrap();
        let file = || std::fs::read_to_string(dir.path().join("switches.json")).unwrap();
        let switches = Switches::load(dir.path());
        assert_eq!(
            (switches.get("a"), switches.replicas("a", 1)),
            (Some(false), None),
            "as it was written before"
        );
        let five = Scaled { wanted: 5, instead_of: 1 };
        switches.scaled("a", five).scaled("c", five).save().unwrap();
        let mut switches = Switches::load(dir.path());
        assert_eq!(
            (switches.get("a"), switches.get("b"), switches.get("c")),
            (Some(false), Some(true), None)
        );
        assert_eq!((switches.replicas("a", 1), switches.replicas("a", 2)), (Some(5), None));
        assert!(file().contains(r#""b": true"#), "{}", file());
        assert!(!switches.lapse("a", 1) && switches.lapse("a", 2) && !switches.lapse("a", 2));
        assert_eq!(switches.replicas("a", 1), None, "it does not come back");
        switches.scaled("c", Scaled { wanted: 1, instead_of: 1 }).save().unwrap();
        assert!(
            !file().contains("\"c\"") && Switches::load(dir.path()).get("a") == Some(false),
            "{}",
            file()
        );
    }
}
