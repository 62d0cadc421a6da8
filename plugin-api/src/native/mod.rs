//! The C ABI of native plugins: a message pipe.
//!
//! A library exports four functions. A message is one JSON-RPC message as UTF-8 bytes, without a line end.
//!
//! ```c
//! uint32_t wharf_abi_version(void);                                    // 1
//! typedef void (*wharf_send)(void *ctx, const uint8_t *message, size_t length);
//! void *wharf_open(wharf_send send, void *ctx);                        // a handle, or NULL: refused
//! void  wharf_receive(void *handle, const uint8_t *message, size_t length);
//! void  wharf_close(void *handle);
//! ```
//!
//! The contract:
//!
//! * **Memory.** Nothing is freed across the border. A buffer is valid only during the call that it is passed to; whoever
//!   receives it copies what it keeps. `ctx` belongs to the host, the handle to the library.
//! * **The library's threads.** `send` may be called from any thread, from several at once, and from inside
//!   `wharf_receive`, until `wharf_close` returns. After that it is never called. `send` does not unwind and does not call
//!   the library.
//! * **The host's threads.** `wharf_receive` may be called from any thread and from several at once. `wharf_close` is called
//!   once, at the same time as no other call with this handle, and the handle is not used after it.
//! * **Time.** `wharf_receive` returns soon; work goes on elsewhere. `wharf_close` lets work in flight end, within seconds.
//! * **Failure.** No function unwinds: a panic or an exception is caught inside the library. The library says on stderr
//!   why it refused to open.
//! * **Loading.** A library is loaded into a process of its own and never unloaded.
//! * **Versions.** Any change of the above is another version, and a host refuses a version that it does not know.
//!
//! An author in Rust writes [`export_native!`](crate::export_native) and a function that builds a server; the host's side
//! is [`Peer`].

#![allow(unsafe_code, reason = "the border to code that Rust cannot check; every block says why it is sound")]

use std::ffi::c_void;

mod library;
mod peer;

pub use library::{Native, close, open, receive};
pub use peer::{OpenRefused, Peer};

/// The version of the ABI that this crate speaks.
pub const ABI_VERSION: u32 = 1;

/// The names of the four exported functions, as the loader wants them.
pub mod symbol {
    /// See [`AbiVersionFn`](super::AbiVersionFn).
    pub const ABI_VERSION: &str = "wharf_abi_version";
    /// See [`OpenFn`](super::OpenFn).
    pub const OPEN: &str = "wharf_open";
    /// See [`ReceiveFn`](super::ReceiveFn).
    pub const RECEIVE: &str = "wharf_receive";
    /// See [`CloseFn`](super::CloseFn).
    pub const CLOSE: &str = "wharf_close";
}

/// The host's function that takes a library's messages.
pub type SendFn = unsafe extern "C" fn(ctx: *mut c_void, message: *const u8, length: usize);
/// `wharf_abi_version`
pub type AbiVersionFn = unsafe extern "C" fn() -> u32;
/// `wharf_open`. The option is C's pointer that may be NULL.
pub type OpenFn = unsafe extern "C" fn(send: Option<SendFn>, ctx: *mut c_void) -> *mut c_void;
/// `wharf_receive`
pub type ReceiveFn = unsafe extern "C" fn(handle: *mut c_void, message: *const u8, length: usize);
/// `wharf_close`
pub type CloseFn = unsafe extern "C" fn(handle: *mut c_void);

/// The functions of one library, after its version was checked.
#[derive(Clone, Copy, Debug)]
pub struct Exports {
    /// `wharf_open`
    pub open: OpenFn,
    /// `wharf_receive`
    pub receive: ReceiveFn,
    /// `wharf_close`
    pub close: CloseFn,
}

/// Exports the four functions of the ABI. `$build` is a path to a `fn() -> T` where `T` is a
/// [`Server`](crate::author::Server) or any other [`Native`].
///
/// ```
/// use wharf_plugin_api::author::{Server, Tool};
///
/// fn build() -> Server {
///     Server::new("hello", "1.0.0").tool(Tool::new("hello", "Greets"), |_| Ok("hello"))
/// }
///
/// wharf_plugin_api::export_native!(build);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_native {
    ($build:path) => {
        const _: () = {
            use $crate::native::{ABI_VERSION, SendFn};

            #[unsafe(no_mangle)]
            extern "C" fn wharf_abi_version() -> u32 {
                ABI_VERSION
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn wharf_open(
                send: ::core::option::Option<SendFn>,
                ctx: *mut ::core::ffi::c_void,
            ) -> *mut ::core::ffi::c_void {
                // SAFETY: the host keeps the contract of the ABI, which is that of `open`.
                unsafe { $crate::native::open(|| $build(), send, ctx) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn wharf_receive(
                handle: *mut ::core::ffi::c_void,
                message: *const u8,
                length: usize,
            ) {
                // SAFETY: the handle is from `wharf_open` above, and the host keeps the contract of the ABI.
                unsafe { $crate::native::receive(handle, message, length) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn wharf_close(handle: *mut ::core::ffi::c_void) {
                // SAFETY: the handle is from `wharf_open` above, and the host keeps the contract of the ABI.
                unsafe { $crate::native::close(handle) }
            }
        };
    };
}

#[cfg(test)]
mod tests;
