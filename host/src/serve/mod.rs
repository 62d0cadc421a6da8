//! The HTTP edge: REST over TCP and over the unix socket of the state folder. The only place that knows a status code.
//!
//! ```text
//! listen (sockets, bounds, time limits) -> framing -> door (guard, auth, id, panics) -> rest (routes) -> Host
//! ```
//!
//! It holds no state of plugins and decides nothing about them: every route is a question to [`Host`](crate::Host) and a
//! translation of its answer.

mod auth;
mod body;
mod door;
mod facade;
mod framing;
mod guard;
mod listen;
mod problem;
mod rest;
mod schema;
mod sse;
mod token;

pub use guard::AllowError;
pub use listen::{Listening, ServeError, Server, Settings};
pub use token::TokenError;
