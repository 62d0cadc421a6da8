//! Which mechanism holds which limit.

use serde::{Deserialize, Serialize};

use super::{InForce, Wanted};
use crate::process::level::Level;
use crate::process::probe::Probe;

/// The limits that the shim sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitsPlan {}

pub(super) fn plan(_: &Probe, _: Level, _: &Wanted<'_>, _: &mut InForce) -> LimitsPlan {
    LimitsPlan {}
}
