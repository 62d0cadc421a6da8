//! `/status`: how the servers behind the endpoint do, as a table: what wharf tells over REST and in its metrics. Of a
//! server that is no wharf only what this agent saw itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::counts::{Count, Counts};
use crate::failure::{Failure, chain};
use crate::mcp::Server;
use crate::net;
use crate::tools::namespace;

mod metrics;

use metrics::Page;

/// How long the host may take to tell.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many tools are shown; those that are used most.
const TOOLS: usize = 15;

/// One server.
struct Row {
    name: String,
    state: String,
    tools: String,
    count: Option<Count>,
    breaker: String,
}

/// The tables: the servers, then the tools that were used.
pub async fn table(server: &Server, counts: &Counts) -> String {
    match of_host(server).await {
        Some((rows, tools)) => {
            let more = if tools.is_some() { "" } else { "The host tells no metrics.\n" };
            format!("{}{more}{}", servers(&rows), used(tools.unwrap_or_default()))
        }
        None => format!("{}{}", servers(&own(server, counts)), used(counts.0.clone())),
    }
}

/// What a host tells; nothing if there is none, or it does not let us in.
async fn of_host(server: &Server) -> Option<(Vec<Row>, Option<BTreeMap<String, Count>>)> {
    let base = base(&server.address().url)?;
    let list: Value = serde_json::from_str(&get(server, &base, "/api/v1/plugins").await.ok()?).ok()?;
    let page = get(server, &base, "/metrics").await.ok().map(|text| Page::read(&text));
    let rows = list.get("plugins")?.as_array()?.iter().map(|plugin| {
        let text = |key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let id = text("id");
        let tools = plugin.get("tools").map_or_else(|| "-".to_owned(), Value::to_string);
        let count = page.as_ref().map(|page| page.of_plugin(&id));
        let breaker = page.as_ref().and_then(|page| page.breaker(&id)).unwrap_or("-").to_owned();
        Row { name: id, state: text("state"), tools, count, breaker }
    });
    Some((rows.collect(), page.as_ref().map(Page::of_tools)))
}

/// The host's address, if the endpoint is that of a host.
fn base(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    ["/mcp", "/sse"].iter().find_map(|end| url.strip_suffix(end)).map(str::to_owned)
}

async fn get(server: &Server, base: &str, path: &str) -> Result<String, Failure> {
    let failed = |error: reqwest::Error| Failure::Failed(chain(&error));
    let mut request = net::client(base)?.get(format!("{base}{path}")).timeout(PATIENCE);
    if let Some(token) = &server.address().token {
        request = request.bearer_auth(token);
    }
    request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?
        .text()
        .await
        .map_err(failed)
}

/// What this agent saw, by namespace.
fn own(server: &Server, counts: &Counts) -> Vec<Row> {
    let namespaces = crate::tools::count(server.tools());
    let rows = namespaces.into_iter().map(|(name, tools)| {
        let of = counts.0.iter().filter(|(tool, _)| namespace(tool) == name).map(|(_, count)| *count);
        Row {
            name: if name.is_empty() { server.name() } else { name.to_owned() },
            state: "connected".to_owned(),
            tools: tools.to_string(),
            count: Some(of.fold(Count::default(), Count::and)),
            breaker: "-".to_owned(),
        }
    });
    rows.collect()
}

fn servers(rows: &[Row]) -> String {
    let head =
        ["server", "status", "tools", "requests", "success", "mean time", "breaker"].map(str::to_owned);
    let rows = rows.iter().map(|row| {
        let [requests, success, mean] = numbers(row.count);
        [row.name.clone(), row.state.clone(), row.tools.clone(), requests, success, mean, row.breaker.clone()]
    });
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn used(tools: BTreeMap<String, Count>) -> String {
    let mut tools: Vec<_> = tools.into_iter().filter(|(_, count)| count.requests > 0).collect();
    if tools.is_empty() {
        return String::new();
    }
    tools.sort_by_key(|(_, count)| std::cmp::Reverse(count.requests));
    let head = ["tool", "requests", "success", "mean time"].map(str::to_owned);
    let rows = tools.into_iter().take(TOOLS).map(|(name, count)| {
        let [requests, success, mean] = numbers(Some(count));
        [name, requests, success, mean]
    });
    format!("\n{}", aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
}

/// Requests, success rate and mean time.
fn numbers(count: Option<Count>) -> [String; 3] {
    match count {
        None => ["-", "-", "-"].map(str::to_owned),
        Some(Count { requests: 0, .. }) => ["0", "-", "-"].map(str::to_owned),
        Some(Count { requests, succeeded, took }) => {
            let rate = succeeded * 1000 / requests;
            let mean = took.as_secs_f64() * 1000.0 / u32::try_from(requests).map_or(f64::INFINITY, f64::from);
            [requests.to_string(), format!("{}.{} %", rate / 10, rate % 10), format!("{mean:.1} ms")]
        }
    }
}

/// Columns under each other; all have as many as the first.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
