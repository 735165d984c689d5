//! The system calls of this crate, each behind a safe function. All `unsafe` is here.

mod control;
mod homa;
mod name;
mod region;

pub(crate) use control::Control;
pub(crate) use homa::{
    IPPROTO_HOMA, ReceiveArgs, SO_HOMA_UDP, SendArgs, homa_socket, receive_message, send_message,
    set_region,
};
pub(crate) use name::{SocketName, decode as decode_name};
pub(crate) use region::Region;

use core::ffi::{CStr, c_int, c_long, c_void};
use core::mem::{MaybeUninit, zeroed};
use core::ptr;
use core::time::Duration;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The most messages of one `sendmmsg` or `recvmmsg`; bounds the arrays on the stack.
pub(crate) const MESSAGES_MAX: usize = 64;

/// An error number of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// Address and control messages of one datagram.
pub(crate) struct Envelope {
    pub(crate) name: SocketName,
    pub(crate) control: Control,
    /// On receipt: payload bytes.
    pub(crate) length: usize,
}

impl Envelope {
    pub(crate) const EMPTY: Self = Self {
        name: SocketName::EMPTY,
        control: Control::EMPTY,
        length: 0,
    };
}

/// A non-blocking UDP socket.
pub(crate) fn udp_socket(family: c_int) -> Result<OwnedFd, Errno> {
    socket(family, libc::SOCK_DGRAM, 0)
}

/// A non-blocking socket of any kind.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of the interface of this name.
pub(crate) fn interface_index(name: &CStr) -> Option<u32> {
    // SAFETY: `name` is a string that ends with a zero, alive for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// A non-blocking eventfd, its counter at zero.
pub(crate) fn event_counter() -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> Result<(), Errno> {
    let value: *const c_int = &value;
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` points to `length` readable bytes for the duration of the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value.cast(), length) })?;
    Ok(())
}

/// Has the kernel drop what `filter`, a classic BPF program, returns 0 for.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno(libc::EINVAL))?,
        filter: filter.as_ptr().cast_mut(),
    };
    let length = size_of_val(&program) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    let pointer = (&raw const program).cast();
    // SAFETY: `pointer` points to a live `sock_fprog`, whose own pointer leads to `len`
    // instructions; the kernel copies and checks them and writes nothing.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer, length) })?;
    Ok(())
}

pub(crate) fn option(fd: BorrowedFd<'_>, level: c_int, option: c_int) -> Result<c_int, Errno> {
    let [value] = option_array::<1>(fd, level, option)?;
    Ok(value.cast_signed())
}

/// An option that is an array of 32-bit numbers; what the kernel does not fill stays zero.
pub(crate) fn option_array<const N: usize>(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
) -> Result<[u32; N], Errno> {
    let mut values = [0_u32; N];
    let mut length = size_of_val(&values) as libc::socklen_t;
    let pointer: *mut c_void = values.as_mut_ptr().cast();
    // SAFETY: `pointer` is valid for writes of `length` bytes, and any bytes make valid `u32`s.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, pointer, &raw mut length) })?;
    Ok(values)
}

pub(crate) fn bind(fd: BorrowedFd<'_>, name: &SocketName) -> Result<(), Errno> {
    let pointer = name.bytes.as_ptr().cast();
    // SAFETY: `pointer` is valid for reads of `length` bytes (at most the array) and aligned for
    // any socket address by the type's alignment.
    check(unsafe { libc::bind(fd.as_raw_fd(), pointer, name.length) })?;
    Ok(())
}

pub(crate) fn connect(fd: BorrowedFd<'_>, name: &SocketName) -> Result<(), Errno> {
    let pointer = name.bytes.as_ptr().cast();
    // SAFETY: as in `bind`.
    check(unsafe { libc::connect(fd.as_raw_fd(), pointer, name.length) })?;
    Ok(())
}

pub(crate) fn local_name(fd: BorrowedFd<'_>) -> Result<SocketName, Errno> {
    let mut name = SocketName::EMPTY;
    name.length = SocketName::CAPACITY;
    let pointer = name.bytes.as_mut_ptr().cast();
    // SAFETY: `pointer` is valid for writes of `length` bytes and aligned for any socket address.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), pointer, &raw mut name.length) })?;
    Ok(name)
}

/// Sends one datagram without control messages.
pub(crate) fn send_to(fd: BorrowedFd<'_>, name: &SocketName, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: `bytes` and `name` outlive the call, and their lengths are true; it only reads.
    check_size(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            descriptor(fd),
            bytes.as_ptr(),
            bytes.len(),
            0 as c_long,
            name.bytes.as_ptr(),
            name.length as c_long,
        )
    })?;
    Ok(())
}

/// Sends one datagram (or one segmented batch).
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    envelope: &Envelope,
    slices: &[IoSlice<'_>],
) -> Result<(), Errno> {
    let header = outgoing(envelope, slices);
    // SAFETY: every pointer in `header` comes from `envelope` and `slices`, which outlive the call,
    // with their true lengths; `sendmsg` only reads through them.
    check_size(unsafe {
        libc::syscall(
            libc::SYS_sendmsg,
            descriptor(fd),
            &raw const header,
            0 as c_long,
        )
    })?;
    Ok(())
}

/// Sends one datagram after the other; returns how many the kernel took, at least one.
pub(crate) fn send_many<'a>(
    fd: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (&'a Envelope, &'a [IoSlice<'a>])>,
) -> Result<usize, Errno> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    let mut count: c_long = 0;
    for (header, (envelope, slices)) in headers.iter_mut().zip(datagrams) {
        header.write(libc::mmsghdr {
            msg_hdr: outgoing(envelope, slices),
            msg_len: 0,
        });
        count += 1;
    }
    let pointer = headers.as_mut_ptr();
    // SAFETY: the first `count` headers are initialised and exclusively ours; their pointers come
    // from borrows that live for `'a`, with true lengths. `sendmmsg` reads through them and writes
    // only `msg_len`.
    check_size(unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            descriptor(fd),
            pointer,
            count,
            0 as c_long,
        )
    })
}

