//! A shared library, loaded once and never unloaded: threads of its own may run in its code until the process ends.

#![allow(unsafe_code, reason = "loading foreign code; every block says what it relies on")]

use std::io;
use std::path::{Path, PathBuf};

use libloading::Library;
use wharf_plugin_api::native::{
    ABI_VERSION, AbiVersionFn, CloseFn, Exports, OpenFn, OpenRefused, Peer, ReceiveFn, symbol,
};
use wharf_plugin_api::pipe::Sink;

/// Why a library cannot be used. Only another file heals it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot open the library {path}: {error}; correct `library` in the manifest, or build it")]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is not a file; `library` must name a shared library")]
    NotAFile { path: PathBuf },
    #[error(
        "{path} cannot be loaded: {error}; it must be a shared library for this machine, with all that it links to"
    )]
    NotALibrary { path: PathBuf, error: String },
    #[error(
        "{path} does not export {symbol}; it is no wharf plugin, or it was built without `export_native!`"
    )]
    NoSymbol { path: PathBuf, symbol: &'static str },
    #[error(
        "{path} speaks version {found} of the ABI, this wharf speaks {ABI_VERSION}; build it against a matching wharf-plugin-api"
    )]
    OtherVersion { path: PathBuf, found: u32 },
}

/// A library that exports the functions of our ABI version.
#[derive(Debug)]
pub(super) struct Loaded(Exports);

impl Loaded {
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        // A full path: the loader would look for a bare name in the system's folders.
        let path = path.canonicalize().map_err(|error| LoadError::File { path: path.to_owned(), error })?;
        if !path.is_file() {
            return Err(LoadError::NotAFile { path });
        }
        // SAFETY: this runs the library's initialisers, which nobody can check. The process exists for this library alone.
        let library = match unsafe { Library::new(&path) } {
            Ok(library) => Box::leak(Box::new(library)),
            Err(error) => return Err(LoadError::NotALibrary { path, error: reason(&error) }),
        };
        let missing = |symbol| LoadError::NoSymbol { path: path.clone(), symbol };

        // SAFETY: a library that exports this name promises this type; the name is ours.
        let version = unsafe { library.get::<AbiVersionFn>(symbol::ABI_VERSION) };
        let version = version.map_err(|_| missing(symbol::ABI_VERSION))?;
        // SAFETY: as above; it takes nothing and returns a number.
        let found = unsafe { version() };
        if found != ABI_VERSION {
            return Err(LoadError::OtherVersion { path, found });
        }
        // SAFETY: a library of this ABI version promises these types under these names.
        unsafe {
            Ok(Self(Exports {
                open: *library.get::<OpenFn>(symbol::OPEN).map_err(|_| missing(symbol::OPEN))?,
                receive: *library.get::<ReceiveFn>(symbol::RECEIVE).map_err(|_| missing(symbol::RECEIVE))?,
                close: *library.get::<CloseFn>(symbol::CLOSE).map_err(|_| missing(symbol::CLOSE))?,
            }))
        }
    }

    pub(super) fn open(&self, sink: Sink) -> Result<Peer, OpenRefused> {
        // SAFETY: the functions are those of one library of our ABI version, and it is never unloaded.
        unsafe { Peer::open(self.0, sink) }
    }
}

/// The loader's own words are in the error's source; the error itself says only that it failed.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
