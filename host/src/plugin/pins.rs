//! Which instance the legacy sessions of clients stay with: a legacy server may hold state for whom it talks to. It is bounded;
//! a session that was not heard of for long makes room and is placed anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wharf_core::InstanceNo;

/// Sessions of one plugin that are remembered: more than may be open at a host.
const MOST: usize = 8192;

/// The places of sessions.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    turn: u64,
    all: HashMap<Arc<str>, (InstanceNo, u64)>,
}

impl Pins {
    /// Where this session's last call went.
    pub(super) fn of(&self, session: &str) -> Option<InstanceNo> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn += 1;
        let turn = table.turn;
        let (n, used) = table.all.get_mut(session)?;
        *used = turn;
        Some(*n)
    }

    /// From now on the session is here.
    pub(super) fn set(&self, session: &Arc<str>, n: InstanceNo) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn += 1;
        let turn = table.turn;
        if table.all.len() >= MOST && !table.all.contains_key(session) {
            // Half of them at a time, so that it is seldom.
            let mut turns: Vec<u64> = table.all.values().map(|(_, used)| *used).collect();
            let (_, middle, _) = turns.select_nth_unstable(MOST / 2);
            let middle = *middle;
            table.all.retain(|_, (_, used)| *used >= middle);
        }
        table.all.insert(Arc::clone(session), (n, turn));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wharf_core::InstanceNo;

    use super::{MOST, Pins};

    #[test]
    fn a_session_stays_and_the_oldest_make_room() {
        let pins = Pins::default();
        let name = |n: usize| Arc::<str>::from(format!("s{n}"));
        assert_eq!(pins.of("s0"), None);
        for n in 0..MOST {
            pins.set(&name(n), InstanceNo(1));
        }
        assert_eq!(pins.of("s0"), Some(InstanceNo(1)));
        pins.set(&name(MOST), InstanceNo(2));
        assert_eq!(pins.of("s0"), Some(InstanceNo(1)), "heard of a moment ago");
        assert_eq!(pins.of("s1"), None, "the oldest");
        assert_eq!(pins.of(&name(MOST)), Some(InstanceNo(2)));
        assert!(pins.0.lock().unwrap().all.len() <= MOST);
        pins.set(&name(0), InstanceNo(3));
        assert_eq!(pins.of("s0"), Some(InstanceNo(3)));
    }
}
