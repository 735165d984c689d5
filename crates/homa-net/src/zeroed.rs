//! Memory for messages that costs nothing until it is written.

use core::alloc::Layout;
use std::alloc::alloc_zeroed;

/// So many zeroes; `None` without memory for them.
///
/// Of what is long the system gives the pages when they are first written, so that whoever takes room
/// for a long message does not stand still for all of it at once.
#[must_use]
pub fn zeroed(length: usize) -> Option<Box<[u8]>> {
    let layout = Layout::array::<u8>(length).ok()?;
    if length == 0 {
        return Some(Box::default());
    }
    // SAFETY: the layout has a size.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    let bytes = core::ptr::slice_from_raw_parts_mut(start, length);
    // SAFETY: `length` bytes of the allocator that boxes use, with the layout of such a slice, all of
    // them written, and nobody else knows of them.
    Some(unsafe { Box::from_raw(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_zero_and_can_be_written() {
        for length in [0, 1, 4_096, 1 << 20] {
            let mut bytes = zeroed(length).unwrap();
            assert!(bytes.len() == length && bytes.iter().all(|&byte| byte == 0));
            bytes.fill(7);
        }
    }

    #[test]
    fn more_than_there_can_be_is_none() {
        assert!(zeroed(usize::MAX).is_none());
        assert!(zeroed(usize::MAX / 2).is_none());
    }
}
