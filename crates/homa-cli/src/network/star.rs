//! Hosts whose network is a process: each a namespace with a TUN device.

use core::net::Ipv4Addr;
use std::{fs, io};

use homa_net::tun::Tun;

use super::device::{INDEX, bring_up, limit_queue};
use super::namespace::{self, Namespace};
use crate::cpu;

/// What a host's device is called.
pub(crate) const DEVICE: &str = "host";

/// The most hosts: their addresses differ in the last byte.
pub(crate) const HOSTS_MAX: u8 = 64;

/// Which processors receive for devices made from then on; kernels before 6.3 have no such setting.
pub(super) const RECEIVING_SETTING: &str = "/proc/sys/net/core/rps_default_mask";

/// Makes so many hosts. What a host sends comes out of its TUN device, and what goes in there arrives
/// at the host. In each, `queue_packets` wait for the process at most; more are dropped, as
/// TUN takes packets out of TCP's own account of what it has queued. What arrives is worked on by the
/// processors `cpus`, where the kernel lets us choose, and not by whoever puts it into the device.
///
/// Called while the process has one thread, see [`super::Network::lay`].
///
/// # Errors
/// The rights are missing, or there is no /dev/net/tun.
pub(crate) fn lay(
    hosts: u8,
    queue_packets: u32,
    cpus: &[usize],
) -> io::Result<(Vec<Namespace>, Vec<Tun>)> {
    namespace::gain_right()?;
    let laid: io::Result<Vec<_>> = (0..hosts)
        .map(|host| lay_one(host, queue_packets, &cpu::mask(cpus)))
        .collect();
    Ok(laid?.into_iter().unzip())
}

fn lay_one(host: u8, queue_packets: u32, cpus: &str) -> io::Result<(Namespace, Tun)> {
    let namespace = Namespace::make()?;
    let tun = namespace.enter(|| {
        // Without the setting packets arrive as well, only later.
        let _ = fs::write(RECEIVING_SETTING, cpus);
        let tun = Tun::create(DEVICE, INDEX)?;
        limit_queue(queue_packets)?;
        bring_up(&[address(host)])?;
        io::Result::Ok(tun)
    })??;
    Ok((namespace, tun))
}

/// The address of a host.
pub(crate) const fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 214, 0, host + 1)
}

/// The host that has the address.
pub(crate) const fn host_at(address: Ipv4Addr) -> Option<u8> {
    match address.octets() {
        [10, 214, 0, last] => last.checked_sub(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_hosts() {
        assert!((0..HOSTS_MAX).all(|host| host_at(address(host)) == Some(host)));
        assert_eq!(host_at(Ipv4Addr::new(10, 214, 0, 0)), None);
        assert_eq!(host_at(Ipv4Addr::new(224, 0, 0, 1)), None);
    }
}
