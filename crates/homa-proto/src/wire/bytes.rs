//! Takes fields off the front of a received header and puts them into one to send, in the order of
//! the layout. Knows integers, not what they mean.

use super::Malformed;

/// The unread rest of a header.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(header: &'a [u8]) -> Self {
        Self { rest: header }
    }

    /// Takes the next `N` bytes as a reader of their own. One check of the length then stands for
    /// those of all fields in them.
    #[inline]
    pub(super) fn part<const N: usize>(&mut self) -> Result<Self, Malformed> {
        self.take::<N>().map(|bytes| Self::new(bytes))
    }

    /// Takes the next `N` bytes.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(|&[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(|&bytes| u16::from_be_bytes(bytes))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(|&bytes| u32::from_be_bytes(bytes))
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(|&bytes| u64::from_be_bytes(bytes))
    }
}

/// The unwritten rest of a header.
pub(super) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    #[inline]
    pub(super) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer }
    }

    /// Sets the next `N` bytes apart as a writer of their own, which is to fill them. One check of
    /// the room then stands for those of all fields in them.
    #[inline]
    pub(super) fn part<const N: usize>(&mut self) -> Self {
        let (part, rest) = core::mem::take(&mut self.rest)
            .split_first_chunk_mut::<N>()
            .expect("the buffer has room for the longest header");
        self.rest = rest;
        Self::new(part)
    }

    /// Puts the next bytes of the header; integers go through `to_be_bytes`.
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.part::<N>().rest.copy_from_slice(&bytes);
    }

    /// Bytes that are not yet written.
    #[inline]
    pub(super) const fn room(&self) -> usize {
        self.rest.len()
    }
}
