//! Control messages (`cmsghdr`): what rides along with a datagram through `sendmsg`/`recvmsg`.
//!
//! The layout is the kernel's: length (as wide as a pointer), level, kind, data, padded to the
//! width of a pointer. Written and read byte by byte, so that no cast of memory is needed.

/// Enough for the four messages that a link sends or receives with one datagram (96 bytes), and
/// for an error report (up to 64 bytes).
const CAPACITY: usize = 128;
const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// A buffer of control messages; `bytes[..length]` is valid.
#[repr(C, align(8))]
pub(crate) struct Control {
    pub(super) bytes: [u8; CAPACITY],
    pub(super) length: usize,
}

/// One control message as read.
pub(crate) struct Message<'a> {
    pub(crate) level: i32,
    pub(crate) kind: i32,
    pub(crate) data: &'a [u8],
}

impl Control {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; CAPACITY],
        length: 0,
    };
    pub(super) const CAPACITY: usize = CAPACITY;

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Appends a message. Panics if it does not fit, which is a bug of the caller.
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let end = self.length + HEADER + data.len();
        let message = &mut self.bytes[self.length..end];
        message[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        message[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..].copy_from_slice(data);
        self.length = end.next_multiple_of(WORD);
    }

    /// The messages in order; reading ends at the first that is cut short.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let mut rest = &self.bytes[..self.length];
        core::iter::from_fn(move || {
            let (message, length) = first_message(rest)?;
            rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or(&[]);
            Some(message)
        })
    }
}

fn first_message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let (length, rest) = bytes.split_first_chunk::<WORD>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    let length = usize::from_ne_bytes(*length);
    let message = Message {
        level: i32::from_ne_bytes(*level),
        kind: i32::from_ne_bytes(*kind),
        data: bytes.get(HEADER..length)?,
    };
    Some((message, length))
}

impl Message<'_> {
    /// The data as the C `int` that most messages carry.
    pub(crate) fn int(&self) -> Option<i32> {
        self.data
            .first_chunk()
            .map(|bytes| i32::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_pushed() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &7_i32.to_ne_bytes());
        control.push(3, 4, &[9; 20]);
        control.push(5, 6, &[8]);
        let read: Vec<_> = control
            .messages()
            .map(|m| (m.level, m.kind, m.data.len()))
            .collect();
        assert_eq!(read, [(1, 2, 4), (3, 4, 20), (5, 6, 1)]);
        assert_eq!(control.messages().next().and_then(|m| m.int()), Some(7));
    }

    #[test]
    fn a_message_cut_short_ends_the_reading() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &[0; 4]);
        control.push(3, 4, &[0; 16]);
        for length in 0..control.length {
            control.length = length;
            assert!(control.messages().count() <= 1);
        }
        control.bytes = [0xff; CAPACITY];
        control.length = CAPACITY;
        assert_eq!(control.messages().count(), 0);
        control.bytes = [0; CAPACITY];
        assert_eq!(control.messages().count(), 0);
    }

    #[test]
    fn everything_a_datagram_may_carry_fits() {
        let mut control = Control::EMPTY;
        for data in [&[0_u8; 4][..], &[0; 4], &[0; 4], &[0; 20]] {
            control.push(0, 0, data);
        }
    }
}
