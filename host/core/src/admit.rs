//! Whether a call may run now, waits for its turn, or is turned away at once.

/// What to do with a call that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Run it.
    Now,
    /// Let it wait for its turn.
    Queue,
    /// Turn it away: whoever waits longer than the queue allows would only fail later.
    Shed,
}

/// Decides from the numbers at its arrival: free permits, and calls that wait already.
#[must_use]
pub fn admit(free: usize, waiting: usize, queue: usize) -> Admission {
    if free > 0 && waiting == 0 {
        Admission::Now
    } else if waiting < queue {
        Admission::Queue
    } else {
        Admission::Shed
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, admit};

    #[test]
    fn nobody_overtakes_the_queue_and_the_queue_is_bounded() {
        assert_eq!(admit(1, 0, 0), Admission::Now);
        assert_eq!(admit(1, 1, 2), Admission::Queue);
        assert_eq!(admit(0, 1, 2), Admission::Queue);
        assert_eq!(admit(0, 2, 2), Admission::Shed);
        assert_eq!(admit(0, 0, 0), Admission::Shed);
    }
}
