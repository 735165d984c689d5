//! Two namespaces joined by a virtual cable.

use core::net::Ipv4Addr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::device::{INDEX, RTM_NEWLINK, bring_up, link_header, wait_until_it_carries};
use super::namespace::{self, Namespace};
use super::netlink::{CREATE, Request, Socket};
use super::offload;

/// The server's end of the cable.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
/// The client's.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);

/// Another address of the server's end.
pub(super) const fn peer(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 1, index)
}

/// The name of the cable at both of its ends.
pub(super) const NAME: &str = "cable";
const MTU_BYTES: u32 = 1500;

// Attributes of linux/if_link.h and linux/veth.h.
pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
pub(super) const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

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
                    offload::as_on_a_wire(NAME, true)?;
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
    let cable = request([(INDEX, NAME), (INDEX, NAME)], client);
    Socket::route()?.ask(cable).map(drop)
}

/// What to ask for a cable from this namespace to `other`: the number and the name of each end's device.
pub(super) fn request([near, far]: [(u32, &str); 2], other: &Namespace) -> Request {
    let other = other.as_fd().as_raw_fd();
    Request::new(RTM_NEWLINK, CREATE, &link_header(near.0, 0))
        .text(IFLA_IFNAME, near.1)
        .attribute(IFLA_MTU, &MTU_BYTES.to_ne_bytes())
        .nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth")
                .nested(IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.bytes(&link_header(far.0, 0))
                            .text(IFLA_IFNAME, far.1)
                            .attribute(IFLA_MTU, &MTU_BYTES.to_ne_bytes())
                            .attribute(IFLA_NET_NS_FD, &other.to_ne_bytes())
                    })
                })
        })
}
