//! What the effects of a supervisor answer with.

use std::sync::Arc;

use wharf_core::Generation;
use wharf_core::breaker::Ending;
use wharf_plugin_api::{Cause, Link};

use super::prove::Proof;
use super::services::Leave;

/// What an effect came to.
pub(super) enum Outcome {
    Admitted(Generation, Leave),
    Prepared(Generation),
    PrepareFailed(Generation, Cause),
    Opened(Generation, Arc<dyn Link>),
    OpenFailed(Generation, Cause),
    Proven(Generation, Proof),
    ProofFailed(Generation, Cause),
    Probed(Generation, bool),
    /// What the breaker's probe came to, in this epoch.
    Tried(Generation, u64, Ending),
    /// `Link::close` returned: nothing of it is left.
    Closed(Generation),
    /// The lists were read again while it serves.
    Relisted(Generation, Option<Proof>),
}
