//! Datagrams of a size that is known before they arrive: each is cut where its payload begins, and
//! the payload of all lies in one piece.
//!
//! It knows how pieces are laid out. Whether a guess was right is for the host to find out.

use crate::link::{MAX_SEGMENTS, Received};

/// Where a host expects the next datagrams to belong; see
/// [`Link::receive_ahead`](crate::Link::receive_ahead).
#[derive(Debug)]
pub struct Ahead<'a> {
    /// Bytes of each datagram, more than `header_bytes`.
    pub segment_bytes: usize,
    /// Bytes at the start of each datagram that do not go with the rest; at least 1.
    pub header_bytes: usize,
    /// Room for the headers, one behind the other.
    pub headers: &'a mut [u8],
    /// Room for what follows them, likewise.
    pub payload: &'a mut [u8],
}

impl Ahead<'_> {
    /// The places of header and payload of each datagram that there is whole room for.
    pub(crate) fn places(&mut self) -> impl Iterator<Item = (&mut [u8], &mut [u8])> {
        let payload_bytes = self.segment_bytes - self.header_bytes;
        let headers = self.headers.chunks_exact_mut(self.header_bytes);
        let payload = self.payload.chunks_exact_mut(payload_bytes);
        headers.zip(payload).take(MAX_SEGMENTS)
    }
}

/// What [`Link::receive_ahead`](crate::Link::receive_ahead) received.
#[derive(Clone, Copy, Debug)]
pub struct Laid<'a> {
    /// Sender and the like. Its bytes are those that found no place; they follow the others.
    pub rest: Received<'a>,
    /// Bytes that lie in their places, headers included.
    pub bytes: usize,
}

impl Laid<'_> {
    /// Appends to `flat` what lies in the places of `ahead`, from datagram `first` on, and the rest, in
    /// the order in which it arrived.
    pub fn gather(&self, ahead: &mut Ahead<'_>, first: usize, flat: &mut Vec<u8>) {
        let segment_bytes = ahead.segment_bytes;
        let mut left = self.bytes.saturating_sub(first * segment_bytes);
        for (header, payload) in ahead.places().skip(first) {
            for place in [header, payload] {
                let (bytes, _) = place.split_at(left.min(place.len()));
                flat.extend_from_slice(bytes);
                left -= bytes.len();
            }
        }
        flat.extend_from_slice(self.rest.bytes);
    }
}
