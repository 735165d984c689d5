//! Offloads of a network device: who cuts messages into packets and joins them again.
//!
//! They are told by the kernel's ethtool family, as the program of that name does.

use std::io;

use super::netlink::{Request, Socket, attributes, find};

/// What cuts TCP and UDP messages behind a device, by the kernel's names.
const SEGMENTATION: [&str; 5] = [
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
];
/// What joins packets that arrive.
const JOINING: &str = "rx-gro";

// linux/genetlink.h and linux/ethtool_netlink.h.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
/// Command, version and two unused bytes.
const GENERIC_HEADER_BYTES: usize = 4;

/// Makes `device` cut messages before it sends them, and join what arrives if it `joins`.
///
/// # Errors
/// The rights are missing, or the kernel does not let a feature be changed.
pub(super) fn as_on_a_wire(device: &str, joins: bool) -> io::Result<()> {
    let ethtool = Ethtool::open()?;
    ethtool.change(device, |bits| {
        let bits = SEGMENTATION
            .iter()
            .fold(bits, |bits, name| feature(bits, name, false));
        feature(bits, JOINING, joins)
    })?;
    let active = ethtool.active(device)?;
    let still_cutting = SEGMENTATION.iter().find(|name| is_in(&active, name));
    match still_cutting {
        None if is_in(&active, JOINING) == joins => Ok(()),
        None => Err(stuck(device, JOINING)),
        Some(name) => Err(stuck(device, name)),
    }
}

/// The features in force of a device in the namespace of this thread, by the kernel's names.
///
/// # Errors
/// There is no such device, or the kernel has no ethtool netlink family (before 5.6).
pub(super) fn active(device: &str) -> io::Result<Vec<String>> {
    Ethtool::open()?.active(device)
}

fn is_in(active: &[String], name: &str) -> bool {
    active.iter().any(|known| known == name)
}

fn stuck(device: &str, feature: &str) -> io::Error {
    io::Error::other(format!("the kernel does not change {feature} of {device}"))
}

fn feature(bits: Request, name: &str, on: bool) -> Request {
    bits.nested(ETHTOOL_A_BITSET_BITS_BIT, |bit| {
        let bit = bit.text(ETHTOOL_A_BITSET_BIT_NAME, name);
        // Being there is its value.
        if on {
            bit.attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[])
        } else {
            bit
        }
    })
}

/// The kernel's ethtool family.
struct Ethtool {
    socket: Socket,
    family: u16,
}

impl Ethtool {
    fn open() -> io::Result<Self> {
        let socket = Socket::generic()?;
        let request = Request::new(GENL_ID_CTRL, 0, &generic_header(CTRL_CMD_GETFAMILY))
            .text(CTRL_ATTR_FAMILY_NAME, "ethtool");
        let answer = socket.ask(request)?;
        let id = answer
            .get(GENERIC_HEADER_BYTES..)
            .and_then(|body| find(body, CTRL_ATTR_FAMILY_ID))
            .and_then(<[u8]>::first_chunk);
        let id = id.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            socket,
            family: u16::from_ne_bytes(*id),
        })
    }

    fn request(&self, command: u8, device: &str) -> Request {
        Request::new(self.family, 0, &generic_header(command))
            .nested(ETHTOOL_A_FEATURES_HEADER, |header| {
                header.text(ETHTOOL_A_HEADER_DEV_NAME, device)
            })
    }

    fn change(&self, device: &str, bits: impl FnOnce(Request) -> Request) -> io::Result<()> {
        let request = self
            .request(ETHTOOL_MSG_FEATURES_SET, device)
            .nested(ETHTOOL_A_FEATURES_WANTED, |wanted| {
                wanted.nested(ETHTOOL_A_BITSET_BITS, bits)
            });
        self.socket.ask(request).map(drop)
    }

    fn active(&self, device: &str) -> io::Result<Vec<String>> {
        let answer = self
            .socket
            .ask(self.request(ETHTOOL_MSG_FEATURES_GET, device))?;
        let body = answer.get(GENERIC_HEADER_BYTES..).unwrap_or_default();
        let bits = find(body, ETHTOOL_A_FEATURES_ACTIVE)
            .and_then(|active| find(active, ETHTOOL_A_BITSET_BITS))
            .unwrap_or_default();
        let names = attributes(bits).filter_map(|(_, bit)| {
            let name = find(bit, ETHTOOL_A_BITSET_BIT_NAME)?;
            Some(
                String::from_utf8_lossy(name)
                    .trim_end_matches('\0')
                    .to_owned(),
            )
        });
        Ok(names.collect())
    }
}

const fn generic_header(command: u8) -> [u8; GENERIC_HEADER_BYTES] {
    [command, 1, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_cuts_nothing_that_it_carries() {
        let active = active("lo").unwrap();
        assert!(is_in(&active, "tx-udp-segmentation"), "{active:?}");
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(active("nowhere").is_err());
    }
}