/// Receives into `envelopes`, the payload of each into its own `stride` bytes of `buffer`;
/// returns how many arrived, at least one.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    envelopes: &mut [Envelope],
    buffer: &mut [u8],
    stride: usize,
) -> Result<usize, Errno> {
    assert!(
        envelopes.len() <= MESSAGES_MAX,
        "more envelopes than one call takes"
    );
    assert!(
        buffer.len() >= envelopes.len() * stride,
        "a buffer for each envelope"
    );
    if let [envelope] = envelopes {
        receive_one(fd, envelope, &mut buffer[..stride], 0)?;
        return Ok(1);
    }
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; MESSAGES_MAX];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    let room = buffer.chunks_exact_mut(stride);
    for (((header, part), envelope), room) in headers
        .iter_mut()
        .zip(&mut parts)
        .zip(&mut *envelopes)
        .zip(room)
    {
        let part = part.write(io_vector(room));
        header.write(libc::mmsghdr {
            msg_hdr: incoming(envelope, (part, 1)),
            msg_len: 0,
        });
    }
    let count = envelopes.len() as c_long;
    let pointer = headers.as_mut_ptr();
    // SAFETY: the first `count` headers are initialised; their pointers come from exclusive borrows
    // of `envelopes`, `parts` and disjoint chunks of `buffer`, all of which outlive the call, with
    // true lengths. Any bytes are valid in all three.
    let call = unsafe {
        let no_timeout = ptr::null_mut::<libc::timespec>();
        let flags: c_long = 0;
        libc::syscall(
            libc::SYS_recvmmsg,
            descriptor(fd),
            pointer,
            count,
            flags,
            no_timeout,
        )
    };
    let arrived = check_size(call)?;
    for (header, envelope) in headers.iter().zip(envelopes).take(arrived) {
        // SAFETY: `arrived` is at most `count`, and the first `count` headers are initialised.
        let header = unsafe { header.assume_init_ref() };
        take_lengths(envelope, &header.msg_hdr, header.msg_len as usize, stride);
    }
    Ok(arrived)
}

/// Receives one datagram without control messages.
pub(crate) fn receive_from(
    fd: BorrowedFd<'_>,
    envelope: &mut Envelope,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    let mut name_length = SocketName::CAPACITY;
    // SAFETY: `buffer` and the name are exclusively ours, outlive the call and are valid for writes
    // of the lengths given; any bytes are valid in both.
    let call = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            descriptor(fd),
            buffer.as_mut_ptr(),
            buffer.len(),
            0 as c_long,
            envelope.name.bytes.as_mut_ptr(),
            &raw mut name_length,
        )
    };
    envelope.length = check_size(call)?.min(buffer.len());
    envelope.name.length = name_length.min(SocketName::CAPACITY);
    envelope.control.clear();
    Ok(())
}

