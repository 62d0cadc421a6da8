//! A text with the variables that are known only at launch: `${port}` and `${replica}`. All others have been expanded.

use std::fmt;

/// A text, expanded but for what the launch decides. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A part of a template.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the manifest.
    Text(String),
    /// A value that came from the environment or a file; never shown.
    Secret(String),
    /// The port chosen for the launch.
    Port,
    /// The number of the instance.
    Replica,
}

/// What a launch puts in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Late {
    /// For `${port}`.
    pub port: Option<u16>,
    /// For `${replica}`.
    pub replica: u32,
}

// === impl Template ===

impl Template {
    /// A template of these pieces.
    #[must_use]
    pub fn new(pieces: Vec<Piece>) -> Self {
        Self(pieces)
    }

    /// A fixed text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// The text for one launch. It may hold secrets.
    #[must_use]
    pub fn render(&self, late: Late) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) | Piece::Secret(text) => out.push_str(text),
                Piece::Port => out.push_str(&late.port.map(|p| p.to_string()).unwrap_or_default()),
                Piece::Replica => out.push_str(&late.replica.to_string()),
            }
        }
        out
    }

    /// Whether `${port}` stands in it.
    #[must_use]
    pub fn uses_port(&self) -> bool {
        self.0.contains(&Piece::Port)
    }

    /// Whether `${replica}` stands in it.
    #[must_use]
    pub fn uses_replica(&self) -> bool {
        self.0.contains(&Piece::Replica)
    }

    /// Its parts, to build another one from.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Piece> {
        self.0
    }

    /// The secret parts.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(text) => Some(text.as_str()),
            Piece::Text(_) | Piece::Port | Piece::Replica => None,
        })
    }
}

impl fmt::Display for Template {
    /// For people: secrets as `***`, late variables by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Secret(_) => f.write_str("***")?,
                Piece::Port => f.write_str("${port}")?,
                Piece::Replica => f.write_str("${replica}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
