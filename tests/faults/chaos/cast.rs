//! Who plays in the chaos: a dozen plugins of all dialects, some of them bad from birth.

use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::{Manifest, mock};

/// A plugin of the chaos.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) id: &'static str,
    manifest: Manifest,
}

impl Actor {
    /// Its manifest; each `edit` is another content of the same meaning.
    pub(super) fn manifest(&self, edit: u64) -> Manifest {
        // The old version is not kept for a minute: at the end nothing but what is listed may be there.
        self.manifest.clone().set("env.EDIT", edit.to_string()).set("upgrade.trial", "1s")
    }
}

/// All of them, each with a ledger of its own.
pub(super) fn all(setup: &Setup) -> Vec<Actor> {
    let sse_answers = ["--http-answer", "sse"];
    let cast: [(&str, Manifest, &[&str]); 12] = [
        ("calm", mock(), &[]),
        ("calm-http", mock_on_port("http"), &[]),
        ("calm-sse", mock_on_port("sse"), &[]),
        ("calm-post", mock_on_port("sse-post"), &[]),
        ("crashes", mock(), &["--crash-after-call", "40"]),
        ("crashes-http", mock_on_port("http"), &["--crash-at-call", "40"]),
        ("dirty", mock(), &["--garbage=7", "--garbage-at-call", "9", "--log-on-stdout"]),
        ("lies", mock(), &["--wrong-id=extra", "--answer-twice", "--unknown-notification"]),
        ("hangs", mock(), &["--hang-at-call", "15", "--one-at-a-time"]),
        ("closes", mock_on_port("http").args(sse_answers), &["--close-stdout-at-call", "20"]),
        ("forgets", mock_on_port("http"), &["--lose-sessions-after", "7"]),
        (
            "clings",
            mock(),
            &["--ignore-sigterm", "--ignore-stdin-close", "--fork-grandchild", "--flood-stderr", "1MiB/s"],
        ),
    ];
    let actor = |(id, manifest, faults): (&'static str, Manifest, &[&str])| {
        let manifest = manifest.args(faults.iter().copied()).arg("--ledger").path(&setup.scratch(id));
        // Everything happens sooner than by default, and nobody is quarantined for what the chaos does to it.
        let manifest = manifest.set("health.interval", "500ms").set("health.timeout", "500ms");
        let manifest = manifest.set("stop.grace", "200ms").set("stop.term", "300ms").set("stop.drain", "1s");
        let manifest = manifest.set("restart.quarantine_after", 1000).set("restart.quarantine_crashes", 1000);
        Actor { id, manifest: manifest.set("limits.queue_wait", "2s") }
    };
    cast.into_iter().map(actor).collect()
}
