//! What the program that embeds a host brings itself: a plugin of its own, or a wrapper around one that a manifest declares.
//! Here both are only carried; two are the same if they are one object.

use std::fmt;
use std::sync::Arc;

use wharf_plugin_api::Plugin;

/// A plugin that the embedding program made.
#[derive(Clone)]
pub struct Embedded(pub Arc<dyn Plugin>);

/// What the embedding program puts around a plugin that a manifest declares.
#[derive(Clone)]
pub struct Wrapper(pub Arc<Wrap>);

/// From the plugin that the manifest declares to the one that the host runs.
pub type Wrap = dyn Fn(Arc<dyn Plugin>) -> Arc<dyn Plugin> + Send + Sync;

// === impl Embedded ===

impl PartialEq for Embedded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

// === impl Wrapper ===

impl Wrapper {
    /// One that makes a `P` of the plugin that the manifest declares.
    pub fn new<P: Plugin + 'static>(make: impl Fn(Arc<dyn Plugin>) -> P + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |inner| Arc::new(make(inner))))
    }
}

impl PartialEq for Wrapper {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrapper")
    }
}
