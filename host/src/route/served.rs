//! A call that has its turn, and what it needs at its plugin.

use std::sync::Arc;

use tokio::time::Instant;
use wharf_plugin_api::{Request, Trace};

use super::allowance::Allowance;
use super::call::Call;
use super::failure::Failure;
use super::scope::CallScope;
use super::spec::{CallEvent, Settled};
use super::trace::CallTrace;
use crate::late;
use crate::plugin::asks::Asks;
use crate::plugin::own::Lane;

/// A call at its plugin. Made when it has its turn, for there are far fewer of these than calls that wait for theirs: what it
/// takes is memory that the one before has just left.
pub(super) struct Served<'a> {
    pub(super) call: &'a Call,
    pub(super) lane: &'a Lane,
    pub(super) request: Request,
    pub(super) scope: Arc<CallScope>,
    started: Instant,
    /// How long it waits for an instance.
    pub(super) patience: Instant,
}

/// The times of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) started: Instant,
    /// For its turn and for an instance together.
    pub(super) patience: Instant,
    pub(super) deadline: Instant,
}

/// To whom a call may speak: what it says on its way, and whom it asks.
pub(super) type Client = (Option<late::Sender<CallEvent>>, Option<Asks>);

impl Call {
    /// What of its caller's trace goes to the plugin.
    pub(super) fn context(&self) -> Option<Trace> {
        self.spec.trace.as_ref().and_then(|trace| trace.told())
    }
}

impl<'a> Served<'a> {
    pub(super) fn new(
        call: &'a Call,
        lane: &'a Lane,
        request: Request,
        times: Times,
        client: Client,
        trace: &Arc<CallTrace>,
    ) -> Self {
        let Times { started, patience, deadline } = times;
        let (spec, limits) = (&call.spec, &call.to.manifest.limits);
        // Where the caller set no time, progress that it hears of begins it anew.
        let (events, asks) = &client;
        let idle = (spec.timeout.is_none() && events.is_some()).then_some(limits.call_timeout.0);
        // Only who can be asked, or told of progress, may take longer than was given.
        let longer = asks.is_some() || idle.is_some();
        let latest = if longer { started + limits.max_timeout.0 } else { deadline };
        let time = Allowance::new(deadline, latest).renewed_by_progress(idle);
        let (to, record) = ((Arc::clone(&call.to), lane.clone()), (Arc::clone(trace), call.context()));
        let scope = CallScope::new(spec.caller.clone(), time, (client, spec.progress), to, record);
        Self { call, lane, request, scope: Arc::new(scope), started, patience }
    }

    /// Runs it to its answer.
    pub(super) async fn run(&self) -> Result<Settled, Failure> {
        let (picked, reply) = self.attempts().await?;
        let duration = self.started.elapsed();
        let (instance, era) = (picked.n, picked.link.hello().era());
        drop(picked);
        let undeclared = self.scope.undeclared();
        Ok(Settled { call_id: self.call.id, instance, duration, reply, era, undeclared, replayed: false })
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // The scope may outlive the call (its key, a question); its places must not.
        self.scope.leaves();
    }
}
