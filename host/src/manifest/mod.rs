//! Manifests: read, checked, watched.
//!
//! A file becomes one tree in which every key knows its place ([`syntax`]), whatever its syntax; a foreign file becomes
//! several trees with our keys ([`foreign`]). One checker ([`check`]) turns a tree into a manifest or into problems, all of
//! them at once. [`load_dir`] does so for the folder, [`watch`] says when to do it again. What to start or stop is not
//! decided here.
//!
//! What `env_file` and `${file:..}` name is read with the manifest and is not watched: a change there counts from the next
//! reading, which a touch of the manifest or a reload brings about.

mod check;
mod context;
mod file;
mod folder;
mod foreign;
mod problem;
mod reference;
mod render;
mod schema;
mod syntax;
mod tree;
pub mod watch;

pub use context::{Context, Env};
pub(crate) use file::is_bundle;
pub use file::{Checked, FileReport, check_file};
pub use folder::{Invalid, Reading, load_dir};
pub use problem::{Place, Problem, ProblemCode, ProblemView, Severity, Source};
pub use reference::reference_markdown;
pub use render::render;
pub use schema::schema;
