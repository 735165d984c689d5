//! TUN devices: network devices whose other end is a process, packet by packet.
//!
//! What the kernel sends by the device is received here, and what is sent here arrives from it. The
//! device is made in the network namespace of the calling thread and is gone with its [`Tun`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::sys;

/// The process's end of a TUN device.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes the device `name` with the number `index`, which is down. Neither end ever blocks.
    ///
    /// # Errors
    /// The right to manage the network is missing, there is no /dev/net/tun, or the name or the
    /// number is taken, or the name longer than 15 bytes.
    pub fn create(name: &str, index: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = options
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        sys::become_tun(file.as_fd(), name, index)?;
        Ok(Self { file })
    }

    /// Receives one IP packet into `buffer` and returns its length. What does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Sends one IP packet.
    ///
    /// # Errors
    /// The device is down, or the packet is none.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        // Where there is no /dev/net/tun, that is the error.
        assert!(Tun::create("a-name-of-16-byt", 100).is_err());
    }
}
