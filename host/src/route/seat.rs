//! What a call takes of its plugin: a place at the gate, and one at the instance where it is. It has them no longer than the
//! plugin owes it an answer; when its caller gets to that answer is another matter.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plugin::gate::Held;
use crate::plugin::instance::InFlight;

/// The places of one call.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    gate: Option<Held>,
    instance: Option<InFlight>,
    /// It keeps them until its caller is done.
    stays: bool,
    /// How many questions it has open.
    questions: usize,
    /// The instance counts it among those whose clients are asked.
    asks: bool,
}

impl Seat {
    /// Its turn came.
    pub(super) fn enters(&self, gate: Option<Held>) {
        self.places().gate = gate;
    }

    /// It goes to an instance. `stays`: what becomes of it there is not known before its caller is done.
    pub(super) fn goes_to(&self, instance: InFlight, stays: bool) {
        let before = {
            let mut places = self.places();
            places.stays = stays;
            places.moves(Some(instance))
        };
        drop(before);
    }

    /// The attempt at the instance is over; the turn is still its own, unless its answer was read.
    pub(super) fn leaves_instance(&self) {
        let before = self.places().moves(None);
        drop(before);
    }

    /// Its answer was read. Gives back the place at the gate, for whoever knows the gate, if there is no more to come.
    pub(super) fn answered(&self) -> Option<Held> {
        let places = self.places();
        if places.stays { None } else { Self::empty(places) }
    }

    /// The plugin owes it nothing any more. Gives back the place at the gate, for whoever knows the gate.
    pub(super) fn leaves(&self) -> Option<Held> {
        Self::empty(self.places())
    }

    fn empty(mut places: MutexGuard<'_, Places>) -> Option<Held> {
        let (gate, before) = (places.gate.take(), places.moves(None));
        drop(places);
        // First: whoever is next finds room at the instance.
        drop(before);
        gate
    }

    /// It waits for its client, once more. Tells the instance, if it is at one.
    pub(super) fn asks(&self) {
        let mut places = self.places();
        places.questions += 1;
        if places.questions == 1
            && let Some(instance) = &places.instance
        {
            instance.load().asks(true);
            places.asks = true;
        }
    }

    /// One question is open no more.
    pub(super) fn asked(&self) {
        let mut places = self.places();
        places.questions -= 1;
        if places.questions == 0 {
            places.asks_no_more();
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn moves(&mut self, to: Option<InFlight>) -> Option<InFlight> {
        self.asks_no_more();
        std::mem::replace(&mut self.instance, to)
    }

    fn asks_no_more(&mut self) {
        if std::mem::take(&mut self.asks)
            && let Some(instance) = &self.instance
        {
            instance.load().asks(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::Seat;
    use crate::plugin::instance::Load;

    #[test]
    fn an_instance_counts_it_until_it_leaves_whether_its_client_was_asked_or_not() {
        let (one, two) = (Load::new(Arc::new(Notify::new())), Load::new(Arc::new(Notify::new())));
        let seat = Seat::default();
        seat.goes_to(one.enter(1).unwrap(), false);
        assert!(one.is_busy(), "nobody was asked there");
        seat.asks();
        seat.asks();
        seat.asked();
        assert!(!one.is_busy() && one.inflight() == 1, "one question is open");
        seat.goes_to(two.enter(1).unwrap(), false);
        let other = one.enter(1).expect("there is room again");
        assert!(one.is_busy() && two.is_busy(), "what was asked at one instance is not counted at the next");
        drop(other);
        seat.asked();
        seat.asks();
        assert!(!two.is_busy());
        assert!(seat.leaves().is_none());
        seat.asked();
        let _next = two.enter(1).unwrap();
        assert!(two.is_busy() && one.inflight() == 0);
    }

    #[test]
    fn one_of_which_more_is_to_come_does_not_leave_with_its_answer() {
        let load = Load::new(Arc::new(Notify::new()));
        let seat = Seat::default();
        seat.goes_to(load.enter(1).unwrap(), true);
        assert!(seat.answered().is_none());
        assert_eq!(load.inflight(), 1);
        seat.leaves_instance();
        seat.goes_to(load.enter(1).unwrap(), false);
        assert!(seat.answered().is_none());
        assert_eq!(load.inflight(), 0);
    }
}
