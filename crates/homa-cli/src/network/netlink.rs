//! Netlink: how the kernel is told about network devices.
//!
//! # Design
//! A request is a header, a fixed part and attributes that may nest; an answer is the same. Writing
//! the half dozen requests that are needed takes less code than declaring them to a library.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netlink, recv, send, socket_with};

/// `NLM_F_REQUEST | NLM_F_ACK`: every request is answered at least by an error number, 0 if none.
const REQUEST_WITH_ACK: u16 = 0x5;
/// `NLM_F_CREATE | NLM_F_EXCL`.
pub(super) const CREATE: u16 = 0x600;
/// `NLMSG_ERROR`, which is also how success is told.
const ACK: u16 = 2;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 4;

/// Longer than any answer to a request made here.
const ANSWER_MAX_BYTES: usize = 32 * 1024;

/// A request under construction.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of that kind; `fixed` is the part before the attributes.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST_WITH_ACK | flags).to_ne_bytes());
        Self { bytes }.bytes(fixed)
    }

    /// Adds an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE_HEADER_BYTES + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes(value)
    }

    /// Adds a text attribute, which ends with a zero.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute made of what `fill` adds.
    pub(super) fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        let mut filled = fill(self.attribute(kind | NESTED, &[]));
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Adds bytes as they are, up to the next boundary.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// A socket to the kernel, in the network namespace of the thread that opened it.
pub(super) struct Socket {
    socket: OwnedFd,
}

impl Socket {
    /// For links and addresses.
    ///
    /// # Errors
    /// The process has too many files open.
    pub(super) fn route() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        Self::open(None)
    }

    /// For what has no protocol of its own.
    ///
    /// # Errors
    /// The process has too many files open.
    pub(super) fn generic() -> io::Result<Self> {
        Self::open(Some(netlink::GENERIC))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        Ok(Self { socket })
    }

    /// Has a request done, and returns what is answered beside success: the part behind the header
    /// of the first message, empty if there is none.
    ///
    /// # Errors
    /// The kernel's own.
    pub(super) fn ask(&self, request: Request) -> io::Result<Vec<u8>> {
        let bytes = request.finish();
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; ANSWER_MAX_BYTES];
        loop {
            let (count, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = &buffer[..count];
            while let Some((kind, body, next)) = split_message(rest) {
                if kind == ACK {
                    return acknowledged(body).map(|()| answer);
                }
                if answer.is_empty() {
                    answer = body.to_vec();
                }
                rest = next;
            }
        }
    }
}

fn acknowledged(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The kind and the body of the first message, and what follows.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_ne_bytes(*header.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let body = bytes.get(HEADER_BYTES..length)?;
    let next = bytes.get(length.next_multiple_of(ALIGNMENT)..);
    Some((kind, body, next.unwrap_or_default()))
}

/// The attributes in `bytes`: kind, without the mark of nesting, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<ATTRIBUTE_HEADER_BYTES>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !NESTED;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes
            .get(length.next_multiple_of(ALIGNMENT)..)
            .unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of that kind.
pub(super) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_length_and_padded_attributes_that_nest() {
        let request = Request::new(16, CREATE, &[7; 4])
            .text(3, "ab")
            .nested(18, |inner| inner.attribute(1, b"veth"));
        let bytes = request.finish();
        assert_eq!(bytes.len(), 16 + 4 + 8 + 4 + 8);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_ne_bytes());
        let (kind, body, rest) = split_message(&bytes).unwrap();
        assert_eq!((kind, &body[..4], rest), (16, &[7; 4][..], &[][..]));
        let found: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!(found[0], (3, &b"ab\0"[..]));
        assert_eq!(find(find(&body[4..], 18).unwrap(), 1), Some(&b"veth"[..]));
    }

    #[test]
    fn what_is_cut_off_is_no_attribute() {
        assert_eq!(attributes(&[9, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert!(split_message(&[200; 20]).is_none());
    }

    #[test]
    fn the_kernel_says_no_with_an_error() {
        let socket = Socket::route().unwrap();
        // RTM_GETLINK of a device that is not there.
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let error = socket.ask(Request::new(18, 0, &fixed)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(19), "{error}");
    }
}
