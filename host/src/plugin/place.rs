//! A supervisor before its place is free: nothing starts there until what had it before is gone.

use tokio::sync::mpsc;
use wharf_core::lifecycle::Event;

use super::instance::{Command, Predecessors};
use super::supervisor::Supervisor;

impl Supervisor {
    /// Waits until the place is free, and takes commands meanwhile. Returns the event to begin with.
    pub(super) async fn wait(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        before: Predecessors,
        up: bool,
    ) -> Option<Event> {
        let mut first = up.then_some(Event::Start);
        let gone = before.gone();
        tokio::pin!(gone);
        loop {
            tokio::select! {
                last = &mut gone => {
                    self.machine.succeed(last);
                    return first;
                }
                command = commands.recv(), if !self.retiring => match command {
                    Some(Command::Operator(event, shown)) => {
                        if matches!(event, Event::Start | Event::Restart | Event::Enable) {
                            first = Some(event);
                        } else {
                            first = None;
                            self.on(event);
                        }
                        // Whoever asked may have gone.
                        shown.send(()).ok();
                    }
                    Some(Command::Configure { setup, renew }) => {
                        self.next_setup = Some(setup);
                        if renew && self.machine.is_asleep() {
                            // What is remembered is of something else.
                            first = Some(Event::Wake);
                        }
                    }
                    Some(Command::Retire(_) | Command::Dismiss(_)) | None => {
                        self.retiring = true;
                        first = None;
                    }
                },
            }
        }
    }
}
