//! How much garbage is tolerated on a connection before it counts as lost.
//!
//! Log lines on stdout are common and harmless; a peer that says nothing else is no MCP server. It decides only; it must
//! not know where lines come from or what is done about them.

/// Lines that are no messages, before the handshake is done.
const BEFORE_HANDSHAKE: u32 = 100;
/// Lines that are no messages, one after the other, once it is.
const IN_A_ROW: u32 = 1000;
/// What cannot even be read: too long, or not UTF-8.
const UNREADABLE: u32 = 3;
/// So many messages in a row show that what could not be read was an accident.
const FORGIVEN_AFTER: u32 = 1000;

/// The count.
#[derive(Debug, Default)]
pub(crate) struct Strikes {
    bad_in_a_row: u32,
    unreadable: u32,
    good_in_a_row: u32,
}

impl Strikes {
    /// A message.
    pub(crate) fn message(&mut self) {
        self.bad_in_a_row = 0;
        self.good_in_a_row = self.good_in_a_row.saturating_add(1);
        if self.good_in_a_row >= FORGIVEN_AFTER {
            self.unreadable = 0;
        }
    }

    /// A line that is no message. Returns why the connection is to be given up, if it is.
    pub(crate) fn line(&mut self, handshaken: bool) -> Option<String> {
        self.good_in_a_row = 0;
        self.bad_in_a_row += 1;
        if !handshaken && self.bad_in_a_row >= BEFORE_HANDSHAKE {
            return Some(format!("{BEFORE_HANDSHAKE} lines on stdout before the handshake, and none is MCP"));
        }
        (self.bad_in_a_row > IN_A_ROW)
            .then(|| format!("{IN_A_ROW} lines on stdout in a row, and none is MCP"))
    }

    /// A line or event that could not be read.
    pub(crate) fn unreadable(&mut self, why: &dyn std::fmt::Display) -> Option<String> {
        self.good_in_a_row = 0;
        self.unreadable += 1;
        (self.unreadable >= UNREADABLE)
            .then(|| format!("{UNREADABLE} unreadable messages, the last one: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{BEFORE_HANDSHAKE, FORGIVEN_AFTER, IN_A_ROW, Strikes};

    #[test]
    fn logs_are_tolerated_while_messages_come() {
        let mut strikes = Strikes::default();
        for _ in 0..10 {
            for _ in 0..IN_A_ROW {
                assert!(strikes.line(true).is_none());
            }
            strikes.message();
        }
        (0..IN_A_ROW).for_each(|_| assert!(strikes.line(true).is_none()));
        assert!(strikes.line(true).is_some());
    }

    #[test]
    fn before_the_handshake_less_is_tolerated() {
        let mut strikes = Strikes::default();
        (1..BEFORE_HANDSHAKE).for_each(|_| assert!(strikes.line(false).is_none()));
        assert!(strikes.line(false).is_some());
    }

    #[test]
    fn the_third_unreadable_line_is_one_too_many_unless_long_ago() {
        let mut strikes = Strikes::default();
        assert!(strikes.unreadable(&"x").is_none());
        assert!(strikes.unreadable(&"x").is_none());
        (0..FORGIVEN_AFTER).for_each(|_| strikes.message());
        assert!(strikes.unreadable(&"x").is_none());
        strikes.message();
        assert!(strikes.unreadable(&"x").is_none());
        assert!(strikes.unreadable(&"x").is_some());
    }
}
