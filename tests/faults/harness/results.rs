//! Keeps rows in the build's folder, and writes the table of them: `RESULTS.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::row::Row;
use crate::support::built;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/RESULTS.md");

/// Keeps a row; with `WHARF_BLESS=1` the table is written anew, with all rows that are kept.
pub(super) fn keep(row: &Row) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = built().join("faults");
    fs::create_dir_all(&folder).expect("the build's folder is writable");
    let text = serde_json::to_string_pretty(row).expect("a row is JSON");
    fs::write(folder.join(row.file()), text).expect("the build's folder is writable");
    if std::env::var_os("WHARF_BLESS").is_some() {
        fs::write(RESULTS, render(&kept(&folder))).expect("the source folder is writable");
    }
}

/// All rows of the cases that there still are, in order.
fn kept(folder: &Path) -> Vec<Row> {
    let ids = ids_of_code();
    let files = fs::read_dir(folder).expect("it was just made").flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let mut rows: Vec<Row> = texts.filter_map(|text| serde_json::from_str(&text).ok()).collect();
    rows.retain(|row| ids.contains(&row.id));
    rows.sort_by_key(|row| (row.id.clone(), row.title.clone(), row.containment.clone()));
    rows
}

/// The numbers of all cases that this program has, as its own list of tests tells them.
fn ids_of_code() -> BTreeSet<String> {
    let program = std::env::current_exe().expect("a test has an executable");
    let listed =
        Command::new(program).args(["--list", "--format", "terse"]).output().expect("it lists its tests");
    let text = String::from_utf8(listed.stdout).expect("names are UTF-8");
    text.lines().filter_map(id_of_test).collect()
}

/// `starts::f01_a_missing_program: test` is of F01.
fn id_of_test(line: &str) -> Option<String> {
    let name = line.strip_suffix(": test")?.rsplit("::").next()?;
    let number = name.strip_prefix('f')?.split('_').next()?;
    (number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit())).then(|| format!("F{number}"))
}

fn render(rows: &[Row]) -> String {
    let dates: BTreeSet<_> = rows.iter().map(|row| row.at.as_str()).collect();
    let (first, last) = (dates.first().copied().unwrap_or("-"), dates.last().copied().unwrap_or("-"));
    let mut text = format!(
        "# What the fault suite measured\n\n\
         Written by `WHARF_BLESS=1 cargo test -p wharf --test faults`; do not edit. {}. Measured from {first} to {last}.\n\
         What a case does and what it must come to stands in the doc of the test with its number. Times are of a debug \
         build with other cases running beside.\n\n\
         M: simulated clock. P: real processes. R: needs rights that not every machine grants.\n\n\
         | case | kind | fault | containment | outcome | measured |\n|---|---|---|---|---|---|\n",
        machine()
    );
    for row in rows.iter().filter(|row| row.survivors.is_none()) {
        let figures: Vec<_> = row.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let (id, kind, title, level) = (&row.id, &row.kind, &row.title, &row.containment);
        writeln!(text, "| {id} | {kind} | {title} | {level} | {} | {} |", row.outcome, figures.join(", "))
            .unwrap();
    }
    text.push_str(&trees(rows));
    text
}

/// Survivors for each kill: a table of trees and levels.
fn trees(rows: &[Row]) -> String {
    let mut kills = BTreeMap::<&str, BTreeMap<(&str, &str), String>>::new();
    let mut levels: Vec<&str> = Vec::new();
    for row in rows {
        let Some(found) = &row.survivors else { continue };
        let failed = if row.outcome == "passed" { "" } else { " FAILED" };
        let cell = format!("{} of {}, {}{failed}", found.left, found.grown, found.took);
        let level = row.containment.as_str();
        kills.entry(&found.killed).or_default().insert((&found.tree, level), format!("{cell} ({})", row.id));
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    let mut text = String::new();
    for (killed, cells) in &kills {
        write!(text, "\n## Who is left: {killed} killed\n\nProcesses left of so many, and when the last was gone (or given up).\n\n").unwrap();
        writeln!(text, "| tree | {} |\n|{}", levels.join(" | "), "---|".repeat(levels.len() + 1)).unwrap();
        for tree in cells.keys().map(|(tree, _)| *tree).collect::<BTreeSet<_>>() {
            let of = |level| cells.get(&(tree, level)).map_or("", String::as_str);
            let row: Vec<_> = levels.iter().map(|level| of(*level)).collect();
            writeln!(text, "| {tree} | {} |", row.join(" | ")).unwrap();
        }
    }
    text
}

/// A sentence on what it ran on.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let uid = nix::unistd::getuid();
    format!("Machine: {cores} cores, Linux {}, user id {uid}", kernel.trim())
}

#[test]
fn the_results_name_every_case_and_no_other() {
    if std::env::var_os("WHARF_BLESS").is_some() {
        return;
    }
    let text = fs::read_to_string(RESULTS).expect("RESULTS.md is there");
    let first =
        |line: &str| line.strip_prefix("| F").and_then(|rest| Some(format!("F{}", rest.split(' ').next()?)));
    let in_trees = text.match_indices("(F").filter_map(|(at, _)| Some(text.get(at + 1..at + 4)?.to_owned()));
    let named: BTreeSet<String> = text.lines().filter_map(first).chain(in_trees).collect();
    let code = ids_of_code();
    assert!(!code.is_empty(), "the list of tests was not understood");
    assert_eq!(named, code, "run all with WHARF_BLESS=1 cargo test -p wharf --test faults");
    assert!(!text.contains("FAILED"), "a case failed when RESULTS.md was written");
}

#[test]
fn a_table_tells_cases_and_trees() {
    use super::row::Survivors;
    let mut row = Row::new("F08", "P", "kill -9");
    row.figures = vec![("ready again".to_owned(), "12 ms".to_owned())];
    let mut tree = Row::new("F12", "P", "npx");
    tree.containment = "subreaper".to_owned();
    tree.survivors = Some(Survivors {
        tree: "npx".to_owned(),
        killed: "host".to_owned(),
        grown: 4,
        left: 0,
        took: "9 ms".to_owned(),
    });
    let text = render(&[row, tree]);
    assert!(text.contains("| F08 | P | kill -9 | - | passed | ready again 12 ms |"), "{text}");
    assert!(text.contains("| tree | subreaper |\n|---|---|\n| npx | 0 of 4, 9 ms (F12) |"), "{text}");
    assert_eq!(id_of_test("starts::f01_a_missing_program: test"), Some("F01".to_owned()));
    assert_eq!(id_of_test("support::fake: test"), None);
}
