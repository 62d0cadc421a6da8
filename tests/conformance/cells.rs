//! The cells: which upstream, at which endpoint, at which revision; each measured once, however many tests ask.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::OnceCell;

use crate::content;
use crate::fixture::{self, Dialect, Era, Fixture};
use crate::suite::{self, Report, Revision, Side};
use crate::support::TestHost;
use crate::support::host::Setup;

/// The cells of one line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
    /// What a look at the content found, beside the suite.
    pub(crate) content: Vec<String>,
}

/// One run of the suite.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) endpoint: &'static str,
    pub(crate) revision: Revision,
    pub(crate) report: Report,
}

/// What stands behind the host. The old SSE dialect knows no modern era.
const UPSTREAMS: [(Era, Dialect); 5] = [
    (Era::Legacy, Dialect::Stdio),
    (Era::Legacy, Dialect::Sse),
    (Era::Legacy, Dialect::Http),
    (Era::Modern, Dialect::Stdio),
    (Era::Modern, Dialect::Http),
];

/// All plugins, and the one plugin.
pub(crate) const ENDPOINTS: [&str; 2] = ["/mcp", "/plugins/fixture/mcp"];

impl Row {
    /// Every failure in words.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        let checks = self.cells.iter().flat_map(|cell| {
            cell.report.failures.iter().map(|failure| {
                let (at, date) = (cell.endpoint, cell.revision.date());
                format!(
                    "[{} {at} {date}] {}: {}: {}",
                    self.name, failure.scenario, failure.check, failure.message
                )
            })
        });
        checks.chain(self.content.iter().map(|found| format!("[{}] {found}", self.name)))
    }
}

/// The fixture without a host: what it speaks, and nothing else, must pass.
pub(crate) async fn direct() -> &'static [Row] {
    static ROWS: OnceCell<Vec<Row>> = OnceCell::const_new();
    ROWS.get_or_init(async || {
        let mut rows = Vec::new();
        for era in [Era::Legacy, Era::Modern, Era::Dual] {
            rows.push(directly(era).await);
        }
        rows
    })
    .await
}

async fn directly(era: Era) -> Row {
    let fixture = Fixture::start(era).await;
    let mut cells = Vec::new();
    for revision in Revision::ALL {
        if matches!((era, revision), (Era::Legacy, Revision::Modern) | (Era::Modern, Revision::Legacy)) {
            continue;
        }
        cells.push(cell(&fixture.url, "", revision).await);
    }
    // Both eras against one of them: the reader of answers is tried here, too.
    let content = match era {
        Era::Dual => content::differences(&fixture.url, &fixture.url).await,
        Era::Legacy | Era::Modern => Vec::new(),
    };
    fixture.end().await;
    Row { name: format!("the fixture itself, {era}, http"), cells, content }
}

/// Every upstream behind a host. Two hosts at once, as the suite's own bound is.
pub(crate) async fn through_the_host() -> &'static [Row] {
    static ROWS: OnceCell<Vec<Row>> = OnceCell::const_new();
    ROWS.get_or_init(async || {
        let faults: Vec<String> = direct().await.iter().flat_map(Row::failures).collect();
        assert!(faults.is_empty(), "the fixture itself fails, so a host cannot pass:\n{}", faults.join("\n"));
        let fixture = Fixture::start(Era::Dual).await;
        let hosts = UPSTREAMS.map(|(era, dialect)| whatever_happens(era, dialect, &fixture.url));
        let rows = stream::iter(hosts).buffered(2).collect().await;
        fixture.end().await;
        rows
    })
    .await
}

/// A host that does not even start is one row of failures, and hides no other.
async fn whatever_happens(era: Era, dialect: Dialect, direct: &str) -> Row {
    let row = AssertUnwindSafe(through(era, dialect, direct)).catch_unwind().await;
    row.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Row { name: name_of(era, dialect), cells: Vec::new(), content: vec![format!("not measured: {why}")] }
    })
}

async fn through(era: Era, dialect: Dialect, direct: &str) -> Row {
    let plugin = fixture::manifest(era, dialect).await;
    let host: TestHost = Setup::new().plugin("fixture", &plugin).flag("--no-auth").start().await;
    let stays = ["ready", "misconfigured", "quarantined", "fatal"];
    let settled =
        host.until("fixture", "settled", |view| stays.iter().any(|state| view["state"] == *state)).await;
    assert_eq!(settled["state"], "ready", "{settled}");
    let mut cells = Vec::new();
    // One after the other: a run changes the fixture's lists, which another would take for its own change.
    for endpoint in ENDPOINTS {
        for revision in Revision::ALL {
            cells.push(cell(&format!("{}{endpoint}", host.base), endpoint, revision).await);
        }
    }
    let content = content::differences(direct, &format!("{}{}", host.base, ENDPOINTS[0])).await;
    Row { name: name_of(era, dialect), cells, content }
}

fn name_of(era: Era, dialect: Dialect) -> String {
    format!("{era}, {dialect}")
}

async fn cell(url: &str, endpoint: &'static str, revision: Revision) -> Cell {
    let report = suite::run(Side::Server { url }, revision, |_| false).await;
    Cell { endpoint, revision, report }
}
