//! Networks that a measurement makes for itself: network namespaces joined by a virtual cable.
//!
//! They are told to the kernel over netlink, without other programs, and have no names: a namespace
//! lives as long as a process is in it or holds it open. So nothing is left behind, however this
//! program ends, and there is nothing to clean up after a crash.

pub(crate) mod bridge;
mod cable;
mod device;
pub(crate) mod namespace;
mod netlink;
mod offload;
pub(crate) mod star;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;
use cable::Cable;

/// What a measurement runs over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Over {
    /// The machine's own loopback device: packets of up to 65,536 bytes, no rights needed.
    Loopback,
    /// A virtual cable with the MTU of Ethernet, which carries segments of one message in one
    /// piece, as offloads do by default.
    Veth,
    /// The same cable carrying every segment as a packet of its own, as a wire does.
    VethWire,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Veth => "a veth pair with MTU 1500 and default offloads",
            Self::VethWire => {
                "a veth pair with MTU 1500, tso and tx-udp-segmentation off and gro on"
            }
        })
    }
}

/// A client's and a server's place in a network.
pub(crate) struct Network {
    /// Nothing for loopback, where both are where this program is.
    cable: Option<Cable>,
}

impl Network {
    /// Makes the network. The server's end gets an address for each of `peers` too.
    ///
    /// Called while the process has one thread: without root it has to enter a user namespace, and
    /// the kernel lets no process with several threads do that.
    ///
    /// # Errors
    /// The rights are missing, or the kernel lacks a part; the text says what to do.
    pub(crate) fn lay(over: Over, peers: u8) -> Result<Self, Failure> {
        let cable = match over {
            Over::Loopback => None,
            Over::Veth | Over::VethWire => {
                Some(Cable::lay(over == Over::VethWire, peers).map_err(refused)?)
            }
        };
        Ok(Self { cable })
    }

    /// What a server binds to: its one address, or any if it has several.
    pub(crate) const fn listen_address(&self, peers: u8) -> IpAddr {
        match self.cable {
            _ if peers > 1 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some(_) => IpAddr::V4(cable::SERVER),
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Where clients find a server that listens on `ports`: one address for each peer.
    pub(crate) fn server_addresses(&self, ports: &[u16], peers: u8) -> Vec<SocketAddr> {
        let addresses: Vec<IpAddr> = match peers {
            1 => vec![self.listen_address(1)],
            peers => (0..peers).map(|index| self.peer_address(index)).collect(),
        };
        let of_port = |port: &u16| {
            let port = *port;
            addresses.iter().map(move |ip| SocketAddr::new(*ip, port))
        };
        ports.iter().flat_map(of_port).collect()
    }

    const fn peer_address(&self, index: u8) -> IpAddr {
        match self.cable {
            Some(_) => IpAddr::V4(cable::peer(index)),
            // The whole of 127.0.0.0/8 is this machine.
            None => IpAddr::V4(Ipv4Addr::new(127, 0, 1, index)),
        }
    }

    /// Does something at the server's place: processes and sockets made by `work` belong there.
    pub(crate) fn at_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.cable {
            Some(cable) => cable.server.enter(work),
            None => Ok(work()),
        }
    }

    /// The same at the client's place.
    pub(crate) fn at_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.cable {
            Some(cable) => cable.client.enter(work),
            None => Ok(work()),
        }
    }
}

/// Whether this process may lay virtual cables. Without root it enters a user namespace to find
/// out, so it is asked by processes that end soon.
///
/// # Errors
/// Why not.
pub(crate) fn may_lay_cables() -> Result<(), String> {
    namespace::gain_right().map_err(|error| refused(error).to_string())
}

/// The offloads in force of a device, by the kernel's names; none if it cannot tell.
pub(crate) fn active_offloads(device: &str) -> Vec<String> {
    offload::active(device).unwrap_or_default()
}

fn refused(error: io::Error) -> Failure {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it takes root, or user namespaces that anyone may make (sysctl \
             kernel.unprivileged_userns_clone, user.max_user_namespaces); `--over loopback` needs \
             no rights"
        }
        _ => "; `--over loopback` works without it",
    };
    Failure::Work(format!("cannot lay a virtual cable: {error}{way_out}"))
}
