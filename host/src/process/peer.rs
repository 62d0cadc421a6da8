//! Whether a process on the other end of a local socket is one of a plugin's: it has the host's user, and yet it is not the
//! host's operator.

use super::memory;
use super::proc;

/// Steps up from a process to the first of all. More than any machine has; a number that is used again ends no walk.
const STEPS: usize = 1024;

/// Whether this process belongs to the tree of a plugin. One that is gone counts as one: nobody can tell any more. Blocks for
/// a moment.
pub(crate) fn is_of_a_plugin(pid: Option<i32>) -> bool {
    let shims = memory::shims();
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
    use super::is_of_a_plugin;
    use crate::process::memory::Known;

    #[test]
    fn who_descends_from_a_shim_is_a_plugins() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = nix::unistd::getppid().as_raw();
        assert!(!is_of_a_plugin(Some(own)), "a stranger to all shims");
        let known = Known::new(i32::MAX, parent);
        assert!(is_of_a_plugin(Some(own)) && is_of_a_plugin(Some(parent)));
        drop(known);
        assert!(!is_of_a_plugin(Some(own)));
        assert!(is_of_a_plugin(Some(i32::MAX)), "gone");
        assert!(is_of_a_plugin(None), "unknown");
    }
}
