//! The host's side of the ABI: a safe handle on one opened library.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Exports;
use crate::pipe::{Pipe, Sink};

/// One opened library. Closed when dropped.
#[derive(Debug)]
pub struct Peer {
    exports: Exports,
    handle: *mut c_void,
    inbound: &'static Inbound,
}

/// The library returned no handle; it says why on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the library refused to open; it says why on its stderr")]
pub struct OpenRefused;

/// What `ctx` points to. Leaked on purpose, a few bytes for each open: a library that breaks the contract and sends after
/// it was closed then finds a shut door and no freed memory.
struct Inbound {
    sink: Sink,
    open: AtomicBool,
}

// SAFETY: the contract says that a library takes calls from any thread; the handle is only passed back to it.
unsafe impl Send for Peer {}
// SAFETY: the contract says that `wharf_receive` may be called from several threads at once. `wharf_close` is called by
// `drop` alone, which excludes every other use.
unsafe impl Sync for Peer {}

impl Peer {
    /// Opens a library; its messages go to `sink`.
    ///
    /// # Safety
    /// The functions are those of one library that speaks [`ABI_VERSION`](super::ABI_VERSION) and is never unloaded.
    ///
    /// # Errors
    /// If the library refuses.
    pub unsafe fn open(exports: Exports, sink: Sink) -> Result<Self, OpenRefused> {
        let inbound: &'static Inbound = Box::leak(Box::new(Inbound { sink, open: AtomicBool::new(true) }));
        let ctx = std::ptr::from_ref(inbound).cast_mut().cast();
        // SAFETY: the caller vouches for the function; `take` keeps the contract of `send`, and `ctx` lives for ever.
        let handle = unsafe { (exports.open)(Some(take), ctx) };
        if handle.is_null() {
            inbound.open.store(false, Ordering::Release);
            return Err(OpenRefused);
        }
        Ok(Self { exports, handle, inbound })
    }
}

impl Pipe for Peer {
    fn receive(&self, message: &[u8]) {
        // SAFETY: the handle is from this library's `open` and not closed while `self` lives; the slice outlives the call.
        unsafe { (self.exports.receive)(self.handle, message.as_ptr(), message.len()) }
    }

    /// The library closes when the peer is dropped, since nothing may be received after that.
    fn close(&self) {}
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: the handle is from this library's `open`, and `drop` has the only use of it, once.
        unsafe { (self.exports.close)(self.handle) }
        self.inbound.open.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").field("open", &self.open).finish_non_exhaustive()
    }
}

/// The `send` that libraries are given.
unsafe extern "C" fn take(ctx: *mut c_void, message: *const u8, length: usize) {
    if ctx.is_null() || message.is_null() {
        return;
    }
    // SAFETY: `ctx` is what `Peer::open` passed: a leaked `Inbound`.
    let inbound = unsafe { &*ctx.cast::<Inbound>() };
    if inbound.open.load(Ordering::Acquire) {
        // SAFETY: the library passes a buffer of this length that lives during this call; it is not null.
        let message = unsafe { std::slice::from_raw_parts(message, length) };
        // Unwinding into the library would end the process; a sink that panics loses this message only.
        catch_unwind(AssertUnwindSafe(|| (inbound.sink)(message))).ok();
    }
}
