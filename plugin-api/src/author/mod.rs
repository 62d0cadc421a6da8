//! The author's side: a tool in a few lines of Rust, served over stdio.
//!
//! ```no_run
//! use wharf_plugin_api::author::{Server, Tool};
//!
//! fn main() -> std::io::Result<()> {
//!     Server::new("shout", "1.0.0")
//!         .tool(Tool::new("shout", "Says it louder").text("text", "what to say"), |call| {
//!             Ok(call.text("text")?.to_uppercase())
//!         })
//!         .serve_stdio()
//! }
//! ```
//!
//! What a server promises: the legacy MCP revisions, negotiated; each call on a thread of its own, at most
//! [`Server::concurrency`] at once, answers in the order in which they are ready; a panic in a tool is that call's error
//! and nobody else's; a cancelled call is not answered; at the end of input, calls in flight may end.
//!
//! What is not here: tokio, sockets, resources and prompts. The same server behind the C ABI is [`crate::native`].

mod answer;
mod call;
mod cancel;
mod pool;
mod server;
mod session;
mod tool;

pub use answer::{Answer, ToolError};
pub use call::{Call, Level};
pub use server::{BuildError, MissingVariable, Server, env, run};
pub use session::Session;
pub use tool::Tool;

/// Re-exported so that an author needs no version of their own.
pub use serde_json::{self, Value, json};

#[cfg(test)]
mod tests;
