//! The README's conformance table: what stands there must be what was measured. `WHARF_BLESS=1` writes it.

use std::fmt::Write as _;
use std::fs;

use crate::cells::{self, Cell, ENDPOINTS, Row};
use crate::client;
use crate::suite::Revision;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const BEGIN: &str = "<!-- measured by the conformance test: begin -->\n";
const END: &str = "<!-- measured by the conformance test: end -->";

#[tokio::test]
async fn the_readme_tells_what_was_measured() {
    let text = render(cells::through_the_host().await, cells::direct().await, client::measured().await);
    let readme = fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has the first mark");
    let (table, after) = rest.split_once(END).expect("the README has the second mark");
    if std::env::var_os("WHARF_BLESS").is_some() {
        fs::write(README, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
    } else {
        assert_eq!(table, text, "put in what was measured, or run this with WHARF_BLESS=1:\n{text}");
    }
}

fn render(hosts: &[Row], direct: &[Row], client: &[Row]) -> String {
    let dates = Revision::ALL.map(Revision::date);
    let heads: Vec<_> = ENDPOINTS
        .iter()
        .flat_map(|at| dates.map(|date| format!("`{}` {date}", at.replace("fixture", "{id}"))))
        .collect();
    let mut text = format!("| plugin | {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len() + 1));
    for row in hosts {
        let columns = ENDPOINTS.iter().flat_map(|at| Revision::ALL.map(|revision| score(row, at, revision)));
        writeln!(text, "| {} | {} |", row.name, columns.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    writeln!(text, "\n| beside | {} |\n|---|---|---|", dates.join(" | ")).unwrap();
    for row in client.iter().chain(direct) {
        let columns = Revision::ALL.map(|revision| score(row, "", revision));
        writeln!(text, "| {} | {} |", row.name, columns.join(" | ")).unwrap();
    }
    text
}

/// Passed of scored, or nothing for what was not run.
fn score(row: &Row, endpoint: &str, revision: Revision) -> String {
    let fits = |cell: &&Cell| cell.endpoint == endpoint && cell.revision == revision;
    row.cells
        .iter()
        .find(fits)
        .map_or_else(String::new, |cell| format!("{}/{}", cell.report.passed(), cell.report.scored))
}

#[test]
fn a_cell_tells_passed_of_scored() {
    use crate::suite::{Failure, Report};
    let failure = |scenario: &str| Failure {
        scenario: scenario.to_owned(),
        check: "c".to_owned(),
        message: "m".to_owned(),
    };
    // Two checks of one scenario are one scenario.
    let report = Report { scored: 30, failures: vec![failure("a"), failure("a"), failure("b")] };
    let cell = Cell { endpoint: "/mcp", revision: Revision::Legacy, report };
    let row = Row { name: "modern, http".to_owned(), cells: vec![cell], content: Vec::new() };
    assert_eq!(score(&row, "/mcp", Revision::Legacy), "28/30");
    assert_eq!(score(&row, "/mcp", Revision::Modern), "");
    assert_eq!(row.failures().count(), 3);
    let text = render(&[row], &[], &[]);
    assert!(
        text.contains("| plugin | `/mcp` 2025-11-25 | `/mcp` 2026-07-28 | `/plugins/{id}/mcp` 2025-11-25 |"),
        "{text}"
    );
    assert!(text.contains("| modern, http | 28/30 |  |  |  |"), "{text}");
}
