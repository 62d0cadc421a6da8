//! Whether the plugin has a network of its own.

use serde::{Deserialize, Serialize};
use wharf_plugin_api::Cause;

use super::{InForce, Wanted};
use crate::process::level::Level;
use crate::process::probe::Probe;

/// What network the shim makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkPlan {
    /// A network namespace of its own.
    pub(crate) apart: bool,
}

pub(super) fn plan(_: &Probe, _: Level, _: &Wanted<'_>, _: &mut InForce) -> Result<NetworkPlan, Cause> {
    Ok(NetworkPlan::default())
}
