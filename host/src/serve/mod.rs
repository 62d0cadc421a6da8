//! The HTTP edge: REST and MCP over TCP and over the unix socket of the state folder. The only place that knows a status code.
//!
//! ```text
//! listen (sockets, bounds) -> framing (time limits) -> plain, or hyper -> door (guard, auth, id, panics)
//!     door -> rest (routes) -> Host
//!          -> mcp (routes)  -> Mcp
//! ```
//!
//! It holds no state of plugins and decides nothing about them: every route is a question to [`Host`](crate::Host) and a
//! translation of its answer.
#![doc = include_str!("reference.md")]

mod answer;
mod auth;
mod body;
mod door;
mod drain;
mod end;
mod facade;
mod framing;
mod guard;
mod heads;
mod hot;
mod listen;
mod mcp;
mod plain;
mod problem;
mod request_id;
mod rest;
mod roaming;
mod schema;
mod settings;
mod spare;
mod sse;
mod taking;
mod talk;
mod threads;
pub(crate) mod token;
mod trace;

pub(crate) use end::LAST_WORDS;
pub use guard::AllowError;
pub use listen::{Listening, Server};
pub use settings::{ServeError, Settings};
pub use token::TokenError;

#[cfg(test)]
mod tests {
    use wharf_core::Code;
    use wharf_plugin_api::CauseKind;

    /// The rows of the table under a heading, without its own two.
    fn rows(heading: &str) -> Vec<&'static str> {
        let (_, section) = include_str!("reference.md").split_once(&format!("# {heading}\n")).unwrap();
        let section = section.split("\n# ").next().unwrap();
        section.lines().filter(|line| line.starts_with('|')).skip(2).collect()
    }

    #[test]
    fn the_reference_names_every_route_of_the_router() {
        let source = concat!(include_str!("rest/mod.rs"), include_str!("mcp/mod.rs"));
        let routes = source.lines().filter_map(|line| {
            let (path, rest) = line.trim().strip_prefix(".route(\"")?.split_once("\", ")?;
            let method = rest.split('(').next()?.to_uppercase();
            Some(format!("| {method} | `{path}` |"))
        });
        let routes: Vec<String> = routes.collect();
        assert_eq!(routes.len(), source.matches(".route(").count(), "each stands in a line of its own");
        let rows = rows("Routes");
        let told: Vec<String> = rows.iter().map(|row| row.split_inclusive('|').take(3).collect()).collect();
        assert_eq!(told, routes);
    }

    #[test]
    fn the_reference_names_every_code_and_every_cause() {
        let code = |code: &Code| {
            let status = super::problem::status(*code).as_u16();
            let number = crate::mcp::failure::error(&crate::route::Failure::new(*code, "")).code;
            format!("| `{}` | {status} | {number} | {} |", code.as_str(), code.title())
        };
        assert_eq!(rows("Codes"), Code::ALL.iter().map(code).collect::<Vec<_>>());
        let cause =
            |cause: &CauseKind| format!("| `{}` | {} |", cause.as_str(), cause.remedy().replace('\n', " "));
        assert_eq!(rows("Causes"), CauseKind::ALL.iter().map(cause).collect::<Vec<_>>());
    }
}
