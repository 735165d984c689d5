//! Two namespaces joined by a virtual cable.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Instant;

use super::namespace::{self, Namespace};
use super::netlink::{CREATE, Request, Socket, find};
use super::offload;

/// The server's end of the cable.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
/// The client's.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
const PREFIX_BITS: u8 = 16;

/// Another address of the server's end.
pub(super) const fn peer(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 1, index)
}

/// The name of the cable at both of its ends.
pub(super) const NAME: &str = "cable";
/// Its number there; a new namespace has device 1, which is loopback, and no other.
const INDEX: u32 = 2;
const LOOPBACK_INDEX: u32 = 1;

const MTU_BYTES: u32 = 1500;

// Requests and attributes of linux/rtnetlink.h, linux/if_link.h, linux/veth.h and linux/if_addr.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
const IF_OPER_UP: u8 = 6;
const AF_INET: u8 = 2;
const LINK_HEADER_BYTES: usize = 16;

/// How long a cable may take to come up.
const CARRIES_MAX: Duration = Duration::from_secs(5);

/// Two network namespaces and what joins them.
pub(super) struct Cable {
    pub(super) server: Namespace,
    pub(super) client: Namespace,
}

impl Cable {
    /// Makes both; with `wire` the ends cut messages into packets before the cable.
    ///
    /// # Errors
    /// The rights are missing, or the kernel has no veth devices.
    pub(super) fn lay(wire: bool, peers: u8) -> io::Result<Self> {
        namespace::gain_right()?;
        let cable = Self {
            server: Namespace::make()?,
            client: Namespace::make()?,
        };
        cable.server.enter(|| plug_in(&cable.client))??;
        let mut server_addresses = vec![SERVER];
        server_addresses.extend((0..peers).map(peer));
        for (end, addresses) in [
            (&cable.server, &server_addresses[..]),
            (&cable.client, &[CLIENT]),
        ] {
            end.enter(|| {
                if wire {
                    offload::as_on_a_wire(NAME)?;
                }
                bring_up(addresses)
            })??;
        }
        cable.server.enter(wait_until_it_carries)??;
        cable.client.enter(wait_until_it_carries)??;
        Ok(cable)
    }
}

/// Makes the cable, from the server's end.
fn plug_in(client: &Namespace) -> io::Result<()> {
    let client = client.as_fd().as_raw_fd();
    let link = Request::new(RTM_NEWLINK, CREATE, &link_header(INDEX, 0))
        .text(IFLA_IFNAME, NAME)
        .attribute(IFLA_MTU, &MTU_BYTES.to_ne_bytes())
        .nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth")
                .nested(IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.bytes(&link_header(INDEX, 0))
                            .text(IFLA_IFNAME, NAME)
                            .attribute(IFLA_MTU, &MTU_BYTES.to_ne_bytes())
                            .attribute(IFLA_NET_NS_FD, &client.to_ne_bytes())
                    })
                })
        });
    Socket::route()?.ask(link).map(drop)
}

/// Gives this end its addresses.
fn bring_up(addresses: &[Ipv4Addr]) -> io::Result<()> {
    let socket = Socket::route()?;
    for address in addresses {
        let mut header = [AF_INET, PREFIX_BITS, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&INDEX.to_ne_bytes());
        let request = Request::new(RTM_NEWADDR, CREATE, &header)
            .attribute(IFA_LOCAL, &address.octets())
            .attribute(IFA_ADDRESS, &address.octets());
        socket.ask(request)?;
    }
    for index in [LOOPBACK_INDEX, INDEX] {
        socket.ask(Request::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP)))?;
    }
    Ok(())
}

/// The kernel throws packets away until a worker of its own has seen that both ends are up; the
/// first to be lost would be the question for the neighbour's address, which is asked again only
/// after a second.
fn wait_until_it_carries() -> io::Result<()> {
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
fn link_header(index: u32, flags: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}