/// Receives one datagram (or one coalesced batch) into `slices`, one after the other. The envelope's
/// length is that of all of it.
pub(crate) fn receive_apart(
    fd: BorrowedFd<'_>,
    envelope: &mut Envelope,
    slices: &mut [IoSliceMut<'_>],
) -> Result<(), Errno> {
    let capacity = slices.iter().map(|slice| slice.len()).sum();
    // `IoSliceMut` is an `iovec` on Unix, by its documentation.
    let parts = (slices.as_mut_ptr().cast(), slices.len());
    let mut header = incoming(envelope, parts);
    // SAFETY: the pointers in `header` come from exclusive borrows of `envelope` and of `slices`, each
    // an exclusive borrow itself, which outlive the call, with true lengths. Any bytes are valid in
    // them.
    let call = unsafe {
        let flags: c_long = 0;
        libc::syscall(libc::SYS_recvmsg, descriptor(fd), &raw mut header, flags)
    };
    let length = check_size(call)?;
    take_lengths(envelope, &header, length, capacity);
    Ok(())
}

/// Looks at the datagram (or coalesced batch) that waits first and leaves it there: as much of it as fits
/// goes into `buffer`. The envelope's length is that of all of it.
pub(crate) fn peek(
    fd: BorrowedFd<'_>,
    envelope: &mut Envelope,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    receive_one(fd, envelope, buffer, libc::MSG_PEEK | libc::MSG_TRUNC)
}

/// Takes one report from the socket's error queue; as much of the datagram as fits goes into
/// `buffer`.
pub(crate) fn receive_error(
    fd: BorrowedFd<'_>,
    envelope: &mut Envelope,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    receive_one(fd, envelope, buffer, libc::MSG_ERRQUEUE)
}

fn receive_one(
    fd: BorrowedFd<'_>,
    envelope: &mut Envelope,
    buffer: &mut [u8],
    flags: c_int,
) -> Result<(), Errno> {
    // Who asks for it is told of more than there is room for.
    let most = match flags & libc::MSG_TRUNC {
        0 => buffer.len(),
        _ => usize::MAX,
    };
    let mut part = io_vector(buffer);
    let mut header = incoming(envelope, (&raw mut part, 1));
    // SAFETY: the pointers in `header` come from exclusive borrows of `envelope`, `part` and
    // `buffer`, which outlive the call, with true lengths. Any bytes are valid in all three.
    let call = unsafe {
        let flags = c_long::from(flags);
        libc::syscall(libc::SYS_recvmsg, descriptor(fd), &raw mut header, flags)
    };
    let length = check_size(call)?;
    take_lengths(envelope, &header, length, most);
    Ok(())
}

/// Waits until one of `fds` has an event or `timeout` is over; `None` waits for ever. Returns how
/// many have one.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> Result<usize, Errno> {
    let timeout = timeout.map(|timeout| {
        // SAFETY: all-zero bytes are a valid `timespec`.
        let mut spec: libc::timespec = unsafe { zeroed() };
        spec.tv_sec = timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX);
        spec.tv_nsec = timeout.subsec_nanos() as _;
        spec
    });
    let limit = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (pointer, count) = (fds.as_mut_ptr(), fds.len() as libc::nfds_t);
    // SAFETY: `pointer` is valid for `count` entries; `limit` is null or points to a live
    // `timespec`; a null signal mask leaves the mask alone.
    let ready = check(unsafe { libc::ppoll(pointer, count, limit, ptr::null()) })?;
    Ok(usize::try_from(ready).unwrap_or(0))
}

