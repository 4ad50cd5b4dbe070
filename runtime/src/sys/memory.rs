//! The heap.
#![allow(unsafe_code)]

/// Gives memory that was freed back to the kernel: what start-up took and a process that lives for weeks does not need.
pub fn release_free() {
    // SAFETY: the C library's allocator is this program's only one, and it may be trimmed at any time.
    unsafe { libc::malloc_trim(0) };
}
