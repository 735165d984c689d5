//! The device that we make in a new namespace, beside loopback.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::io;
use std::thread;
use std::time::Instant;

use super::netlink::{CREATE, Request, Socket, find};

/// Its number. A new namespace has device 1, which is loopback, and one for each kind of tunnel that the
/// kernel has loaded.
pub(super) const INDEX: u32 = 100;
const LOOPBACK_INDEX: u32 = 1;

/// The network that all addresses of a namespace are in.
const PREFIX_BITS: u8 = 16;

// Requests and attributes of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
const IF_OPER_UP: u8 = 6;
const AF_INET: u8 = 2;
const LINK_HEADER_BYTES: usize = 16;

/// How long a cable may take to come up.
const CARRIES_MAX: Duration = Duration::from_secs(5);

/// Limits the packets that wait in the device for whoever takes them.
pub(super) fn limit_queue(packets: u32) -> io::Result<()> {
    let request = Request::new(RTM_NEWLINK, 0, &link_header(INDEX, 0));
    let request = request.attribute(IFLA_TXQLEN, &packets.to_ne_bytes());
    Socket::route()?.ask(request).map(drop)
}

/// Gives the device its addresses, and takes it and loopback into service.
pub(super) fn bring_up(addresses: &[Ipv4Addr]) -> io::Result<()> {
    let socket = Socket::route()?;
    for address in addresses {
        let mut header = [AF_INET, PREFIX_BITS, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&INDEX.to_ne_bytes());
        let request = Request::new(RTM_NEWADDR, CREATE, &header)
            .attribute(IFA_LOCAL, &address.octets())
            .attribute(IFA_ADDRESS, &address.octets());
        socket.ask(request)?;
    }
    take_into_service([LOOPBACK_INDEX, INDEX])
}

/// Takes devices into service.
pub(super) fn take_into_service(devices: impl IntoIterator<Item = u32>) -> io::Result<()> {
    let socket = Socket::route()?;
    for index in devices {
        socket.ask(Request::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP)))?;
    }
    Ok(())
}

/// The kernel throws packets away until a worker of its own has seen that both ends are up; the
/// first to be lost would be the question for the neighbour's address, which is asked again only
/// after a second.
pub(super) fn wait_until_it_carries() -> io::Result<()> {
    let (socket, begun) = (Socket::route()?, Instant::now());
    while begun.elapsed() < CARRIES_MAX {
        let answer = socket.ask(Request::new(RTM_GETLINK, 0, &link_header(INDEX, 0)))?;
        let attributes = answer.get(LINK_HEADER_BYTES..).unwrap_or_default();
        if find(attributes, IFLA_OPERSTATE) == Some(&[IF_OPER_UP]) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::other("the cable does not come up"))
}

/// `struct ifinfomsg`: which device, and the flags that it shall have.
pub(super) fn link_header(index: u32, flags: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}
