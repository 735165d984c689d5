//! Every IP packet that crosses an interface, in both directions, for looking on. Takes
//! CAP_NET_RAW.
//!
//! It decides nothing about what a packet is.

use core::fmt;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{self, Envelope, SocketName};

/// Room for any packet, those of the segmentation hardware included.
const BUFFER_BYTES: usize = 1 << 18;

/// A socket that sees what an interface sees.
pub struct Sniffer {
    socket: OwnedFd,
    envelope: Box<Envelope>,
    buffer: Vec<u8>,
}

/// Why an interface cannot be watched. The text is one line that says what to do next.
#[derive(Debug)]
pub enum SniffError {
    /// It takes the capability CAP_NET_RAW.
    NeedsNetRaw,
    /// No interface has this name.
    NoInterface(String),
    /// Something else went wrong.
    Failed(io::Error),
}

impl Sniffer {
    /// Begins to watch the interface of this name.
    ///
    /// # Errors
    ///
    /// See [`SniffError`].
    pub fn open(interface: &str) -> Result<Self, SniffError> {
        let missing = || SniffError::NoInterface(interface.to_owned());
        let name = CString::new(interface).map_err(|_| missing())?;
        let index = sys::interface_index(&name).ok_or_else(missing)?;
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0);
        let socket = socket.map_err(|errno| match errno.0 {
            libc::EPERM | libc::EACCES => SniffError::NeedsNetRaw,
            _ => SniffError::Failed(errno.into()),
        })?;
        sys::bind(socket.as_fd(), &SocketName::interface(index))
            .map_err(|errno| SniffError::Failed(errno.into()))?;
        Ok(Self {
            socket,
            envelope: Box::new(Envelope::EMPTY),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// The next packet from its IP header on, without waiting; `None` if there is none. What is no
    /// IP packet is empty.
    ///
    /// # Errors
    ///
    /// The interface is gone.
    pub fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        let envelope = core::slice::from_mut(&mut *self.envelope);
        match sys::receive(
            self.socket.as_fd(),
            envelope,
            &mut self.buffer,
            BUFFER_BYTES,
        ) {
            // The loopback shows each packet twice, leaving and arriving.
            Ok(_) if self.envelope.name.is_leaving_loopback() => Ok(Some(&[])),
            Ok(_) => Ok(Some(&self.buffer[..self.envelope.length])),
            Err(errno) if matches!(errno.0, libc::EAGAIN | libc::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Sniffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sniffer")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SniffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsNetRaw => f.write_str(
                "watching an interface takes CAP_NET_RAW; run as root, or have the programs \
                 write their own packets: HOMA_CAPTURE=FILE in their environment takes no right",
            ),
            Self::NoInterface(name) => {
                write!(
                    f,
                    "no interface is called {name}; `ip link` lists those there are"
                )
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SniffError {}
