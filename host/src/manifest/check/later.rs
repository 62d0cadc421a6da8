//! Keys that belong to the manifest's contract but that this version does not have yet. A manifest that uses one is told
//! so: nothing is accepted that has no effect.

/// What to write instead, or to know, for each.
const LATER: &[(&str, &str)] = &[
    (
        "/depends_on",
        "plugins are started side by side; a call to one that is not ready waits `limits.queue_wait`",
    ),
    ("/auth/oauth", "use `auth.bearer`"),
];

/// What helps with a key of a later version; `None` if it is no such key.
pub(super) fn help(pointer: &str) -> Option<&'static str> {
    LATER.iter().find(|(key, _)| *key == pointer).map(|(_, help)| *help)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_exists_is_not_called_missing() {
        for (pointer, _) in super::LATER {
            assert!(crate::manifest::schema::part_at(pointer).is_none(), "{pointer} exists now");
        }
    }
}
