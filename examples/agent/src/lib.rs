//! A terminal agent over an MCP endpoint.
//!
//! [`agent`] is the loop between a [`model`] and the tools of a server ([`mcp`]); [`chat`] is the terminal around it.
//! A library only so that its tests can use its parts: the program is `wharf-agent`.

pub mod a2a;
pub mod agent;
pub mod args;
pub mod chat;
pub mod conversation;
pub mod counts;
pub mod failure;
pub mod mcp;
pub mod model;
pub mod net;
pub mod screen;
pub mod status;
pub mod tools;
