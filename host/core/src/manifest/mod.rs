//! What a manifest says, as types that cannot be wrong.
//!
//! [`mod@file`] is what a user may write (the JSON Schema is generated from it, and every default stands in it);
//! [`checked`] is what the host works with after variables are expanded and all problems are told. Reading files, spans,
//! foreign formats and messages are the host's (`wharf::manifest`).

pub mod audit;
pub mod checked;
pub mod diff;
pub mod embedded;
pub mod env_file;
pub mod file;
pub mod globs;
pub mod routing;
pub mod sandbox;
pub mod sections;
pub mod template;
pub mod units;
pub mod variables;

pub use audit::{Audit, ShownArguments};
pub use checked::{Command, Kind, Manifest, PortChoice, Remote, Target};
pub use embedded::{Embedded, Wrapper};
pub use file::PluginFile;
pub use routing::{Balance, Breaker, Lists, Rate, Retry, TargetFile, Upgrade, Way};
pub use sandbox::{Fs, Net, Sandbox, Seccomp, Strictness, Tcp};
pub use sections::{
    Canary, Dialect, EraChoice, Health, Isolation, Limits, Probe, Restart, RestartPolicy, Start, Stop,
    ToolFilter,
};
pub use template::{Late, Template};
pub use units::{ByteSize, Span};
