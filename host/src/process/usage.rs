//! What processes use, read when somebody asks: the trees of plugins, and the host itself. Blocks for a moment.

use std::time::Duration;

use super::{memory, proc};

/// What the tree of a plugin uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory, bytes.
    pub(crate) resident: Option<u64>,
    /// Processor time of all that ever ran in it.
    pub(crate) cpu: Duration,
}

/// What the host uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) resident: u64,
    pub(crate) cpu: Duration,
    /// Open files.
    pub(crate) files: usize,
}

/// What the tree of a plugin's main process uses; `None` if there is no such tree.
pub(crate) fn of_tree(main: u32) -> Option<Usage> {
    let cpu = memory::cpu_of_tree(main)?;
    Some(Usage { resident: memory::of_tree(main), cpu })
}

/// What this program uses.
pub(crate) fn own() -> Own {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    // The reading opens the folder too.
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count().saturating_sub(1));
    Own { resident: proc::rss_of(own), cpu: proc::cpu_of(own), files }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::own;

    #[test]
    fn the_host_is_measured() {
        let before = own();
        let _files: Vec<File> = (0..3).map(|_| File::open("/dev/null").unwrap()).collect();
        let after = own();
        assert!(before.resident > 1 << 20, "{before:?}");
        assert!(after.files >= 3 && after.cpu >= before.cpu, "{after:?}");
    }
}
