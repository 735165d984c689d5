//! Memory that a kernel writes into while the program reads other parts of it.

use core::ptr::{self, NonNull};
use core::slice;

use super::Errno;

/// Pages of this process, of zeroes at first; given back when dropped.
pub(crate) struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a region is memory that belongs to its value; nothing in it depends on the thread.
unsafe impl Send for Region {}

impl Region {
    pub(crate) fn new(bytes: usize) -> Result<Self, Errno> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: fresh memory wherever the kernel likes: no memory that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno(libc::ENOMEM))?;
        Ok(Self { start, bytes })
    }

    /// Address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Bytes `at .. at + length`, if they are inside.
    ///
    /// # Safety
    /// The kernel writes nothing there as long as the slice lives.
    pub(crate) unsafe fn part(&self, at: usize, length: usize) -> Option<&[u8]> {
        let end = at.checked_add(length)?;
        if end > self.bytes {
            return None;
        }
        // SAFETY: it is inside of the mapping, which lives as long as `self`, and by the caller's
        // promise nobody writes to it.
        Some(unsafe { slice::from_raw_parts(self.start.as_ptr().add(at), length) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody can borrow from any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
