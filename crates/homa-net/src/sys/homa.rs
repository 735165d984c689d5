//! The calls of Homa sockets (`kernel/include/homa.h`), whose arguments stand where other sockets
//! have control messages.

use core::mem::zeroed;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{Errno, Region, SocketName, socket};

/// The protocol's number.
pub(crate) const IPPROTO_HOMA: libc::c_int = 146;
/// Option: the receive region, a [`RegionArgs`].
const SO_HOMA_RCVBUF: libc::c_int = 10;
/// Option: whether packets travel in UDP.
pub(crate) const SO_HOMA_UDP: libc::c_int = 100;

/// Most pages that a message lies in: 1,000,000 bytes by 65,536.
pub(crate) const PAGES_MAX: usize = 16;

/// `struct homa_sendmsg_args`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendArgs {
    pub(crate) id: u64,
    pub(crate) cookie: u64,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
}

/// `struct homa_recvmsg_args`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceiveArgs {
    pub(crate) id: u64,
    pub(crate) cookie: u64,
    pub(crate) page_count: u32,
    pub(crate) reserved: u32,
    pub(crate) pages: [u32; PAGES_MAX],
}

/// `struct homa_rcvbuf_args`.
#[repr(C)]
struct RegionArgs {
    start: u64,
    length: u64,
}

const _: () = assert!(size_of::<SendArgs>() == 24 && size_of::<ReceiveArgs>() == 88);

/// A Homa socket of the kernel, whose calls wait.
pub(crate) fn homa_socket(family: libc::c_int) -> Result<OwnedFd, Errno> {
    let fd = socket(family, libc::SOCK_DGRAM, IPPROTO_HOMA)?;
    // SAFETY: no pointers.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, 0) };
    super::check(done)?;
    Ok(fd)
}

/// Has messages be received into `region`, which has to stay for as long as the socket.
pub(crate) fn set_region(fd: BorrowedFd<'_>, region: &Region) -> Result<(), Errno> {
    let args = RegionArgs {
        start: region.address(),
        length: region.len() as u64,
    };
    let length = size_of_val(&args) as libc::socklen_t;
    let pointer = (&raw const args).cast();
    // SAFETY: `pointer` is valid for reads of `length` bytes; that the kernel writes to the region is
    // what it is for.
    let done = unsafe {
        let fd = fd.as_raw_fd();
        libc::setsockopt(fd, IPPROTO_HOMA, SO_HOMA_RCVBUF, pointer, length)
    };
    super::check(done)?;
    Ok(())
}

/// `sendmsg`; of a request the id is written to `args`.
pub(crate) fn send_message(
    fd: BorrowedFd<'_>,
    to: &SocketName,
    parts: &[IoSlice<'_>],
    args: &mut SendArgs,
) -> Result<(), Errno> {
    // SAFETY: a `msghdr` of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = to.bytes.as_ptr().cast_mut().cast();
    message.msg_namelen = to.length;
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len() as _;
    message.msg_control = (&raw mut *args).cast();
    // SAFETY: name and parts are only read, within their lengths (an `IoSlice` is an `iovec`); the
    // kernel writes a `SendArgs` to where one is.
    let done = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, 0) };
    if done < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// `recvmsg`: the message's length, its sender, and where it lies in `args`. If the call fails and
/// `args.id` is not 0, that RPC failed.
pub(crate) fn receive_message(
    fd: BorrowedFd<'_>,
    args: &mut ReceiveArgs,
) -> Result<(usize, SocketName), Errno> {
    let mut from = SocketName::EMPTY;
    // SAFETY: a `msghdr` of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = from.bytes.as_mut_ptr().cast();
    message.msg_namelen = SocketName::CAPACITY;
    message.msg_control = (&raw mut *args).cast();
    message.msg_controllen = size_of::<ReceiveArgs>() as _;
    // SAFETY: the kernel writes at most `CAPACITY` bytes of a name and one `ReceiveArgs`, to where
    // they are, and the message into the socket's region.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    from.length = message.msg_namelen.min(SocketName::CAPACITY);
    usize::try_from(length)
        .map(|length| (length, from))
        .map_err(|_| Errno::last())
}
