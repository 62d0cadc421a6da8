//! A call in the book, from its begin to its one end: answered, failed, taken back, or left by its caller, who drops it.

use std::sync::Arc;

use tokio::time::Instant;
use wharf_core::Code;
use wharf_core::journal::{self, Outcome};
use wharf_plugin_api::{CallError, Delivery, Reply};

use super::audit::Remembered;
use super::call::Call;
use super::failure::Failure;
use super::routing::Routing;
use super::scope::CallScope;
use super::spec::Settled;
use super::trace::{About, CallTrace, End};
use crate::plugin::picking::Picked;

/// A call that is entered. Dropped before its end, it was left.
pub(super) struct Entered<'a> {
    trace: Arc<CallTrace>,
    routing: &'a Routing,
    ended: bool,
}

impl<'a> Entered<'a> {
    pub(super) fn new(call: &'a Call, begun: Instant) -> Self {
        let about = About {
            id: call.id,
            plugin: call.spec.plugin.clone(),
            tool: call.to.tool.clone(),
            method: match &*call.spec.method {
                // Of nearly every call: nothing to copy.
                "tools/call" => "tools/call".into(),
                _ => call.spec.method.clone(),
            },
            principal: Arc::clone(&call.spec.caller.principal),
            edge: call.spec.edge,
            durable: call.spec.durable,
            trace_id: call.spec.trace.as_ref().and_then(|trace| trace.trace_id()),
            keyed: call.spec.key.is_some(),
            arguments: Remembered::of(&call.spec.payload, call.to.manifest.audit.arguments),
        };
        let routing = &*call.to.routing;
        let trace = routing.book.enter(CallTrace::new(about, routing.clock, begun));
        Self { trace, routing, ended: false }
    }

    pub(super) fn trace(&self) -> &Arc<CallTrace> {
        &self.trace
    }

    /// What its caller is told if it is taken back.
    pub(super) fn taken_back(&self) -> Failure {
        let about = &self.trace.about;
        let detail = "the call was taken back by an operator (`POST /api/v1/calls/{id}/cancel`)";
        Failure {
            plugin: Some(about.plugin.as_str().into()),
            tool: self.trace.tool_name().map(Into::into),
            call_id: Some(about.id),
            delivery: Some(self.delivery()),
            ..Failure::new(Code::Cancelled, detail)
        }
    }

    /// It has ended so. Returns what is still to be written down, of a call that is durable.
    pub(super) fn ends(&mut self, outcome: &Result<Settled, Failure>) -> Option<journal::Settled> {
        let end = match outcome {
            Ok(settled) => End {
                outcome: Outcome::Answered,
                code: None,
                delivery: Delivery::Answered,
                after: settled.duration,
                bytes_out: match &settled.reply {
                    Reply::Result(result) => result.get().len(),
                    Reply::Error(error) => error.message.len(),
                },
            },
            Err(failure) => self.failed(failure.code, failure.delivery.unwrap_or_else(|| self.delivery())),
        };
        self.close(end)
    }

    fn failed(&self, code: Code, delivery: Delivery) -> End {
        let outcome = Outcome::of(code, delivery == Delivery::Unknown);
        End { outcome, code: Some(code), delivery, after: self.trace.begun().elapsed(), bytes_out: 0 }
    }

    /// Closes the page. Returns what is still to be written, durably.
    fn close(&mut self, end: End) -> Option<journal::Settled> {
        self.ended = true;
        let about = &self.trace.about;
        let written = self.trace.was_handed_over() || about.durable;
        let settled = written.then(|| self.trace.settled(&end));
        // First the book: what it holds for open, the journal carries on.
        self.routing.book.close(&self.trace, end);
        if about.durable {
            return settled;
        }
        if let Some(settled) = settled {
            self.routing.journal.settled(settled);
        }
        None
    }

    fn delivery(&self) -> Delivery {
        if self.trace.was_handed_over() { Delivery::Unknown } else { Delivery::Queued }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // That of a host which does not wait is left open: the next one finds it unknown.
        if !self.ended
            && !self.routing.calls.are_cut_off()
            && let Some(settled) = self.close(self.failed(Code::Cancelled, self.delivery()))
        {
            self.routing.journal.settled(settled);
        }
    }
}

impl Call {
    /// An attempt begins at this instance.
    pub(super) fn begins(&self, picked: &Picked, scope: &CallScope) {
        scope.trace().begins(picked.n, picked.generation, self.to.plugin.instance_count());
    }

    /// And has failed.
    pub(super) fn fails(&self, error: &CallError, scope: &CallScope) {
        // What a plugin says may hold its secrets, and be of any length.
        let detail = self.to.plugin.core.clean(&error.detail);
        scope.trace().fails(error.kind, error.delivery, detail);
    }
}
