//! The metrics that there are: names, labels and what they mean, in one place. Where the numbers come from is not known here.

/// One metric.
#[derive(Debug)]
pub(crate) struct Family {
    /// As it is shown; it ends in its unit, or in `_total` or `_info`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// What it says, for people.
    pub(crate) help: &'static str,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows; begins anew with what it is about.
    Counter,
    /// What is so now.
    Gauge,
    /// Durations by buckets.
    Histogram,
}

macro_rules! families {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)+) => {
        $(pub(crate) const $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+

        /// Every metric, in the order of the page.
        pub(crate) const ALL: &[&Family] = &[$(&$constant),+];
    };
}

families! {
    OPERATION = "mcp_server_operation_duration_seconds" Histogram ["method", "plugin", "tool", "outcome"]
        "Requests to plugins, from admission to answer, by how they ended: ok, tool_error, rpc_error or an error code of the API";
    STATE = "host_plugin_state" Gauge ["plugin", "state"] "1 for the state in which the plugin is, 0 for the others";
    UP = "host_plugin_up" Gauge ["plugin"] "Whether the plugin takes calls";
    RESTARTS = "host_plugin_restarts_total" Counter ["plugin", "reason"]
        "Restarts after an end that nobody asked for, by its cause";
    START = "host_plugin_start_duration_seconds" Histogram ["plugin"]
        "Starts that came to a ready instance, its wait for leave to start included";
    STRAYS = "host_plugin_stray_answers_total" Counter ["plugin"]
        "Answers to nothing that was asked, or to what was answered already; they were dropped";
    REJECTED = "host_calls_rejected_total" Counter ["plugin", "reason"]
        "Calls that were turned away before an instance was asked, by the code of the error";
    RETRIES = "host_call_retries_total" Counter ["plugin", "result"]
        "Further attempts of calls: made, or refused since the budget was used up";
    INFLIGHT = "host_instance_inflight" Gauge ["plugin", "instance"] "Calls that are at the instance";
    BREAKER = "host_breaker_state" Gauge ["plugin", "instance", "state"]
        "1 for the state of the instance's breaker (closed, open, half_open), 0 for the others";
    OPENINGS = "host_breaker_openings_total" Counter ["plugin", "instance"]
        "How often the instance's breaker opened since the instance is there";
    QUEUE = "host_queue_depth" Gauge ["plugin"] "Calls that wait for their turn";
    RESIDENT = "host_process_resident_memory_bytes" Gauge ["plugin", "instance"]
        "Resident memory of the instance's process tree; pages that are shared count once for each process";
    CPU = "host_process_cpu_seconds_total" Counter ["plugin", "instance"]
        "Processor time of the instance's process tree, of those that have ended too";
    RELOADS = "host_config_reloads_total" Counter ["result"]
        "Readings of the manifests: ok, invalid (some were wrong) or failed (nothing was changed)";
    JOURNAL = "host_journal_state" Gauge ["state"]
        "1 for the state of the journal of calls (ok, failing, off), 0 for the others";
    SESSIONS = "host_sessions_open" Gauge [] "MCP sessions of clients of the legacy era";
    CONNECTIONS = "host_connections_open" Gauge ["socket"]
        "Connections of clients: of 1024 over `tcp` and 128 over `unix`, and 64 more on each for health and administration";
    FULL = "host_connections_full_total" Counter ["socket"]
        "How often all connections came to be in use, so that calls over further ones were refused";
    WAITING = "host_waiting_bytes" Gauge [] "Answers and messages that wait for clients to take them";
    CUT_OFF = "host_clients_cut_off_total" Counter [] "Clients that were cut off because too much waited for them";
    BUILD = "host_build_info" Gauge ["version"] "1, with the version of the host";
    OWN_RESIDENT = "process_resident_memory_bytes" Gauge [] "Resident memory of the host itself";
    OWN_CPU = "process_cpu_seconds_total" Counter [] "Processor time of the host itself";
    OWN_FILES = "process_open_fds" Gauge [] "Files, sockets and pipes that the host has open";
    OWN_START = "process_start_time_seconds" Gauge [] "When the host started, seconds since 1970";
}

/// The rows of the README's table.
#[cfg(test)]
pub(crate) fn rows() -> Vec<String> {
    let row = |family: &&Family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", family.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(" "), family.help)
    };
    ALL.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, Kind, rows};

    /// What is counted in things, and is no total.
    const THINGS: [&str; 9] = [
        "host_journal_state",
        "host_plugin_state",
        "host_plugin_up",
        "host_breaker_state",
        "host_instance_inflight",
        "host_queue_depth",
        "host_sessions_open",
        "host_connections_open",
        "process_open_fds",
    ];

    #[test]
    fn a_name_ends_in_its_unit() {
        assert_eq!(ALL.iter().map(|family| family.name).collect::<BTreeSet<_>>().len(), ALL.len());
        for family in ALL {
            let ends = |ends: &[&str]| ends.iter().any(|end| family.name.ends_with(end));
            let good = match family.kind {
                Kind::Counter => ends(&["_total"]),
                Kind::Histogram => ends(&["_seconds", "_bytes"]),
                Kind::Gauge => ends(&["_seconds", "_bytes", "_info"]) || THINGS.contains(&family.name),
            };
            assert!(
                good && !family.help.is_empty() && !family.help.contains(['\n', '\\', '|']),
                "{family:?}"
            );
            let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
            assert!(plain(family.name) && family.labels.iter().all(|label| plain(label)), "{family:?}");
        }
    }

    #[test]
    fn the_readme_names_them_all() {
        let readme = include_str!("../../../README.md");
        let (_, section) = readme.split_once("| metric | kind | labels | what it says |\n").unwrap();
        let told: Vec<&str> = section.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
        assert_eq!(told, rows(), "the table of the README, as it must be:\n{}", rows().join("\n"));
    }
}
