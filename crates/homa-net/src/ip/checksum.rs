//! The checksum of a packet: that of TCP, over a pseudo header which says protocol 6 whatever the IP
//! header says, because network cards compute it for what they take for TCP.

use core::net::IpAddr;

/// Where it stands in the packet.
const AT: usize = 16;
const TCP: u32 = 6;

/// Writes the checksum of `packet`, which is as it will leave but for that, between two addresses of
/// one family.
pub(super) fn fill(packet: &mut [u8], from: IpAddr, to: IpAddr) {
    let Some(field) = packet.get_mut(AT..AT + 2) else {
        return;
    };
    field.fill(0);
    let mut total = sum(packet) + u64::from((TCP + packet.len() as u32).to_be());
    for address in [from, to] {
        total += match address {
            IpAddr::V4(v4) => u64::from(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => sum(&v6.octets()),
        };
    }
    packet[AT..AT + 2].copy_from_slice(&(!fold(total)).to_ne_bytes());
}

/// The sum of the bytes as 16-bit numbers in this machine's order of bytes, in which the folded sum
/// has it too (RFC 1071). Words of 64 bits are added, whose quarters are carried into each other, here
/// and by [`fold`]: a short loop, which a lone packet goes through with cold caches. The result has at
/// most 34 bits.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut total = u128::from(u64::from_ne_bytes(last));
    for word in words {
        let word = word
            .first_chunk()
            .map_or(0, |word| u64::from_ne_bytes(*word));
        total += u128::from(word);
    }
    let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    halves(total as u64) + halves((total >> 64) as u64)
}

/// Adds the carries to the lowest 16 bits until nothing is carried.
const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The Internet checksum of `bytes`, as ICMP has it.
pub(super) fn of(bytes: &[u8]) -> u16 {
    u16::from_be(!fold(sum(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DATA "hello" of RPC 2 from 10.0.0.1, port 32768, to 10.0.0.2, port 99, and its checksum as the
    /// reference module computes it.
    const HELLO: [u8; 61] = *b"\x80\x00\x00\x63\x00\x00\x00\x00\x00\x00\x00\x10\xe0\x06\x00\x00\
        \x8d\xe3\xb9\x7d\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x05\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00hello";

    #[test]
    fn a_golden_packet_gets_its_checksum() {
        let mut packet = HELLO;
        packet[16..18].copy_from_slice(&[0x55, 0xaa]);
        let [from, to] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        fill(&mut packet, from, to);
        assert_eq!(packet, HELLO);
    }

    #[test]
    fn a_whole_packet_sums_up_to_nothing_over_ipv6_too() {
        let [from, to] = ["fd00::1", "fd00::ffff:2"].map(|text| text.parse().unwrap());
        for length in [28, 29, 30, 31, 1_460] {
            let mut packet: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            fill(&mut packet, from, to);
            let mut pseudo = vec![0, 6];
            pseudo.extend((length as u16).to_be_bytes());
            for address in [from, to] {
                let IpAddr::V6(address) = address else {
                    panic!("an IPv6 address");
                };
                pseudo.extend(address.octets());
            }
            assert_eq!(fold(sum(&pseudo) + sum(&packet)), 0xffff);
        }
    }

    #[test]
    fn a_packet_without_a_checksum_field_stays_as_it_is() {
        let mut packet = [1; 17];
        let localhost = "::1".parse().unwrap();
        fill(&mut packet, localhost, localhost);
        assert_eq!(packet, [1; 17]);
    }
}
