//! Homa sockets of the kernel: `socket(AF_INET or AF_INET6, SOCK_DGRAM, 146)`, which the kernel
//! module of this project offers, and that of the reference.
//!
//! It turns their calls into safe ones. A message is received into a region that the socket and the
//! kernel share, and stays there until the next one is received.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{self, ReceiveArgs, Region, SendArgs, SocketName};

/// Bytes of a page, in which the kernel gives out the region.
const PAGE_BYTES: usize = 1 << 16;

/// Room for some eight messages of the longest kind.
const REGION_BYTES: usize = 128 * PAGE_BYTES;

/// What the packets of a socket travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// Directly in IP, protocol 146.
    Ip,
    /// In UDP datagrams, as [`Udp`](crate::udp::Udp) carries them; our module alone has that.
    Udp,
}

/// A Homa socket of the kernel. Its calls wait; the options of all sockets (`SO_RCVTIMEO`) bound that.
pub struct KernelSocket {
    socket: OwnedFd,
    region: Region,
    /// Where the message is that was received last, and which pages go back with the next call.
    held: ReceiveArgs,
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The RPC: odd for a request, which [`KernelSocket::reply`] answers, even for a response.
    pub id: u64,
    /// Of a response: what its request was given.
    pub cookie: u64,
    /// The other end.
    pub from: SocketAddr,
    /// Bytes of the message.
    pub length: usize,
}

impl KernelSocket {
    /// Opens a socket of the family of `address`, at a port of the kernel's choice.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported), with a text that says what to do, where the
    /// kernel has no Homa; else what the kernel says.
    pub fn open(address: IpAddr, encapsulation: Encapsulation) -> io::Result<Self> {
        let family = match address {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        let socket = sys::homa_socket(family).map_err(|errno| match errno.0 {
            libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT => absent(),
            _ => errno.into(),
        })?;
        let region = Region::new(REGION_BYTES)?;
        sys::set_region(socket.as_fd(), &region)?;
        if encapsulation == Encapsulation::Udp {
            sys::set_option(socket.as_fd(), sys::IPPROTO_HOMA, sys::SO_HOMA_UDP, 1)?;
        }
        Ok(Self {
            socket,
            region,
            held: ReceiveArgs::default(),
        })
    }

    /// Takes a server's port, 1 to 32767; requests are accepted from then on.
    ///
    /// # Errors
    /// Another socket has it.
    pub fn bind(&self, port: SocketAddr) -> io::Result<()> {
        Ok(sys::bind(self.socket.as_fd(), &SocketName::encode(port))?)
    }

    /// Sends a request; its id.
    ///
    /// # Errors
    /// It is empty or too long, there is no way to the server, or no memory.
    pub fn call(&self, server: SocketAddr, request: &[u8], cookie: u64) -> io::Result<u64> {
        let mut args = SendArgs {
            cookie,
            ..SendArgs::default()
        };
        let to = SocketName::encode(server);
        let parts = [IoSlice::new(request)];
        sys::send_message(self.socket.as_fd(), &to, &parts, &mut args)?;
        Ok(args.id)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The response is empty or too long, the request was answered before, or there is no memory.
    pub fn reply(&self, request: &Arrival, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut args = SendArgs {
            id: request.id,
            ..SendArgs::default()
        };
        let to = SocketName::encode(request.from);
        Ok(sys::send_message(
            self.socket.as_fd(),
            &to,
            parts,
            &mut args,
        )?)
    }

    /// Waits for a message, and lets go of the one before.
    ///
    /// # Errors
    /// An RPC failed, or no message came in time.
    pub fn receive(&mut self) -> io::Result<Arrival> {
        self.held.id = 0;
        let received = sys::receive_message(self.socket.as_fd(), &mut self.held);
        if received.is_err() {
            self.held.page_count = 0;
        }
        let (length, from) = received?;
        let from = from.decode().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Arrival {
            id: self.held.id,
            cookie: self.held.cookie,
            from,
            length,
        })
    }

    /// The bytes of the message that was received last, `length` of them, in pages.
    pub fn pages(&self, length: usize) -> impl Iterator<Item = &[u8]> {
        let count = (self.held.page_count as usize).min(self.held.pages.len());
        let offsets = &self.held.pages[..count];
        let lengths = (0..length).step_by(PAGE_BYTES);
        offsets.iter().zip(lengths).filter_map(move |(&at, begun)| {
            let bytes = (length - begun).min(PAGE_BYTES);
            // SAFETY: the page is ours until `receive` gives it back, which takes the socket
            // mutably; until then the kernel writes to other pages.
            unsafe { self.region.part(at as usize, bytes) }
        })
    }
}

impl AsFd for KernelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for KernelSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

fn absent() -> io::Error {
    let text = "this kernel has no Homa sockets; `modprobe homa` loads them where the module is \
                installed, `cargo xtask kernel` builds it, and without it `--link udp` does the same \
                from user space";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn without_the_module_the_way_to_it_is_told() {
        match KernelSocket::open(Ipv4Addr::LOCALHOST.into(), Encapsulation::Ip) {
            // A machine that has it is as good.
            Ok(socket) => assert!(socket.pages(0).next().is_none()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains("cargo xtask kernel"));
            }
        }
    }
}
