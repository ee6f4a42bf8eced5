//! Bytes allocated by a thread: the system's allocator, counting.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static USED: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is what sees every allocation")]
// SAFETY: every call goes to the system's allocator with the arguments it came with, or returns null, which says that
// there is no memory; the counters are thread-local cells without a destructor and do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !grow(new_size) {
            return std::ptr::null_mut();
        }
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Where a single allocation fails, on every thread: what computes on threads of its own is not counted otherwise.
const LARGEST: usize = 3 << 30;

/// Counts new bytes; `false` if they are too many.
fn grow(n_bytes: usize) -> bool {
    if n_bytes > LARGEST {
        return false;
    }
    let used = USED.get().saturating_add(n_bytes);
    if used > LIMIT.get() {
        return false;
    }
    USED.set(used);
    PEAK.set(PEAK.get().max(used));
    true
}

/// What one thread allocates another may free, so the count may stop at 0.
fn shrink(n_bytes: usize) {
    USED.set(USED.get().saturating_sub(n_bytes));
}

/// Runs `work`; with its result, the most bytes this thread had at once beyond those it had before.
pub(super) fn peak<T>(limit: usize, work: impl FnOnce() -> T) -> (T, usize) {
    USED.set(0);
    PEAK.set(0);
    LIMIT.set(limit);
    let result = work();
    LIMIT.set(usize::MAX);
    (result, PEAK.get())
}

#[test]
fn what_is_allocated_at_once_is_counted() {
    let ((), n_bytes) = peak(usize::MAX, || {
        drop(vec![1_u8; 1 << 20]);
        drop(vec![1_u8; 3 << 20]);
    });
    assert!((3 << 20..4 << 20).contains(&n_bytes), "{n_bytes}");
    let (refused, _) = peak(1 << 20, || Vec::<u8>::new().try_reserve_exact(2 << 20).is_err());
    assert!(refused);
}
