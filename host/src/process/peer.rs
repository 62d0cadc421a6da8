//! Whether a process on the other end of a local socket is one of a plugin's: it has the host's user, and yet it is not the
//! host's operator.

use std::collections::HashSet;

use super::memory;
use super::proc;

/// Steps up from a process to the first of all. More than any machine has; a number that is used again ends no walk.
const STEPS: usize = 1024;

/// Whether this process belongs to the tree of a plugin. One that is gone counts as one: nobody can tell any more. Blocks for
/// a moment.
pub(crate) fn is_of_a_plugin(pid: Option<i32>) -> bool {
    descends(pid, &memory::shims())
}

/// Whether it is one of these or a descendant of one.
fn descends(pid: Option<i32>, shims: &HashSet<i32>) -> bool {
    let mut next = pid;
    for _ in 0..STEPS {
        let Some(pid) = next.filter(|pid| *pid > 0) else { return true };
        if shims.contains(&pid) {
            return true;
        }
        match proc::stat(pid).map(|stat| stat.parent) {
            None => return true,
            // The first of all has no parent, and neither has one that was born into this PID namespace from outside.
            Some(0) => return false,
            parent @ Some(_) => next = parent,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{descends, is_of_a_plugin};
    use crate::process::memory::Known;

    #[test]
    fn who_descends_from_a_shim_is_a_plugins() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = nix::unistd::getppid().as_raw();
        // Not by the host's own list: other tests make themselves known at the same time.
        let (nobody, shims) = (HashSet::new(), HashSet::from([parent]));
        assert!(!descends(Some(own), &nobody), "a stranger to all shims");
        assert!(descends(Some(own), &shims) && descends(Some(parent), &shims));
        assert!(descends(Some(i32::MAX), &nobody), "gone");
        assert!(descends(None, &nobody), "unknown");
        let _known = Known::new(i32::MAX, parent);
        assert!(is_of_a_plugin(Some(own)));
    }
}
