//! Folders of groups that hosts before us have left empty: one that was killed while it tried what the machine allows, or
//! before a launch was written down. What holds a process is left to the ledger.

use std::fs;
use std::path::Path;

use super::find::PREFIX;
use super::groups::with_all_below;

/// How many are looked at.
const MOST: usize = 1000;

/// Removes those beside ours whose host `is_gone`. A host that we cannot see, in another PID namespace, makes its folder
/// anew when it needs it.
pub(super) fn remove_empty(beside: &Path, is_gone: impl Fn(u32) -> bool) {
    let folders = fs::read_dir(beside).into_iter().flatten().flatten();
    let left = folders.filter(|entry| entry.file_name().to_str().and_then(host_of).is_some_and(&is_gone));
    for folder in left.take(MOST) {
        let all = with_all_below(&folder.path());
        let is_empty =
            |dir: &Path| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().is_empty();
        if all.iter().all(|dir| is_empty(dir)) {
            for dir in all {
                // One that was just used stays.
                fs::remove_dir(dir).ok();
            }
        }
    }
}

/// `wharf-<pid>-<8 hexadecimal digits>`.
fn host_of(name: &str) -> Option<u32> {
    let (pid, random) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let is_random = random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|_| is_random)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::remove_empty;

    #[test]
    fn only_empty_ones_of_hosts_that_are_gone_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| fs::create_dir_all(dir.path().join(name)).unwrap();
        let all = [
            "wharf-7-0000abcd/try",
            "wharf-8-0000abcd/try",
            "wharf-host",
            "wharf-7-x/try",
            "other-7-0000abcd",
        ];
        all.iter().for_each(|name| make(name));
        make("wharf-7-1111abcd/mark");
        make("wharf-7-1111abcd/empty");
        fs::write(dir.path().join("wharf-7-1111abcd/mark/cgroup.procs"), "9\n").unwrap();
        remove_empty(dir.path(), |pid| pid == 7);
        let there = |name: &str| dir.path().join(name).exists();
        assert!(!there("wharf-7-0000abcd"));
        assert!(all[1..].iter().all(|name| there(name)), "it is another's, or its host lives");
        assert!(there("wharf-7-1111abcd/mark") && there("wharf-7-1111abcd/empty"), "something runs in it");
    }
}
