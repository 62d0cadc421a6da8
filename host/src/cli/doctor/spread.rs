//! How the calls of one plugin spread over its instances, seen in the instance of each answer. No instance is taken out for
//! it: that one takes over from another is shown elsewhere ([`super::drill`]).

use std::collections::BTreeMap;
use std::time::Duration;

use wharf_core::manifest::{Balance, Kind, Manifest};

use super::canary::Safe;
use super::report::Report;
use crate::cli::client::Client;

/// Calls for each instance that shares them.
const EACH: usize = 4;
/// The most calls that are made.
const MOST: usize = 64;

/// What is to be seen.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// All of so many instances take part.
    All(usize),
    /// One takes all.
    One,
}

/// Makes calls of a plugin with several instances, of which `ready` could take them.
pub(super) async fn examine(
    manifest: Option<&Manifest>,
    (id, ready, standby): (&str, usize, usize),
    call: Option<&Safe>,
    (host, timeout): (&Client, Duration),
    report: &mut Report,
) {
    let Some(manifest) = manifest else {
        return report.skipped("balance", id, "its manifest cannot be read from here");
    };
    let Some(call) = call else {
        return report.skipped("balance", id, "it has no tool that may be called");
    };
    let expected = expected(manifest, ready, standby);
    let calls = (ready.max(1) * EACH).min(MOST);
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for _ in 0..calls {
        match call.make(host, timeout).await {
            Ok(answer) => *seen.entry(answer.instance).or_default() += 1,
            Err(complaint) => {
                return report.failed(
                    "balance",
                    id,
                    format!("a call of {} failed: {}", call.tool(), complaint.title),
                );
            }
        }
    }
    let shares: Vec<String> = seen.iter().map(|(n, calls)| format!("#{n}: {calls}")).collect();
    let detail = format!("{calls} calls of {} went to {}", call.tool(), shares.join(", "));
    let good = match expected {
        Expected::All(instances) => seen.len() == instances,
        Expected::One => seen.len() == 1,
    };
    if good {
        report.ok("balance", id, detail);
    } else {
        let expected = match expected {
            Expected::All(instances) => format!("{instances} instances share the calls"),
            Expected::One => "one instance takes all calls of one caller".to_owned(),
        };
        report.failed("balance", id, format!("{detail}; by its manifest {expected}"));
    }
}

/// What the manifest says where so many instances are ready, those that stand by not among them.
fn expected(manifest: &Manifest, ready: usize, standby: usize) -> Expected {
    if manifest.balance == Balance::Sticky {
        return Expected::One;
    }
    let Kind::Remote(remote) = &manifest.kind else {
        return Expected::All(ready.saturating_sub(standby).max(1));
    };
    let best = remote.targets.iter().map(|target| target.priority).min();
    let preferred = remote.targets.iter().filter(|target| Some(target.priority) == best).count();
    if remote.targets.len() < 2 {
        Expected::All(ready.max(1))
    } else {
        Expected::All(preferred.min(ready).max(1))
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::manifest::{Balance, Kind};

    use super::{Expected, expected};
    use crate::manifest::{Context, check_file};

    #[test]
    fn the_manifest_says_who_takes_part() {
        let of = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("p.toml");
            std::fs::write(&path, text).unwrap();
            let report = check_file(&path, &Context::of_process(dir.path()).unwrap());
            report.plugins.into_iter().next().unwrap().manifest.unwrap()
        };
        let target =
            |n: u16, priority: u32| format!("[[targets]]\nurl = 'http://h:{n}/mcp'\npriority = {priority}\n");
        let two = of(&[target(1, 1), target(2, 2)].concat());
        assert!(matches!(two.kind, Kind::Remote(_)));
        assert_eq!(expected(&two, 2, 0), Expected::All(1), "the preferred one alone");
        assert_eq!(
            expected(&of(&[target(1, 1), target(2, 1), target(3, 5)].concat()), 3, 0),
            Expected::All(2)
        );
        let replicas = of("command = 'x'\nreplicas = 3\nstandby = 1\n");
        assert_eq!(expected(&replicas, 4, 1), Expected::All(3));
        let sticky = wharf_core::manifest::Manifest { balance: Balance::Sticky, ..replicas };
        assert_eq!(expected(&sticky, 4, 1), Expected::One);
    }
}
