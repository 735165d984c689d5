//! Hosts joined by a bridge of the kernel's: each a namespace with one end of a virtual cable, whose
//! other end is a port in the namespace of the bridge.

use std::{fs, io};

use super::cable::{self, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO};
use super::device::{
    INDEX, RTM_NEWLINK, bring_up, link_header, take_into_service, wait_until_it_carries,
};
use super::namespace::{self, Namespace};
use super::netlink::{CREATE, Request, Socket};
use super::offload;
use super::star::{DEVICE, RECEIVING_SETTING, address};
use crate::cpu;

/// `IFLA_MASTER` of linux/if_link.h: the bridge that a device is a port of.
const IFLA_MASTER: u16 = 10;

/// The number of the first host's port, behind that of the bridge.
const FIRST_PORT_INDEX: u32 = INDEX + 1;

/// Whether devices made from then on have addresses of IPv6, and packets of their own to make them known.
const WITHOUT_IPV6_SETTING: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/// Hosts and what joins them.
pub(crate) struct Bridge {
    pub(crate) hosts: Vec<Namespace>,
    /// Where the bridge and its ports are.
    pub(crate) middle: Namespace,
}

/// What the port of a host is called, in the bridge's namespace.
pub(crate) fn port(host: u8) -> String {
    format!("port{host}")
}

/// Makes so many hosts and joins them. What arrives at a host is worked on by the processors `cpus`,
/// where the kernel lets us choose.
///
/// Called while the process has one thread, see [`super::Network::lay`].
///
/// # Errors
/// The rights are missing, or the kernel has no bridges or virtual cables.
pub(crate) fn lay(hosts: u8, cpus: &[usize]) -> io::Result<Bridge> {
    namespace::gain_right()?;
    let cpus = cpu::mask(cpus);
    let make = || {
        let made = Namespace::make()?;
        made.enter(|| {
            // Kernels without the first setting carry packets as well, only later.
            let _ = fs::write(RECEIVING_SETTING, &cpus);
            let _ = fs::write(WITHOUT_IPV6_SETTING, "1");
        })?;
        io::Result::Ok(made)
    };
    let middle = make()?;
    let hosts: Vec<Namespace> = (0..hosts).map(|_| make()).collect::<io::Result<_>>()?;
    middle.enter(|| join(&hosts))??;
    for (number, host) in (0..).zip(&hosts) {
        host.enter(|| {
            offload::as_on_a_wire(DEVICE, false)?;
            bring_up(&[address(number)])
        })??;
    }
    for host in &hosts {
        host.enter(wait_until_it_carries)??;
    }
    Ok(Bridge { hosts, middle })
}

/// Makes the bridge and its ports, in their namespace.
fn join(hosts: &[Namespace]) -> io::Result<()> {
    let socket = Socket::route()?;
    let bridge = Request::new(RTM_NEWLINK, CREATE, &link_header(INDEX, 0))
        .text(IFLA_IFNAME, "bridge")
        .nested(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    socket.ask(bridge)?;
    for (number, host) in (0..).zip(hosts) {
        let name = port(number);
        let index = FIRST_PORT_INDEX + u32::from(number);
        let cable = cable::request([(index, &name), (INDEX, DEVICE)], host)
            .attribute(IFLA_MASTER, &INDEX.to_ne_bytes());
        socket.ask(cable)?;
        offload::as_on_a_wire(&name, false)?;
    }
    take_into_service((INDEX..).take(1 + hosts.len()))
}
