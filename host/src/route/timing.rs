//! How long a call took and how it ended, counted whatever becomes of it: one that is dropped was cancelled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::catalog::Tool;
use wharf_core::tool_error::says_error;
use wharf_core::{Code, Outcome};
use wharf_plugin_api::Reply;

use super::failure::Failure;
use super::spec::{CallSpec, Settled};
use crate::plugin::PluginHandle;
use crate::plugin::meters::place;

/// A call under way.
pub(super) struct Timing {
    what: What,
    plugin: Arc<PluginHandle>,
    started: Instant,
    is_over: bool,
}

/// Where it is counted.
enum What {
    Tool(Arc<Tool>),
    /// The method, by its place.
    Method(usize),
}

impl Timing {
    pub(super) fn of(
        spec: &CallSpec,
        tool: Option<&Arc<Tool>>,
        plugin: &Arc<PluginHandle>,
        started: Instant,
    ) -> Self {
        let what = match tool {
            Some(tool) => What::Tool(Arc::clone(tool)),
            None => What::Method(place(&spec.method)),
        };
        Self { what, plugin: Arc::clone(plugin), started, is_over: false }
    }

    /// It has ended.
    pub(super) fn end(mut self, ended: &Result<Settled, Failure>) {
        self.is_over = true;
        match ended {
            Ok(settled) => self.record(self.answered(&settled.reply), settled.duration),
            Err(failure) => {
                self.plugin.core.meters.failed(failure.code);
                self.record(Outcome::Failed(failure.code), self.started.elapsed());
            }
        }
    }

    fn answered(&self, reply: &Reply) -> Outcome {
        match (reply, &self.what) {
            (Reply::Error(_), _) => Outcome::RpcError,
            (Reply::Result(result), What::Tool(_)) if says_error(result) => Outcome::Failed(Code::ToolError),
            (Reply::Result(_), _) => Outcome::Ok,
        }
    }

    fn record(&self, outcome: Outcome, took: Duration) {
        match &self.what {
            What::Tool(tool) => tool.meter.record(outcome, took),
            What::Method(place) => {
                if let Some(meter) = self.plugin.core.meters.method(*place) {
                    meter.record(outcome, took);
                }
            }
        }
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Outcome::Failed(Code::Cancelled), self.started.elapsed());
        }
    }
}
