//! A plugin of ours that listens: its port, the one way to it, and what is said when somebody else takes its place.

use std::sync::Arc;

use futures_util::FutureExt as _;
use wharf_core::manifest::{Command, Late, PortChoice};
use wharf_plugin_api::{Cause, CauseKind, Launch};

use super::Common;
use crate::dialect::way::Dial;
use crate::dialect::{Endpoint, Options};
use crate::process::ProcessHandle;
use crate::process::ports::{self, Door, PortLease, Stranger, wait_listening};

/// The way to a launch that listens, known to health probes until this is dropped.
pub(super) struct OpenDoor {
    door: Door,
    common: Common,
    instance: u32,
    generation: u64,
}

/// Gives the port of an instance, if it has one. Blocks.
pub(super) fn lease(command: &Command, apart: bool, instance: u32) -> Result<Option<PortLease>, Cause> {
    let give = if apart { ports::lease_apart } else { ports::lease };
    command.port.map(|choice| give(choice, instance)).transpose()
}

/// The port that it shall listen on: the one it is given, or that of its address.
pub(super) fn port(common: &Common, command: &Command, late: Late) -> Option<u16> {
    let of_url = || {
        let url = command.url.as_ref()?.render(late);
        Endpoint::new(&url, &[], &common.services.http).ok()?.port()
    };
    late.port.or_else(of_url)
}

/// Resolves if somebody else is found where it listens.
pub(super) async fn taken(door: Option<&OpenDoor>) -> Cause {
    match door {
        Some(door) => door.taken().await,
        None => std::future::pending().await,
    }
}

/// The cause of a launch that failed, if a stranger on its port is to blame; tells of the stranger then. Nobody can be on
/// a port of a network of its own.
pub(super) async fn blamed(common: &Common, cause: Cause, port: Option<u16>, launch: &Launch) -> Cause {
    let Some(port) = port.filter(|_| !common.manifest.sandbox.is_apart()) else { return cause };
    let cause = ports::blamed(port, cause, &common.services.tasks).await;
    if cause.kind == CauseKind::PortInUse {
        tell_of_stranger(common, port, launch.instance, launch.generation).await;
    }
    cause
}

/// Tells of a stranger on the port that an instance should have, if there is one who is none of ours.
pub(super) async fn tell_of_stranger(common: &Common, port: u16, instance: u32, generation: u64) {
    let found = common.services.tasks.blocking(move || ports::stranger(port)).await;
    if let Some(stranger) = found.ok().flatten() {
        tell(common, &stranger, instance, generation);
    }
}

/// The fixed port of an instance.
pub(super) fn fixed(command: &Command, instance: u32) -> Option<u16> {
    match command.port {
        Some(PortChoice::Fixed(first)) => first.checked_add(u16::try_from(instance).ok()?),
        Some(PortChoice::Auto) | None => None,
    }
}

fn tell(common: &Common, stranger: &Stranger, instance: u32, generation: u64) {
    let line = format!("{stranger} listens on {}, where this plugin should", stranger.address);
    tracing::warn!(plugin = %common.label, instance, generation, "{line}");
    common.log.append(instance, generation, "wharf", &line);
    let data = serde_json::json!({
        "plugin": &*common.label, "instance": instance, "generation": generation, "by": stranger,
    });
    common.services.events.publish("plugin.squatted", data);
}

// === impl OpenDoor ===

impl OpenDoor {
    /// Waits until the process listens.
    pub(super) async fn find(
        common: &Common,
        process: &ProcessHandle,
        port: u16,
        options: &Options,
    ) -> Result<Self, Cause> {
        let tasks = &common.services.tasks;
        let door = wait_listening(port, process, options.handshake_deadline, tasks).await?;
        common.services.doors.put(&door);
        let (common, instance, generation) = (common.clone(), options.instance, options.generation);
        Ok(Self { door, common, instance, generation })
    }

    pub(super) fn at(&self) -> std::net::SocketAddr {
        self.door.address()
    }

    /// Makes connections there.
    pub(super) fn dial(&self) -> Dial {
        let door = self.door.clone();
        Arc::new(move || {
            let door = door.clone();
            Box::pin(async move { door.connect().await })
        })
    }

    /// Resolves when somebody else was found listening there; it is told then.
    async fn taken(&self) -> Cause {
        let stranger = self.door.squatted().await;
        tell(&self.common, &stranger, self.instance, self.generation);
        let detail =
            format!("{stranger} listens on {}, where the plugin did; nothing was sent to it", self.at());
        Cause::new(CauseKind::Squatted, detail)
    }

    /// The cause of a connection's failure, with a better one if there is one.
    pub(super) fn explained(&self, cause: Cause) -> Cause {
        self.taken().now_or_never().unwrap_or(cause)
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.common.services.doors.remove(&self.door);
    }
}
