//! The names of things, as types that cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use smol_str::SmolStr;

use crate::digits::Digits;

/// The id of a plugin: `^[a-z0-9][a-z0-9_-]{0,63}$`. Cheap to clone: up to 23 letters are copied, so that two
/// threads that serve calls of one plugin do not count at the same place; a longer one is counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId(SmolStr);

/// A text is not a plugin id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no plugin id: use 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or digit")]
pub struct BadPluginId(String);

/// The number of an instance within its plugin, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct InstanceNo(pub u32);

/// Counts the launches of one instance, from 1. Two generations never overlap; what an old one says is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// The id of a call: unique over the life of the host's state folder. It is two numbers until somebody looks at it; as text
/// it is `c-` and both in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    run: u32,
    /// Upper and lower half of the number: an id is small, and so is what has one.
    n: [u32; 2],
}

/// A text is not a call id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no call id: one looks like c-1a2b3c4d-5f")]
pub struct BadCallId;

// === impl PluginId ===

impl PluginId {
    /// Checks and keeps an id.
    ///
    /// # Errors
    /// If the text does not match the pattern.
    pub fn new(text: &str) -> Result<Self, BadPluginId> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if first && rest && text.len() <= 64 {
            Ok(Self(text.into()))
        } else {
            Err(BadPluginId(text.to_owned()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PluginId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PluginId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

// === impl CallId ===

impl CallId {
    /// The id of the `n`th call of a host whose run is named `run` (random).
    #[must_use]
    pub fn new(run: u32, n: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
        Self { run, n: [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])] }
    }

    /// The run of the host that the call belongs to.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Which call of its run.
    #[must_use]
    pub fn n(&self) -> u64 {
        let [upper, lower] = self.n;
        u64::from(upper) << 32 | u64::from(lower)
    }
}

impl CallId {
    /// Writes it, as `Display` does, for who writes one in every answer.
    pub fn push_to(&self, out: &mut String) {
        out.push_str("c-");
        out.push_str(Digits::hex(u64::from(self.run), 8).as_str());
        out.push('-');
        out.push_str(Digits::hex(self.n(), 1).as_str());
    }
}

impl FromStr for CallId {
    type Err = BadCallId;

    /// Reads exactly what [`CallId`] writes.
    fn from_str(text: &str) -> Result<Self, BadCallId> {
        let (run, n) = text.strip_prefix("c-").and_then(|rest| rest.split_once('-')).ok_or(BadCallId)?;
        let run = u32::from_str_radix(run, 16).map_err(|_| BadCallId)?;
        let n = u64::from_str_radix(n, 16).map_err(|_| BadCallId)?;
        let id = Self::new(run, n);
        // One id, one text.
        if id.to_string() == text { Ok(id) } else { Err(BadCallId) }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c-{:08x}-{:x}", self.run, self.n())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

// === impl InstanceNo, Generation ===

impl fmt::Display for InstanceNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{CallId, PluginId};

    #[test]
    fn a_call_id_is_read_as_it_is_written_and_in_no_other_way() {
        for id in [CallId::new(0, 0), CallId::new(0x1a2b, 255), CallId::new(u32::MAX, u64::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
            let mut pushed = String::new();
            id.push_to(&mut pushed);
            assert_eq!(pushed, id.to_string());
        }
        assert_eq!(CallId::new(1, 0x5f).to_string(), "c-00000001-5f");
        for bad in [
            "",
            "c-",
            "c-1-2",
            "c-00000001-",
            "c-00000001-0A",
            "c-00000001-02",
            "c-+0000001-2",
            "c-00000001-+2",
            "d-00000001-2",
            "c-00000001-2-",
        ] {
            assert!(bad.parse::<CallId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plugin_ids_are_checked() {
        for good in ["a", "0", "time-2", "a_b", &"x".repeat(64)] {
            assert!(PluginId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ä", "../x", &"x".repeat(65)] {
            assert!(PluginId::new(bad).is_err(), "{bad}");
        }
    }
}
