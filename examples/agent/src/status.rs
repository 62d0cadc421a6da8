//! `/status`: how the servers behind the endpoint do.

use crate::counts::Counts;
use crate::mcp::Server;

/// The tables.
pub async fn table(_server: &Server, _counts: &Counts) -> String {
    String::new()
}
