//! wharf: a plugin host. A manifest in a folder becomes a supervised MCP server whose tools everyone can call.
//!
//! # Theory of operation
//!
//! **From manifest to process.** [`manifest`] reads the folder into checked types and says *what changed*. The
//! [`host`]'s registry, the one owner of the table of plugins, touches only that. Each instance of a plugin has one
//! owner, its supervisor ([`plugin`]): a task that turns commands, ends and timers into events of a pure state machine
//! (`wharf_core::lifecycle`) and carries out what the machine asks for. A launch goes through [`process`], where a tiny
//! shim stands between us and the plugin's process tree, so that nothing of it outlives us; then through a dialect, which
//! turns bytes into messages and gives a `Link`; then its lists are read, and only then it is *ready*.
//!
//! **From call to answer.** An edge ([`serve`]) reads the envelope of a request and asks the [`Host`]. [`route`]
//! resolves the tool in the catalog (an immutable snapshot), lets the call through the plugin's gate, picks an instance,
//! and gives the request to its link. The caller itself waits in the link's table of pending requests; the task that reads
//! completes it directly. No supervisor ever sees a frame, no call ever waits for a supervisor. Before the first
//! byte of a call goes out, that it does is in the [`journal`]; the next host reads there what became of it.
//!
//! **From client to call.** MCP comes in over [`serve`] (streamable HTTP of both eras on one path, HTTP+SSE) and over pipes
//! (`edge_stdio`: stdin and stdout, or a connection given over to it). Either turns bytes into messages, lets a ladder decide
//! the era of each, and asks `mcp`, which answers with an exchange: messages on the way, then the answer. A modern exchange
//! ends with its connection; a legacy one goes on, and its client may come back for it.
//!
//! **Between the eras.** Plugins and clients of the legacy era (2024-11-05 to 2025-11-25: sessions, the server asks) and of the
//! modern one (2026-07-28: each request for itself, the answer asks) meet in `mcp`. A legacy plugin that asks in the middle of a
//! modern client's call has that call parked until the client comes back with answers; a modern plugin's `input_required`
//! becomes requests to a legacy client. What clients want to be told of (resources, levels, tasks) is counted per plugin and
//! told to it in its own words. What a plugin says that belongs to no call goes to all whom it may concern; what could be one
//! client's alone goes to nobody if it is not certain whose. A plugin with `isolation = "session"` has an instance for each
//! legacy session.
//!
//! **Snapshots.** State has one owner. Everyone else reads: instance snapshots, the table, the catalog and the problems of
//! a manifest are replaced as a whole and never changed in place.
//!
//! **In a program of one's own.** [`init`] is the first line of its `main`; [`Host::builder`] starts a host there, with a folder
//! of manifests or without, and with plugins of the program: a type that implements `Plugin`, or one around what a manifest
//! declares. [`serve::Listening`] lets others call it, [`Host::call`] the program itself. `examples/wrapper` does all of it.
//!
//! # Invariants
//!
//! 1. `wharf-core` depends on no tokio and reads no clock, file or socket.
//! 2. A payload is parsed only where a rule must look inside; what a plugin answers leaves byte for byte as it came, but
//!    that a raw fragment enters a line or an SSE frame only with every CR and LF replaced by a space.
//! 3. Tools are published from the first proof and stay listed through restarts; they are withdrawn when the plugin is
//!    stopped, switched off, removed, quarantined or cannot heal.
//! 4. A call ends exactly once. A call of which a byte was handed over is never sent again.
//! 5. No process outlives the host; no generation starts before the last one's tree is gone.
//! 6. One broken plugin never delays or fails another.
//! 7. No network request names a command, a path of a program or an environment variable to run with.
//! 8. Every queue, body, line, header and table has a bound, every wait a deadline, every task a tracker and a span.
//! 9. State has one owner. No lock is held across an await.
//! 10. Only [`serve`] knows HTTP status codes, only `dialect` and the edges know framing, only [`process`] knows pids.
//! 11. Secrets reach the plugin and nothing else.
//! 12. What the API shows is true: a state, a cause and a time for everything, the last stderr lines of a death included.
//!
//! # Arrows
//!
//! `{serve, edge_stdio} -> mcp -> host -> {route, plugin} -> {dialect, process}`; [`manifest`], [`telemetry`], [`events`],
//! [`journal`], `held` and [`tasks`] stand beside. Nothing imports [`serve`] or [`cli`]. `tests/architecture` holds these.

pub(crate) mod alarm;
pub(crate) mod apart;
pub(crate) mod aside;
pub mod cli;
pub(crate) mod clock;
pub(crate) mod deaf;
pub(crate) mod dialect;
mod eager;
pub(crate) mod edge_stdio;
pub mod events;
pub(crate) mod held;
pub mod host;
pub mod journal;
pub mod late;
pub mod manifest;
pub(crate) mod mcp;
pub mod mock;
pub mod native;
pub(crate) mod near;
pub mod plugin;
pub mod process;
pub mod route;
pub mod serve;
pub mod tasks;
pub mod telemetry;
pub(crate) mod turn;
#[cfg(test)]
pub(crate) mod woken;
pub(crate) mod word;

pub use host::Host;
pub use process::init;
