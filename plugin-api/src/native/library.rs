//! The library's side of the ABI: what the exported functions do. Nothing unwinds out of here.

use std::ffi::c_void;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use super::SendFn;
use crate::author::Server;
use crate::jsonrpc::{self, Message, Reply, RpcError};
use crate::pipe::{Pipe, Sink};

/// What a library can serve: a [`Server`], or a message pipe of the author's own.
pub trait Native {
    /// Opens a pipe that answers through `sink`.
    ///
    /// # Errors
    /// Why it cannot; written to stderr.
    fn open(self, sink: Sink) -> Result<Box<dyn Pipe>, String>;
}

impl Native for Server {
    fn open(self, sink: Sink) -> Result<Box<dyn Pipe>, String> {
        match Self::open(self, sink) {
            Ok(session) => Ok(Box::new(session)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a handle points to.
struct Opened {
    pipe: Box<dyn Pipe>,
    gate: Arc<Gate>,
}

/// The way to the host, until it is shut. A sender holds it open for reading; shutting waits for those and lets no other in.
struct Gate(RwLock<Option<Host>>);

struct Host {
    send: SendFn,
    ctx: *mut c_void,
}

// SAFETY: the contract says that `send` may be called from any thread, and `ctx` is only passed to it.
unsafe impl Send for Host {}
// SAFETY: the contract says that `send` may be called from several threads at once.
unsafe impl Sync for Host {}

impl Gate {
    fn send(&self, message: &[u8]) {
        if let Some(host) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the pointer and length are those of a slice that lives during the call, and the gate is open, so
            // `wharf_close` has not returned.
            unsafe { (host.send)(host.ctx, message.as_ptr(), message.len()) }
        }
    }

    fn shut(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What `wharf_open` does: null if there is nothing to send to, or if `build` fails or panics.
///
/// # Safety
/// `send` and `ctx` are as the ABI says, until [`close`] of the handle returns.
pub unsafe fn open<N: Native>(
    build: impl FnOnce() -> N,
    send: Option<SendFn>,
    ctx: *mut c_void,
) -> *mut c_void {
    let Some(send) = send else {
        complain("wharf_open was called without a function to send with");
        return std::ptr::null_mut();
    };
    let gate = Arc::new(Gate(RwLock::new(Some(Host { send, ctx }))));
    let out = Arc::clone(&gate);
    let opened =
        catch_unwind(AssertUnwindSafe(|| build().open(Arc::new(move |message: &[u8]| out.send(message)))));
    match opened {
        Ok(Ok(pipe)) => Box::into_raw(Box::new(Opened { pipe, gate })).cast(),
        Ok(Err(why)) => {
            gate.shut();
            complain(&why);
            std::ptr::null_mut()
        }
        Err(_) => {
            gate.shut();
            complain("the library panicked while it opened");
            std::ptr::null_mut()
        }
    }
}

/// What `wharf_receive` does. A panic is answered as an internal error where the message was a request.
///
/// # Safety
/// `handle` is from [`open`] and not closed; `message` and `length` are a buffer that lives during this call.
pub unsafe fn receive(handle: *mut c_void, message: *const u8, length: usize) {
    if handle.is_null() || message.is_null() {
        return;
    }
    // SAFETY: the caller passes a handle from `open` that is not closed, and does not close it during this call.
    let opened = unsafe { &*handle.cast::<Opened>() };
    // SAFETY: the caller passes a buffer of this length that lives during this call; it is not null.
    let message = unsafe { std::slice::from_raw_parts(message, length) };
    if catch_unwind(AssertUnwindSafe(|| opened.pipe.receive(message))).is_err() {
        complain("the library panicked while it received a message");
        if let Ok(Message::Request { id, .. }) = jsonrpc::parse(message) {
            let error =
                RpcError::new(RpcError::INTERNAL, "the library panicked while it received this message");
            opened.gate.send(&jsonrpc::response(&id, &Reply::Error(error)));
        }
    }
}

/// What `wharf_close` does: lets what is in flight end, then shuts the way to the host and frees the handle.
///
/// # Safety
/// `handle` is from [`open`], and neither used at the same time nor after this.
pub unsafe fn close(handle: *mut c_void) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the caller passes a handle that `open` made from a box, and passes it here once.
    let opened = unsafe { Box::from_raw(handle.cast::<Opened>()) };
    if catch_unwind(AssertUnwindSafe(|| opened.pipe.close())).is_err() {
        complain("the library panicked while it closed");
    }
    opened.gate.shut();
    // An author's `Drop` may panic too.
    if catch_unwind(AssertUnwindSafe(|| drop(opened))).is_err() {
        complain("the library panicked while it was freed");
    }
}

fn complain(what: &str) {
    // Without stderr there is nobody to tell.
    writeln!(io::stderr(), "{what}").ok();
}
