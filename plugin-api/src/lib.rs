//! What a wharf plugin and a wharf host agree on.
//!
//! Three readers, three doors:
//!
//! * **A host, or an embedder who brings a plugin of their own**: [`Plugin`] opens connections, a [`Link`] answers
//!   requests, a [`Scope`] holds what belongs to one call and an [`Inbox`] takes what belongs to none.
//! * **An author who writes a tool in Rust**: [`author::Server`], a few lines that serve tools over stdio.
//! * **An author who ships a native library**: [`native`], a C ABI that is a message pipe, and a macro that exports it.
//!
//! All of them share the JSON-RPC envelope in [`jsonrpc`], which leaves every payload as the bytes it came in; the last two
//! share [`pipe`], messages as lines on a pair of streams.
//!
//! What is not here: tokio (not even as an option), sockets, processes, HTTP. This crate is what must hardly ever change.

pub mod author;
pub mod cause;
pub mod error;
pub mod jsonrpc;
pub mod native;
pub mod pipe;
pub mod plugin;
pub mod tool_call;
pub mod trace;

pub use cause::{Cause, CauseKind, ExitReport};
pub use error::{CallError, CallErrorKind, Delivery};
pub use jsonrpc::{Id, Notification, Reply, Request, RpcError};
pub use plugin::{Caller, Client, Era, Full, Hello, Inbox, Launch, Link, Plugin, Scope, Stage};
pub use tool_call::ToolCall;
pub use trace::Trace;

/// Re-exported so that implementors of the traits need no version of their own.
pub use async_trait::async_trait;
pub use serde_json::value::RawValue;
