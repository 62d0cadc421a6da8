//! How long a call took and how it ended, counted whatever becomes of it: one that is dropped was cancelled.

use std::time::Duration;

use tokio::time::Instant;
use wharf_core::tool_error::says_error;
use wharf_core::{Code, Outcome};
use wharf_plugin_api::Reply;

use super::call::Call;
use super::failure::Failure;
use super::spec::Settled;
use crate::plugin::meters::place;

/// A call under way. It is counted where its tool is, or its method.
pub(super) struct Timing<'a> {
    call: &'a Call,
    started: Instant,
    is_over: bool,
}

impl<'a> Timing<'a> {
    pub(super) fn of(call: &'a Call, started: Instant) -> Self {
        Self { call, started, is_over: false }
    }

    /// It has ended.
    pub(super) fn end(mut self, ended: &Result<Settled, Failure>) {
        self.is_over = true;
        match ended {
            Ok(settled) => self.record(self.answered(&settled.reply), settled.duration),
            Err(failure) => {
                self.call.to.plugin.core.meters.failed(failure.code);
                self.record(Outcome::Failed(failure.code), self.started.elapsed());
            }
        }
    }

    fn answered(&self, reply: &Reply) -> Outcome {
        match (reply, &self.call.to.tool) {
            (Reply::Error(_), _) => Outcome::RpcError,
            (Reply::Result(result), Some(_)) if says_error(result) => Outcome::Failed(Code::ToolError),
            (Reply::Result(_), _) => Outcome::Ok,
        }
    }

    fn record(&self, outcome: Outcome, took: Duration) {
        match &self.call.to.tool {
            Some(tool) => tool.meter.record(outcome, took),
            None => {
                if let Some(meter) = self.call.to.plugin.core.meters.method(place(&self.call.spec.method)) {
                    meter.record(outcome, took);
                }
            }
        }
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Outcome::Failed(Code::Cancelled), self.started.elapsed());
        }
    }
}
