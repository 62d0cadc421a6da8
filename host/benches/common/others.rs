//! What else the machine did while something was measured: the numbers of a busy one say little.

use std::collections::HashMap;
use std::fs;

use super::Outcome;

/// Hundredths of seconds of processor time, up to a moment.
#[derive(Clone, Copy)]
pub(crate) struct Others {
    /// Of all, with what the machine below us took.
    all: u64,
    /// Of this process and those that come from it.
    ours: u64,
    /// What there was, used or not.
    given: u64,
}

impl Others {
    pub(crate) fn now() -> Outcome<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what guests took is in the first two.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else {
            return Err("an odd /proc/stat".into());
        };
        let all = user + nice + system + irq + softirq + steal;
        Ok(Self { all, ours: ours()?, given: all + idle + iowait })
    }

    /// The share of the machine that others have taken since.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn since(self) -> Outcome<f64> {
        let now = Self::now()?;
        let theirs = (now.all - self.all).saturating_sub(now.ours.saturating_sub(self.ours));
        Ok(theirs as f64 / (now.given - self.given).max(1) as f64)
    }
}

/// What this process and all that come from it have used.
fn ours() -> Outcome<u64> {
    let (mut children, mut used) = (HashMap::<u32, Vec<u32>>::new(), HashMap::new());
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ends while we look has nothing to say.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let field = |n| rest.split(' ').nth(n).and_then(|text: &str| text.parse::<u64>().ok());
        if let (Some(parent), Some(user), Some(system)) = (field(1), field(11), field(12)) {
            children.entry(u32::try_from(parent)?).or_default().push(pid);
            used.insert(pid, user + system);
        }
    }
    let (mut sum, mut open) = (0, vec![std::process::id()]);
    while let Some(pid) = open.pop() {
        sum += used.get(&pid).copied().unwrap_or_default();
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(sum)
}
