//! What a supervisor does with a command.

use wharf_core::lifecycle::{Event, Policy};

use super::instance::Command;
use super::supervisor::Supervisor;

impl Supervisor {
    pub(super) fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Operator(event, shown)) => {
                self.on(event);
                // Whoever asked may have gone.
                shown.send(()).ok();
            }
            Some(Command::Configure { setup, renew: true }) => {
                self.next_setup = Some(setup);
                self.on(Event::Renew);
                self.reconsider_sleep(true);
            }
            Some(Command::Configure { setup, renew: false }) => {
                self.machine.set_policy(Policy::from(&*setup.manifest));
                self.fuse.set_rules(setup.manifest.breaker.clone());
                self.setup.manifest = setup.manifest.clone();
                self.next_setup = Some(setup);
                self.schedule_probe();
                self.reconsider_sleep(false);
            }
            Some(Command::Leave(why)) => {
                self.retiring = true;
                self.on(Event::Leave(why));
            }
            Some(Command::Retire(why)) => {
                self.retiring = true;
                self.on(Event::Retire(why));
            }
            None => {
                self.retiring = true;
                self.on(Event::Retire("nobody needs it any more"));
            }
        }
    }
}
