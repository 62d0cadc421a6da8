//! Faults that take days: the pure machine of an instance's life on a simulated clock.

use std::time::Duration;

use wharf_core::Moment;
use wharf_core::lifecycle::{Context, Effect, Event, Machine, Policy, State};
use wharf_core::manifest::Restart;
use wharf_plugin_api::{Cause, CauseKind};

use crate::harness::{Case, Kind, millis};

/// An instance in a world where every start works, and that dies when it is told to.
struct Sim {
    machine: Machine,
    now: Moment,
    starts: u64,
    roll: u64,
}

impl Sim {
    fn up() -> Self {
        let policy = Policy {
            restart: Restart::default(),
            failures: 3,
            start_timeout: Duration::from_secs(30),
            prepare_timeout: Duration::from_secs(300),
            drain: Duration::from_secs(30),
            lazy: false,
            fetches: false,
            stop: Duration::from_secs(12),
        };
        let now = Moment::default();
        let mut sim = Self { machine: Machine::new(policy, true, now), now, starts: 0, roll: 7 };
        sim.send(Event::Start);
        sim
    }

    /// Tells the machine, and does what it wants done until it wants nothing.
    fn send(&mut self, event: Event) {
        let mut todo = vec![event];
        while let Some(event) = todo.pop() {
            // Any sequence serves; this one is the same each time.
            self.roll =
                self.roll.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let roll = f64::from(u32::try_from(self.roll >> 32).unwrap()) / f64::from(u32::MAX);
            let cx = Context { now: self.now, roll, last_serviceable: false };
            for effect in self.machine.on(event, cx) {
                match effect {
                    Effect::Prepare(g) => {
                        self.starts += 1;
                        todo.extend([Event::Prepared(g), Event::Admitted(g)]);
                    }
                    Effect::Open(g) => todo.push(Event::Opened(g)),
                    Effect::Prove(g) => todo.push(Event::Proven(g)),
                    Effect::Close(g) | Effect::CancelOpen(g) => {
                        todo.push(Event::Closed(g, Cause::new(CauseKind::Requested, "as asked")));
                    }
                    Effect::Serve(_) | Effect::Suspend(_) => {}
                }
            }
        }
    }

    /// Lets time pass; timers fire when they are due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.send(Event::Tick);
        }
        self.now = end;
    }

    fn crash(&mut self) {
        let cause = Cause::new(CauseKind::Exited, "it crashed");
        self.send(Event::Closed(self.machine.generation(), cause));
    }

    fn probed(&mut self, ok: bool) {
        self.send(Event::Probed { generation: self.machine.generation(), ok, busy: false });
    }

    /// Waits until it is up again; how long that was.
    fn back(&mut self) -> Duration {
        let begun = self.now;
        while self.machine.state() != State::Ready {
            let at = self.machine.next_deadline().expect("it never gives up");
            self.pass(at - self.now);
        }
        self.now - begun
    }
}

/// Fault: a crash each 11 minutes for 30 days. Expected: the delay stays at its first step: the count of failures decays
/// while it works.
#[test]
fn f03_a_crash_now_and_then() {
    let mut case = Case::begin("F03", Kind::Model, "a crash each 11 min for 30 days");
    let mut sim = Sim::up();
    let (mut crashes, mut longest) = (0, Duration::ZERO);
    while sim.now.since_start() < Duration::from_secs(30 * 86_400) {
        sim.pass(Duration::from_secs(11 * 60));
        sim.crash();
        crashes += 1;
        longest = longest.max(sim.back());
    }
    assert!(crashes > 3900 && longest <= Duration::from_millis(750), "{crashes} crashes, {longest:?}");
    case.figure("crashes", crashes);
    case.time("longest delay", longest);
}

/// Fault: a crash each 5 s for a day. Expected: quarantined, a few hundred starts (one each five minutes), never given up.
#[test]
fn f04_a_crash_loop_for_a_day() {
    let mut case = Case::begin("F04", Kind::Model, "a crash 5 s after each start for a day");
    let mut sim = Sim::up();
    let mut quarantined = None;
    while sim.now.since_start() < Duration::from_secs(86_400) {
        sim.pass(Duration::from_secs(5));
        sim.crash();
        if sim.machine.state() == State::Quarantined {
            quarantined.get_or_insert(sim.now.since_start());
        }
        sim.back();
    }
    assert!(sim.machine.is_quarantined());
    assert!((250..=330).contains(&sim.starts), "{} starts", sim.starts);
    case.figure("starts", sim.starts);
    case.figure("quarantined after", millis(quarantined.unwrap()));
}

/// Fault: the machine sleeps for an hour, or somebody sets the wall clock by a day. Expected: no restart of what works,
/// no timer that lies in the past. The machine is told no wall clock at all, so only the sleep can be seen: as one step
/// of an hour, after which every timer is due at once and every probe under way was missed.
#[test]
fn f68_a_machine_that_slept() {
    let mut case = Case::begin("F68", Kind::Model, "an hour's sleep of 60 instances");
    let mut fleet: Vec<Sim> = (0..60).map(|_| Sim::up()).collect();
    for sim in &mut fleet {
        sim.pass(Duration::from_secs(5));
        sim.probed(true);
    }
    // Ten are down and wait for their next start.
    for sim in &mut fleet[50..] {
        sim.crash();
        assert_eq!(sim.machine.state(), State::Backoff);
    }
    let starts: Vec<_> = fleet.iter().map(|sim| sim.starts).collect();
    for sim in &mut fleet {
        sim.now = sim.now + Duration::from_secs(3600);
        sim.send(Event::Tick);
        sim.probed(false);
        sim.probed(true);
        sim.probed(true);
        assert!(sim.machine.next_deadline().is_none_or(|at| at > sim.now), "a timer in the past");
        assert_eq!(sim.machine.state(), State::Ready);
    }
    let fresh = |sims: &[Sim], before: &[u64]| {
        sims.iter().zip(before).map(|(sim, was)| sim.starts - was).sum::<u64>()
    };
    assert_eq!(fresh(&fleet[..50], &starts[..50]), 0, "nobody who worked is restarted");
    assert_eq!(fresh(&fleet[50..], &starts[50..]), 10, "who waited is started once");
    case.figure("restarts of 50 that worked", 0);
    case.figure("starts of 10 that waited", 10);
}
