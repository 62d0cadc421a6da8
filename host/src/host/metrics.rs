//! What `/metrics` says, walked through what lives at the moment of asking: of what is gone there is nothing to forget.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;
use wharf_core::breaker;
use wharf_core::lifecycle::State;
use wharf_core::meter::Meter;
use wharf_core::{Code, Moment, Outcome};

use super::{Host, Inner};
use crate::plugin::meters::{OTHER, label, place};
use crate::plugin::{InstanceHandle, PluginHandle};
use crate::process::usage::{self, Usage};
use crate::route::Failure;
use crate::telemetry::exposition::{Collector, Exposition, Samples, family};
use crate::telemetry::families as all;

/// How long the processes of all plugins are looked at; those that were not looked at by then are left out.
const LOOKING: Duration = Duration::from_secs(2);
/// How long a page may take, the wait behind others that read one included.
const PAGE: Duration = Duration::from_secs(8);

/// The page of one moment.
#[derive(Debug)]
struct Page {
    inner: Arc<Inner>,
    plugins: Vec<Arc<PluginHandle>>,
    /// By the id of the main process.
    usage: HashMap<u32, Usage>,
    own: usage::Own,
}

impl Host {
    /// All metrics, as Prometheus reads them. Not on the runtime: processes are looked at, and there may be many plugins.
    ///
    /// # Errors
    /// If it is not there in time, or the host is ending.
    pub async fn metrics(&self, how: Exposition) -> Result<String, Failure> {
        let late = || Failure::new(Code::Overloaded, format!("no page within {} s", PAGE.as_secs()));
        let bug =
            |why: String| Failure::new(Code::Internal, format!("the metrics could not be written: {why}"));
        let (inner, tasks) = (Arc::clone(&self.0), self.0.services.tasks.clone());
        let scrapes = Arc::clone(&inner.services.meters.scrapes);
        let reading = async move {
            // It goes with the work: who gives up waiting does not make room for more work of the kind.
            let leave = scrapes.acquire_owned().await;
            let page = move || {
                let _leave = leave;
                how.page(Page::of(inner))
            };
            tasks.blocking(page).await
        };
        let page = tokio::time::timeout(PAGE, reading).await.map_err(|_| late())?;
        page.map_err(|error| bug(error.to_string()))?.map_err(|error| bug(error.to_string()))
    }

    /// Counts a call that no plugin was asked for, for the reason that the failure says.
    pub(crate) fn turned_away(&self, plugin: &str, method: &str, failure: Failure) -> Failure {
        self.0.turned_away(self.0.table.load().get(plugin).map(|plugin| &**plugin), method, failure)
    }
}

impl Inner {
    /// Likewise. A tool that there is not has no label of its own.
    pub(super) fn turned_away(
        &self,
        plugin: Option<&PluginHandle>,
        method: &str,
        failure: Failure,
    ) -> Failure {
        let outcome = Outcome::Failed(failure.code);
        plugin.into_iter().for_each(|plugin| plugin.core.meters.failed(failure.code));
        let meter = match plugin.map(|plugin| &plugin.core.meters) {
            None => Some(&self.services.meters.astray),
            Some(meters) if failure.tool.is_some() => Some(&*meters.unlisted),
            Some(meters) => meters.method(place(method)),
        };
        meter.into_iter().for_each(|meter| meter.record(outcome, Duration::ZERO));
        failure
    }
}

impl Page {
    fn of(inner: Arc<Inner>) -> Self {
        let plugins = inner.shown();
        let until = Instant::now() + LOOKING;
        let pids = plugins.iter().flat_map(|plugin| instances(plugin)).filter_map(|one| one.now().pid);
        let usage =
            pids.take_while(|_| Instant::now() < until).filter_map(|pid| Some((pid, usage::of_tree(pid)?)));
        let usage = usage.collect();
        Self { plugins, usage, own: usage::own(), inner }
    }

    fn each(&self, mut write: impl FnMut(&str, &PluginHandle) -> fmt::Result) -> fmt::Result {
        self.plugins.iter().try_for_each(|plugin| write(plugin.core.id.as_str(), plugin))
    }

    fn each_instance(&self, mut write: impl FnMut([&str; 2], &InstanceHandle) -> fmt::Result) -> fmt::Result {
        self.each(|id, plugin| {
            instances(plugin).iter().try_for_each(|one| write([id, &one.n.to_string()], one))
        })
    }

    fn operations(&self, all: &mut Samples<'_>) -> fmt::Result {
        let call = label("tools/call");
        write(all, [call, OTHER, OTHER], &self.inner.services.meters.astray)?;
        self.each(|id, plugin| {
            let meters = &plugin.core.meters;
            for (name, meter) in meters.tools() {
                write(all, [call, id, &name], &meter)?;
            }
            write(all, [call, id, OTHER], &meters.unlisted)?;
            meters.others().try_for_each(|(method, meter)| write(all, [method, id, ""], meter))
        })
    }

