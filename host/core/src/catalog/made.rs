//! A place with a tool for what somebody has made of its definition. It does not keep that alive, and knows not what it is.

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

/// Where something is found again without a look for it, as long as its maker keeps it.
#[derive(Debug, Default)]
pub struct Made(OnceLock<Weak<dyn Any + Send + Sync>>);

impl Made {
    /// What was put here, if it is of this type and still kept.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get()?.upgrade()?.downcast().ok()
    }

    /// Puts it here. Only the first ever is found.
    pub fn put<T: Any + Send + Sync>(&self, made: &Arc<T>) {
        let made: Weak<T> = Arc::downgrade(made);
        self.0.set(made).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Made;

    #[test]
    fn it_is_found_as_what_it_is_while_it_is_kept() {
        let (made, kept) = (Made::default(), Arc::new(7_u8));
        assert_eq!(made.get::<u8>(), None);
        made.put(&kept);
        assert!(Arc::ptr_eq(&made.get::<u8>().unwrap(), &kept));
        assert_eq!(made.get::<u16>(), None);
        drop(kept);
        assert_eq!(made.get::<u8>(), None);
    }
}
