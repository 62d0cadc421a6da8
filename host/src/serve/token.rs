//! The token file: made at the first start, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use secrecy::SecretString;

/// Random bytes of a token; hexadecimal doubles them.
const BYTES: usize = 32;
/// A shorter token than this was not made by us and can be guessed.
const SHORTEST: usize = 32;
/// A longer file is no token.
const LONGEST: u64 = 4096;

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("the token file {path} cannot be used: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Others may read it.
    #[error(
        "the token file {path} is open to other users (mode {mode:03o}); close it with `chmod 600 {path}`, and remove it to get a new token if others may have read it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// No token in it.
    #[error(
        "the token file {0} holds no token of at least {SHORTEST} visible characters; remove it and start again to get a new one"
    )]
    Malformed(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a token: {0}")]
    Random(getrandom::Error),
}

/// Reads the token of a state folder, or makes one.
pub(crate) fn load_or_create(state: &Path) -> Result<SecretString, TokenError> {
    let path = state.join("token");
    match create(&path) {
        Err(TokenError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => read(&path),
        other => other,
    }
}

/// Reads the token of a state folder.
pub(crate) fn read(path: &Path) -> Result<SecretString, TokenError> {
    let io = |error| TokenError::Io { path: path.to_owned(), error };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(io)?;
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TokenError::Malformed(path.to_owned()));
    }
    Ok(token.to_owned().into())
}

fn create(path: &Path) -> Result<SecretString, TokenError> {
    let io = |error| TokenError::Io { path: path.to_owned(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    let written = fill(&mut file).map_err(|error| error.at(path));
    if written.is_err() {
        // Half a token must not be taken for one at the next start.
        fs::remove_file(path).ok();
    }
    written
}

enum Unfilled {
    Random(getrandom::Error),
    Io(io::Error),
}

impl Unfilled {
    fn at(self, path: &Path) -> TokenError {
        match self {
            Self::Random(error) => TokenError::Random(error),
            Self::Io(error) => TokenError::Io { path: path.to_owned(), error },
        }
    }
}

fn fill(file: &mut File) -> Result<SecretString, Unfilled> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(Unfilled::Random)?;
    let token =
        bytes.iter().fold(String::with_capacity(2 * BYTES), |text, byte| text + &format!("{byte:02x}"));
    file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(Unfilled::Io)?;
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::{TokenError, load_or_create};

    #[test]
    fn a_token_is_made_once_for_its_owner_only() {
        let state = tempfile::tempdir().unwrap();
        let first = load_or_create(state.path()).unwrap();
        assert_eq!(first.expose_secret().len(), 64);
        let path = state.path().join("token");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(state.path()).unwrap().expose_secret(), first.expose_secret());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).unwrap().expose_secret(), first.expose_secret());
    }

    #[test]
    fn a_token_that_others_can_read_is_refused_with_the_remedy() {
        let state = tempfile::tempdir().unwrap();
        load_or_create(state.path()).unwrap();
        let path = state.path().join("token");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(state.path()).unwrap_err();
        assert!(error.to_string().contains("mode 640") && error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "\n", "short", &"x y ".repeat(20), &"ä".repeat(40)] {
            let state = tempfile::tempdir().unwrap();
            let path = state.path().join("token");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(load_or_create(state.path()), Err(TokenError::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let state = tempfile::tempdir().unwrap();
        let elsewhere = state.path().join("elsewhere");
        fs::write(&elsewhere, "x".repeat(64)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, state.path().join("token")).unwrap();
        assert!(matches!(load_or_create(state.path()), Err(TokenError::Io { .. })));
    }
}