    fn of_plugins(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family(to, &all::OPERATION, |all| self.operations(all))?;
        family(to, &all::STATE, |all| {
            self.each(|id, plugin| {
                let now = plugin.state();
                State::ALL.iter().try_for_each(|state| all.gauge(&[id, state.as_str()], truth(*state == now)))
            })
        })?;
        family(to, &all::UP, |all| {
            self.each(|id, plugin| {
                all.gauge(&[id], truth(matches!(plugin.state(), State::Ready | State::Degraded)))
            })
        })?;
        family(to, &all::RESTARTS, |all| {
            self.each(|id, plugin| {
                let mut restarts = plugin.core.meters.restarts();
                restarts.try_for_each(|(cause, count)| all.counter(&[id, cause.as_str()], count))
            })
        })?;
        family(to, &all::START, |all| {
            self.each(|id, plugin| all.histogram(&[id], &plugin.core.meters.starts.read()))
        })?;
        family(to, &all::REJECTED, |all| {
            self.each(|id, plugin| {
                let mut rejections = plugin.core.meters.rejections();
                rejections.try_for_each(|(reason, count)| all.counter(&[id, reason], count))
            })
        })?;
        family(to, &all::RETRIES, |all| {
            self.each(|id, plugin| {
                let mut counts = plugin.retries.counts().into_iter();
                counts.try_for_each(|(result, count)| all.counter(&[id, result], count))
            })
        })?;
        family(to, &all::STRAYS, |all| self.each(|id, plugin| all.counter(&[id], plugin.core.log.strays())))
    }

    fn of_instances(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family(to, &all::INFLIGHT, |all| {
            self.each_instance(|labels, one| all.gauge(&labels, number(one.load.inflight())))
        })?;
        family(to, &all::BREAKER, |all| {
            self.each_instance(|[plugin, instance], one| {
                let now = one.fuse.view().state;
                let states = [breaker::State::Closed, breaker::State::Open, breaker::State::HalfOpen];
                states
                    .into_iter()
                    .try_for_each(|state| all.gauge(&[plugin, instance, name_of(state)], truth(state == now)))
            })
        })?;
        family(to, &all::OPENINGS, |all| {
            self.each_instance(|labels, one| all.counter(&labels, one.fuse.view().opened))
        })?;
        family(to, &all::QUEUE, |all| {
            self.each(|id, plugin| {
                let own: u32 = plugin.owned().iter().map(|own| own.gate.crowd().waiting).sum();
                all.gauge(&[id], f64::from(plugin.gate.crowd().waiting + own))
            })
        })?;
        let usage = |one: &InstanceHandle| self.usage.get(&one.now().pid?);
        family(to, &all::RESIDENT, |all| {
            self.each_instance(|labels, one| match usage(one).and_then(|usage| usage.resident) {
                Some(bytes) => all.gauge(&labels, float(bytes)),
                None => Ok(()),
            })
        })?;
        family(to, &all::CPU, |all| {
            self.each_instance(|labels, one| match usage(one) {
                Some(usage) => all.counter(&labels, usage.cpu.as_secs_f64()),
                None => Ok(()),
            })
        })
    }

    fn of_host(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Inner { services, held, connections, .. } = &*self.inner;
        let sockets = [("tcp", &connections.tcp), ("unix", &connections.unix)];
        family(to, &all::RELOADS, |all| {
            services.meters.reloads().try_for_each(|(result, count)| all.counter(&[result], count))
        })?;
        family(to, &all::JOURNAL, |all| {
            let now = services.journal.view().state;
            ["ok", "failing", "off"]
                .into_iter()
                .try_for_each(|state| all.gauge(&[state], truth(state == now)))
        })?;
        family(to, &all::SESSIONS, |all| all.gauge(&[], number(services.visits.count())))?;
        family(to, &all::CONNECTIONS, |all| {
            sockets.iter().try_for_each(|(socket, crowd)| all.gauge(&[socket], number(crowd.open())))
        })?;
        family(to, &all::FULL, |all| {
            sockets.iter().try_for_each(|(socket, crowd)| all.counter(&[socket], crowd.full()))
        })?;
        family(to, &all::WAITING, |all| all.gauge(&[], number(held.bytes())))?;
        family(to, &all::CUT_OFF, |all| all.counter(&[], held.cut_off()))?;
        family(to, &all::BUILD, |all| all.gauge(&[env!("CARGO_PKG_VERSION")], 1.0))?;
        family(to, &all::OWN_RESIDENT, |all| all.gauge(&[], float(self.own.resident)))?;
        family(to, &all::OWN_CPU, |all| all.counter(&[], self.own.cpu.as_secs_f64()))?;
        family(to, &all::OWN_FILES, |all| all.gauge(&[], number(self.own.files)))?;
        let started = services.clock.wall(Moment::default()).duration_since(UNIX_EPOCH).unwrap_or_default();
        family(to, &all::OWN_START, |all| all.gauge(&[], started.as_secs_f64()))
    }
}

impl Collector for Page {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_plugins(&mut to)?;
        self.of_instances(&mut to)?;
        self.of_host(&mut to)
    }
}

/// The shared ones, then those of single sessions.
fn instances(plugin: &PluginHandle) -> Vec<InstanceHandle> {
    let own = plugin.owned();
    plugin.instances().iter().chain(own.iter().map(|own| &own.handle)).cloned().collect()
}

fn write(all: &mut Samples<'_>, [method, plugin, tool]: [&str; 3], meter: &Meter) -> fmt::Result {
    meter
        .read()
        .try_for_each(|(outcome, read)| all.histogram(&[method, plugin, tool, outcome.as_str()], &read))
}

fn name_of(state: breaker::State) -> &'static str {
    match state {
        breaker::State::Closed => "closed",
        breaker::State::Open => "open",
        breaker::State::HalfOpen => "half_open",
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn number(n: usize) -> f64 {
    float(n as u64)
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
fn float(n: u64) -> f64 {
    n as f64
}
