//! Many datagrams with one system call, each way.

use core::net::{SocketAddr, SocketAddrV4};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Room for a number of datagrams, and those in it.
pub(super) struct Batch {
    payload_max: usize,
    bytes: Vec<u8>,
    /// Length and the other end of each datagram.
    datagrams: Vec<(usize, SockaddrIn)>,
    /// Sending leaves pointers to its addresses in its headers, which receiving must not follow.
    headers_in: MultiHeaders<SockaddrIn>,
    headers_out: MultiHeaders<SockaddrIn>,
}

impl Batch {
    /// Room for `count` datagrams of at most `payload_max` bytes, between IPv4 addresses.
    pub(super) fn new(count: usize, payload_max: usize) -> Self {
        Self {
            payload_max,
            bytes: vec![0x5a; count * payload_max],
            datagrams: Vec::with_capacity(count),
            headers_in: MultiHeaders::preallocate(count, None),
            headers_out: MultiHeaders::preallocate(count, None),
        }
    }

    /// Receives what is there, at least one.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.datagrams.clear();
        let slots = self.bytes.chunks_exact_mut(self.payload_max);
        let mut slices: Vec<_> = slots.map(|slot| [IoSliceMut::new(slot)]).collect();
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers_in,
            slices.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        let received = received.filter_map(|one| Some((one.bytes, one.address?)));
        self.datagrams.extend(received);
        Ok(())
    }

    /// What was received, and from whom.
    pub(super) fn received(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let slots = self.bytes.chunks_exact(self.payload_max);
        slots.zip(&self.datagrams).map(|(slot, (length, from))| {
            let from = SocketAddrV4::new(from.ip(), from.port());
            (&slot[..*length], from.into())
        })
    }

    /// Each datagram's bytes, to be changed before they go on.
    pub(super) fn bytes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.bytes.chunks_exact_mut(self.payload_max);
        slots
            .zip(&self.datagrams)
            .map(|(slot, (length, _))| &mut slot[..*length])
    }

    /// Makes `count` datagrams of that length for one receiver, with the bytes that are there.
    pub(super) fn fill(&mut self, count: usize, length: usize, to: SocketAddr) {
        self.datagrams.clear();
        self.datagrams.resize(count, (length, address(to)));
    }

    /// Says where each datagram goes.
    pub(super) fn readdress(&mut self, to: impl Iterator<Item = SocketAddr>) {
        for ((_, old), new) in self.datagrams.iter_mut().zip(to) {
            *old = address(new);
        }
    }

    /// Sends all of them to where they are addressed, which after `receive` is where they came
    /// from; returns how many the kernel took.
    ///
    /// # Errors
    /// The kernel took none.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let slots = self.bytes.chunks_exact(self.payload_max);
        let pairs = slots.zip(&self.datagrams);
        let slices: Vec<_> = pairs
            .map(|(slot, (length, _))| [IoSlice::new(&slot[..*length])])
            .collect();
        let to: Vec<_> = self.datagrams.iter().map(|(_, to)| Some(*to)).collect();
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers_out,
            slices.iter(),
            &to,
            [],
            MsgFlags::empty(),
        )?;
        Ok(sent.count())
    }
}

fn address(address: SocketAddr) -> SockaddrIn {
    match address {
        SocketAddr::V4(v4) => v4.into(),
        SocketAddr::V6(_) => unreachable!("networks of benchmarks have IPv4 addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_and_go_back_changed() {
        let [near, far] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut batch = Batch::new(3, 10);
        batch.fill(3, 4, far.local_addr().unwrap());
        for (index, bytes) in batch.bytes_mut().enumerate() {
            bytes.fill(index as u8);
        }
        assert_eq!(batch.send(&near).unwrap(), 3);

        let mut other = Batch::new(8, 10);
        other.receive(&far).unwrap();
        let from = near.local_addr().unwrap();
        let received: Vec<_> = other.received().collect();
        let expected = [[0; 4], [1; 4], [2; 4]];
        assert_eq!(received.len(), 3);
        assert!(
            received
                .iter()
                .zip(&expected)
                .all(|(found, bytes)| *found == (&bytes[..], from))
        );
        other.bytes_mut().for_each(|bytes| bytes[0] = 9);
        other.send(&far).unwrap();
        batch.receive(&near).unwrap();
        assert!(batch.received().all(|(bytes, _)| bytes[0] == 9));
    }
}
