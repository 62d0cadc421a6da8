//! The memory that the program's pieces are made in: mimalloc, chosen by measurement. A call makes many small pieces, and the
//! system's allocator cost a fifth of it.
//!
//! The library's own wrapper asks for each piece by its alignment. For a size that is no power of two that is the slow way
//! whenever no free piece is at hand, and each time above 1 KiB: it takes more and cuts off what is too much. Nearly nothing
//! needs more than the library gives anyway, and so is asked for plainly.

#![allow(unsafe_code, reason = "what all memory comes from cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc, as the global allocator of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// The alignment that a piece of at least this size has without being asked (`MI_MAX_ALIGN_SIZE`); one that is smaller has its
/// own size's.
const GIVEN: usize = 16;

/// Whether it gets its alignment without asking.
fn is_plain(size: usize, align: usize) -> bool {
    align <= GIVEN && align <= size
}

// SAFETY: all functions are those of one allocator, which frees and resizes what it gave in either way. Plainly asked for is
// only what it aligns as `layout` wants; `is_plain` tells.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and an alignment that is a power of two, as that of a layout is.
        unsafe { if is_plain(size, align) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        unsafe { if is_plain(size, align) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, _: Layout) {
        // SAFETY: it came from here, as the caller promises.
        unsafe { mi_free(ptr.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: it came from here, as the caller promises; what may be asked for, as above. Where it stays, it was aligned.
        unsafe {
            if is_plain(size, align) {
                mi_realloc(ptr.cast(), size)
            } else {
                mi_realloc_aligned(ptr.cast(), size, align)
            }
        }
        .cast()
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::Allocator;

    /// All small sizes, and some around those at which the library changes its ways.
    fn sizes() -> impl Iterator<Item = usize> {
        let around = [1024, 4096, 8192, 65536, 1 << 20].into_iter().flat_map(|size| size - 9..size + 40);
        (1..600).chain(around)
    }

    #[test]
    fn every_piece_is_aligned_and_keeps_what_is_in_it() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            // Several of each size: the first one of a page is aligned by chance.
            for size in sizes().flat_map(|size| [size; 3]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let larger = Layout::from_size_align(size * 2 + 1, align).unwrap();
                // SAFETY: written is what was asked for, and given back is what was got, once.
                unsafe {
                    let piece = Allocator.alloc(layout);
                    assert!(!piece.is_null() && piece.addr().is_multiple_of(align), "{layout:?}");
                    piece.write_bytes(7, size);
                    let grown = Allocator.realloc(piece, layout, larger.size());
                    assert!(!grown.is_null() && grown.addr().is_multiple_of(align), "{layout:?}");
                    assert!(std::slice::from_raw_parts(grown, size).iter().all(|byte| *byte == 7));
                    let shrunk = Allocator.realloc(grown, larger, size);
                    assert!(!shrunk.is_null() && shrunk.addr().is_multiple_of(align), "{layout:?}");
                    assert!(std::slice::from_raw_parts(shrunk, size).iter().all(|byte| *byte == 7));
                    Allocator.dealloc(shrunk, layout);
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert!(!zeroed.is_null() && zeroed.addr().is_multiple_of(align), "{layout:?}");
                    assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|byte| *byte == 0));
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
