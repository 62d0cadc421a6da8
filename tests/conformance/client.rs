//! The suite's client side: its servers, and the host as their client, which `driver` starts and speaks to.

use tokio::sync::OnceCell;

use crate::cells::{Cell, Row};
use crate::driver;
use crate::suite::{self, Revision, Side};

/// Where the suite's shell finds this test's executable: a path may hold blanks, which the suite would split at.
const PROGRAM: &str = "WHARF_CONFORMANCE_DRIVER";

/// Both revisions, measured once. The scenarios of authorization need an OAuth client and are not counted.
pub(crate) async fn measured() -> &'static [Row] {
    static ROWS: OnceCell<Vec<Row>> = OnceCell::const_new();
    ROWS.get_or_init(async || {
        let program = std::env::current_exe().expect("a test has an executable");
        let env = [(PROGRAM, program.to_str().expect("a UTF-8 path"))];
        let command =
            format!("\"${PROGRAM}\" --exact --ignored --nocapture --test-threads=1 {}", driver::NAME);
        let mut cells = Vec::new();
        for revision in Revision::ALL {
            let side = Side::Client { command: &command, env: &env, done: driver::DONE };
            let report = suite::run(side, revision, |scenario| scenario.starts_with("auth/")).await;
            cells.push(Cell { endpoint: "", revision, report });
        }
        vec![Row {
            name: "the host as a client, without authorization".to_owned(),
            cells,
            content: Vec::new(),
        }]
    })
    .await
}