fn outgoing(envelope: &Envelope, slices: &[IoSlice<'_>]) -> libc::msghdr {
    let mut header = empty_header();
    header.msg_name = envelope.name.bytes.as_ptr().cast_mut().cast();
    header.msg_namelen = envelope.name.length;
    // `IoSlice` is an `iovec` on Unix, by its documentation.
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len() as _;
    if envelope.control.length > 0 {
        header.msg_control = envelope.control.bytes.as_ptr().cast_mut().cast();
        header.msg_controllen = envelope.control.length as _;
    }
    header
}

fn incoming(envelope: &mut Envelope, parts: (*mut libc::iovec, usize)) -> libc::msghdr {
    let mut header = empty_header();
    header.msg_name = envelope.name.bytes.as_mut_ptr().cast();
    header.msg_namelen = SocketName::CAPACITY;
    (header.msg_iov, header.msg_iovlen) = (parts.0, parts.1 as _);
    header.msg_control = envelope.control.bytes.as_mut_ptr().cast();
    header.msg_controllen = Control::CAPACITY as _;
    header
}

/// Notes how much the kernel wrote, never more than there is room for.
fn take_lengths(envelope: &mut Envelope, header: &libc::msghdr, length: usize, capacity: usize) {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the field's type differs between C libraries"
    )]
    let control_length = header.msg_controllen as usize;
    envelope.name.length = header.msg_namelen.min(SocketName::CAPACITY);
    envelope.control.length = control_length.min(Control::CAPACITY);
    envelope.length = length.min(capacity);
}

/// Makes an open /dev/net/tun the process's end of the device `name` with the number `index`, whose
/// packets have no header of the driver's own.
pub(crate) fn become_tun(tun: BorrowedFd<'_>, name: &str, index: u32) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `ifreq`: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero and ends the name.
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as core::ffi::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: the kernel reads one number, which lives until the call returns.
    let result =
        unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFINDEX as _, &raw const index) };
    check(result)?;
    // SAFETY: the kernel reads and writes one `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    Ok(check(result).map(drop)?)
}

fn io_vector(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}

fn empty_header() -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths. A literal would
    // not compile with C libraries that pad it with private fields.
    unsafe { zeroed() }
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

fn check_size(result: c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// As an argument of `libc::syscall`. Packets come and go by that, because the C library's
/// functions for them may be cancelled, which costs each call two atomic operations once there are
/// several threads.
fn descriptor(fd: BorrowedFd<'_>) -> c_long {
    fd.as_raw_fd().into()
}

/// One instruction of classic BPF.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Instruction(libc::sock_filter);

/// Instructions work on one value; another can be kept beside it.
impl Instruction {
    const fn new(code: u32, k: u32) -> Self {
        Self(libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        })
    }

    /// Loads the byte at `at`.
    pub(crate) const fn load_byte(at: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, at)
    }

    /// Loads two bytes.
    pub(crate) const fn load_half(at: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at)
    }

    /// Loads four bytes of the IP header.
    pub(crate) const fn load_ip_word(at: u32) -> Self {
        let at = libc::SKF_NET_OFF.cast_unsigned() + at;
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
    }

    /// Keeps the value.
    pub(crate) const fn keep() -> Self {
        Self::new(libc::BPF_MISC | libc::BPF_TAX, 0)
    }

    pub(crate) const fn xor_kept() -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
    }

    pub(crate) const fn shift_left(bits: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_LSH, bits)
    }

    pub(crate) const fn shift_right(bits: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_RSH, bits)
    }

    pub(crate) const fn multiply(by: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MUL, by)
    }

    pub(crate) const fn modulo(by: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MOD, by)
    }

    /// Skips `count` instructions if the value is odd.
    pub(crate) const fn skip_if_odd(count: u8) -> Self {
        let mut jump = Self::new(libc::BPF_JMP | libc::BPF_JSET, 1);
        jump.0.jt = count;
        jump
    }

    /// Skips `count` instructions unless the value is `k`.
    pub(crate) const fn skip_unless(k: u32, count: u8) -> Self {
        let mut jump = Self::new(libc::BPF_JMP | libc::BPF_JEQ, k);
        jump.0.jf = count;
        jump
    }

    /// Ends with `k`.
    pub(crate) const fn answer_with(k: u32) -> Self {
        Self::new(libc::BPF_RET | libc::BPF_K, k)
    }

    /// Ends with the value.
    pub(crate) const fn answer() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_A, 0)
    }
}

/// Has `program` choose among the sockets that share the address of `fd`.
pub(crate) fn steer(fd: BorrowedFd<'_>, program: &[Instruction]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        // `Instruction` is a `sock_filter`, by its representation.
        filter: program.as_ptr().cast_mut().cast(),
    };
    let (pointer, length) = (&raw const program, size_of::<libc::sock_fprog>());
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    let length = length as libc::socklen_t;
    // SAFETY: `pointer` points to `length` readable bytes, and the program in it to as many
    // instructions as it says; both outlive the call, which copies them.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), length) })?;
    Ok(())
}
