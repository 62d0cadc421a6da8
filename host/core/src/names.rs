//! Exposed names: under which name a tool or prompt of a plugin is offered beside those of other plugins.
//!
//! A name is a pure function of the plugin's namespace and the plugin's own name for it: who else runs changes nothing, so
//! what a policy or a prompt names stays what it is. It says nothing back: a separator may stand in either part, so a name
//! is looked up in the catalog and never taken apart.

use std::borrow::Cow;

/// Between the namespace and the name.
const SEPARATOR: &str = "__";
/// The longest exposed name. Some models take no longer names of tools, and no other characters than these.
pub const MAX_EXPOSED: usize = 64;
/// A shortened name ends in `_` and this many hexadecimal digits.
const DIGITS: usize = 8;

/// The exposed name: `<namespace>__<name>`, or the name alone where the namespace is empty. At most [`MAX_EXPOSED`] of
/// `[A-Za-z0-9_-]`: what is longer, or has other characters, is cut, gets `_` for each of these, and ends in `_` and a hash
/// of the whole pair, so that no two names become one by being cut.
#[must_use]
pub fn exposed(namespace: &str, name: &str) -> String {
    let full: Cow<'_, str> =
        if namespace.is_empty() { name.into() } else { format!("{namespace}{SEPARATOR}{name}").into() };
    if (1..=MAX_EXPOSED).contains(&full.len()) && full.chars().all(fits) {
        return full.into_owned();
    }
    let kept = full.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_EXPOSED - DIGITS - 1);
    format!("{}_{:0DIGITS$x}", kept.collect::<String>(), hash(namespace, name))
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// FNV-1a of 64 bits over both parts with a NUL between them, folded to 32. It must never change: clients keep names.
fn hash(namespace: &str, name: &str) -> u64 {
    let bytes = namespace.bytes().chain([0]).chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) ^ (hash & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_EXPOSED, exposed, fits};

    proptest! {
        #[test]
        fn a_name_is_always_valid_and_always_the_same(namespace in ".{0,80}", name in ".{0,200}") {
            let one = exposed(&namespace, &name);
            prop_assert!((1..=MAX_EXPOSED).contains(&one.len()) && one.chars().all(fits), "{one:?}");
            prop_assert_eq!(one, exposed(&namespace, &name));
        }

        #[test]
        fn what_fits_is_not_changed(namespace in "[a-z0-9_-]{1,20}", name in "[A-Za-z0-9_-]{1,42}") {
            prop_assert_eq!(exposed(&namespace, &name), format!("{namespace}__{name}"));
            prop_assert_eq!(exposed("", &name), name);
        }

        #[test]
        fn two_that_do_not_fit_stay_two(
            namespace in "[a-z]{0,9}", one in "[a-z.]{60,90}", other in "[a-z.]{60,90}", tail in "[a-z]{1,9}",
        ) {
            prop_assume!(one != other);
            prop_assert_ne!(exposed(&namespace, &one), exposed(&namespace, &other));
            // The same beginning is the usual case.
            prop_assert_ne!(exposed(&namespace, &one), exposed(&namespace, &format!("{one}{tail}")));
        }
    }

    #[test]
    fn names_that_clients_may_keep_do_not_change_with_a_version() {
        assert_eq!(exposed("files", "read.file"), "files__read_file_b23ce3e1");
        assert_eq!(exposed("", "ä"), "__bf6e8188");
        assert_eq!(exposed("n", &"x".repeat(64)), format!("n__{}_08619c81", "x".repeat(52)));
        assert_ne!(exposed("a", "b.c"), exposed("a", "b_c"));
        assert_ne!(exposed("a", "b.c"), exposed("a", "b/c"));
    }
}
