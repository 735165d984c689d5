//! The numbers by which the kernel knows IPv4 and IPv6.

use core::ffi::c_int;
use core::net::IpAddr;

/// One address family: where its options live and what they are called.
pub(crate) struct Family {
    pub(crate) domain: c_int,
    /// Level of the options and control messages below.
    pub(crate) level: c_int,
    /// Option, and control message, with the traffic class, sent and received.
    pub(crate) class: c_int,
    pub(crate) receive_class: c_int,
    /// Control message with the local address, sent and received.
    pub(crate) local_address: c_int,
    pub(crate) receive_destination: c_int,
    /// Option, and control message with a report.
    pub(crate) receive_errors: c_int,
    pub(crate) mtu_discovery: c_int,
    /// Value of `mtu_discovery`: never fragment, never heed the path-MTU cache.
    pub(crate) probe: c_int,
    /// MTU of the route of a connected socket.
    pub(crate) mtu: c_int,
}

const V4: Family = Family {
    domain: libc::AF_INET,
    level: libc::SOL_IP,
    class: libc::IP_TOS,
    receive_class: libc::IP_RECVTOS,
    local_address: libc::IP_PKTINFO,
    receive_destination: libc::IP_PKTINFO,
    receive_errors: libc::IP_RECVERR,
    mtu_discovery: libc::IP_MTU_DISCOVER,
    probe: libc::IP_PMTUDISC_PROBE,
    mtu: libc::IP_MTU,
};

const V6: Family = Family {
    domain: libc::AF_INET6,
    level: libc::SOL_IPV6,
    class: libc::IPV6_TCLASS,
    receive_class: libc::IPV6_RECVTCLASS,
    local_address: libc::IPV6_PKTINFO,
    receive_destination: libc::IPV6_RECVPKTINFO,
    receive_errors: libc::IPV6_RECVERR,
    mtu_discovery: libc::IPV6_MTU_DISCOVER,
    probe: libc::IPV6_PMTUDISC_PROBE,
    mtu: libc::IPV6_MTU,
};

impl Family {
    pub(crate) const fn of(ip: IpAddr) -> &'static Self {
        match ip {
            IpAddr::V4(_) => &V4,
            IpAddr::V6(_) => &V6,
        }
    }
}
