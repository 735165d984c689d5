//! The ends of the tunnel that this process has: one UDP socket for each Homa port, all on one UDP
//! port. It decides which of them gets a datagram.
//!
//! # Design
//!
//! *The first socket of an address takes the UDP port for itself*, and shares it afterwards: so no other
//! process can have an end there, as a shared port would allow.
//!
//! *The kernel spreads datagrams*, by a program that compares the Homa port (`program`). It numbers
//! sockets in the order of their binding, and moves the last to the place of one that goes: so do
//! the lists here, under one lock with binding and closing.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::TUNNEL_PORT;
use crate::link::Link;
use crate::ports::{self, Round};
use crate::sys::{self, Instruction};
use crate::udp::{BindError, Options, Udp};

/// Sockets of one address: each costs two instructions of the program, which has 4,096 at most.
const SOCKETS_MAX: usize = 1_000;

/// Where the destination port stands in a Homa packet.
const DEST_PORT: u32 = 2;

/// Homa ports by the address of their sockets, in the order of the kernel's numbers.
pub(super) struct Ends {
    ports: BTreeMap<IpAddr, Vec<u16>>,
}

/// Those of this process.
pub(super) fn all() -> MutexGuard<'static, Ends> {
    static ALL: Mutex<Ends> = Mutex::new(Ends {
        ports: BTreeMap::new(),
    });
    // A list is changed by one operation, which leaves nothing half done.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ends {
    /// Opens an end for the Homa port of `address`, or for a free one of clients if that is 0.
    pub(super) fn open(
        &mut self,
        address: SocketAddr,
        options: &Options,
    ) -> Result<(Udp, u16), BindError> {
        let port = self.choose(address)?;
        let ports = self.ports.entry(address.ip()).or_default();
        if ports.len() >= SOCKETS_MAX {
            return Err(BindError::NoFreePort(address));
        }
        let udp = bind(address, options, ports.is_empty())?;
        ports.push(port);
        match spread(udp.fd(), ports, address) {
            Ok(()) => Ok((udp, port)),
            Err(error) => {
                self.close(address.ip(), udp, port);
                Err(error)
            }
        }
    }

    /// Closes an end.
    pub(super) fn close(&mut self, address: IpAddr, udp: Udp, port: u16) {
        let Some(ports) = self.ports.get_mut(&address) else {
            return;
        };
        if let Some(index) = ports.iter().position(|own| *own == port) {
            ports.swap_remove(index);
        }
        // By the socket that goes, as long as it can. Should it fail, packets reach wrong sockets, which
        // drop them, until the next change.
        let _ = spread(udp.fd(), ports, (address, port).into());
        if ports.is_empty() {
            self.ports.remove(&address);
        }
    }

    /// The Homa port that is asked for, if no other end of the address has it.
    fn choose(&self, address: SocketAddr) -> Result<u16, BindError> {
        let taken = self.ports.get(&address.ip());
        let is_taken = |port: &u16| taken.is_some_and(|ports| ports.contains(port));
        static ROUND: Round = Round::new();
        match address.port() {
            0 => ROUND
                .find(|port| Some(port).filter(|port| !is_taken(port)))
                .ok_or(BindError::NoFreePort(address)),
            port => Some(port)
                .filter(|port| !is_taken(port))
                .ok_or(BindError::TunnelPortInUse(address)),
        }
    }
}

/// Binds a socket: the first of an address alone, the others beside it.
fn bind(address: SocketAddr, options: &Options, is_first: bool) -> Result<Udp, BindError> {
    let options = Options {
        reuse_port: !is_first,
        ..options.clone()
    };
    let udp = Udp::bind(ports::at(address, TUNNEL_PORT), &options);
    let udp = udp.map_err(|error| match error {
        BindError::AddressInUse(_) => BindError::TunnelInUse(address),
        other => other,
    })?;
    sys::set_option(udp.fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
        .map_err(|errno| BindError::new(address, "sharing the tunnel", errno))?;
    Ok(udp)
}

/// Has the kernel spread datagrams over the sockets of these ports, as long as there are several.
fn spread(fd: BorrowedFd<'_>, ports: &[u16], address: SocketAddr) -> Result<(), BindError> {
    if ports.len() < 2 {
        return Ok(());
    }
    sys::steer(fd.as_fd(), &program(ports))
        .map_err(|errno| BindError::new(address, "spreading the tunnel's packets", errno))
}

/// Answers with the place of the packet's port in `ports`, or with 0, whose socket then drops it.
fn program(ports: &[u16]) -> Vec<Instruction> {
    let mut program = vec![Instruction::load_half(DEST_PORT)];
    for (index, port) in (0..).zip(ports) {
        program.push(Instruction::skip_unless(u32::from(*port), 1));
        program.push(Instruction::answer_with(index));
    }
    program.push(Instruction::answer_with(0));
    program
}
