//! The memory that the program's pieces are made in: jemalloc, chosen by measurement. A call makes many small pieces, and with
//! the system's allocator they cost a fifth of it.
//!
//! What is freed last is given first, from a list kept beside the pieces: the next call finds its memory in the processor's
//! cache, and nothing of a piece is read before it is used. An allocator that goes through all pieces of a page before it
//! begins anew (as mimalloc, used here before) makes 32 calls at a time touch more than the cache of a core holds.

#![allow(unsafe_code, reason = "the name by which the library finds its settings is the program's to give")]

use std::ffi::c_char;

/// jemalloc, as the global allocator of a program.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// A pointer that threads may share, as what it points to never changes.
#[repr(transparent)]
#[derive(Debug)]
pub struct Settings(*const c_char);

// SAFETY: it points to a constant.
unsafe impl Sync for Settings {}

/// - Two arenas: the host has few threads that allocate, and what one of them frees another may use.
/// - What is free is given back to the system after half a second, at once and whole.
/// - No huge pages: one would hold what hundreds of small ones did not need.
/// - Pieces of up to 16 KiB are kept for their thread: the buffers of a connection among them.
// SAFETY: the library's own prefix; nobody else defines it.
#[unsafe(no_mangle)]
#[used]
pub static _rjem_malloc_conf: Settings =
    Settings(c"narenas:2,dirty_decay_ms:500,muzzy_decay_ms:0,thp:never,metadata_thp:disabled,tcache_max:16384".as_ptr());
