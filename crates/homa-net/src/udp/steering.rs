//! Which of several sockets that share an address gets a datagram: decided in the kernel, by a
//! program that [`Steering`] describes and that needs no privilege.

use core::net::IpAddr;

use crate::sys::Instruction;

/// How the kernel chooses among sockets that share an address: by a number in the datagram where
/// that is ours, else by who sent it, so that what one sender sends stays together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Sockets that share the address, 1 to 256, numbered from 0 in the order of their binding.
    pub sockets: u16,
    /// Where a datagram has a byte with a number.
    pub number_at: u16,
    /// Where it has a byte whose lowest bit tells whose number that is: 1 is that of a socket of
    /// ours, 0 one of the sender's own.
    pub owner_at: u16,
    /// Where it has two bytes with the sender's port.
    pub port_at: u16,
}

/// Spreads what differs in few bits: 2³² divided by the golden ratio.
const SPREAD: u32 = 0x9e37_79b1;

/// Offsets of the source address in the IP header.
const V4_SOURCE: u32 = 12;
const V6_SOURCE: u32 = 8;

impl Steering {
    /// The socket that a datagram belongs to: what the kernel's program answers. `None` for one
    /// that is too short to tell, which any socket may have.
    #[must_use]
    pub fn choose(&self, from: IpAddr, datagram: &[u8]) -> Option<u16> {
        let byte = |at: u16| datagram.get(usize::from(at)).copied().map(u32::from);
        let number = byte(self.number_at)?;
        let sockets = u32::from(self.sockets.max(1));
        if byte(self.owner_at)? & 1 == 1 {
            return u16::try_from(number % sockets).ok();
        }
        let port = (byte(self.port_at)? << 8) | byte(self.port_at + 1)?;
        let address = match from {
            IpAddr::V4(ip) => u32::from(ip),
            IpAddr::V6(ip) => {
                let words = ip.octets();
                let words = words.as_chunks::<4>().0.iter();
                words.fold(0, |sum, word| sum ^ u32::from_be_bytes(*word))
            }
        };
        let mixed = ((port << 8) ^ number ^ address).wrapping_mul(SPREAD) >> 16;
        u16::try_from(mixed % sockets).ok()
    }

    /// The same as a program of classic BPF, which sees a datagram from its first byte.
    pub(super) fn program(&self, v4: bool) -> Vec<Instruction> {
        use Instruction as I;
        let sockets = u32::from(self.sockets.max(1));
        let (number, owner) = (self.number_at.into(), self.owner_at.into());
        let mut program = vec![I::load_byte(owner)];
        let sender = [
            I::load_byte(number),
            I::keep(),
            I::load_half(self.port_at.into()),
            I::shift_left(8),
            I::xor_kept(),
        ];
        let words = if v4 {
            V4_SOURCE..V4_SOURCE + 4
        } else {
            V6_SOURCE..V6_SOURCE + 16
        };
        let address = words
            .step_by(4)
            .flat_map(|at| [I::keep(), I::load_ip_word(at), I::xor_kept()]);
        let choice = [
            I::multiply(SPREAD),
            I::shift_right(16),
            I::modulo(sockets),
            I::answer(),
        ];
        let theirs: Vec<_> = sender.into_iter().chain(address).chain(choice).collect();
        let skip = u8::try_from(theirs.len()).expect("a program of two dozen instructions");
        program.push(I::skip_if_odd(skip));
        program.extend(theirs);
        program.extend([I::load_byte(number), I::modulo(sockets), I::answer()]);
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEERING: Steering = Steering {
        sockets: 3,
        number_at: 20,
        owner_at: 27,
        port_at: 0,
    };

    fn datagram(port: u16, number: u8, ours: bool) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..2].copy_from_slice(&port.to_be_bytes());
        bytes[20] = number;
        bytes[27] = u8::from(ours);
        bytes
    }

    #[test]
    fn a_number_of_ours_is_obeyed_and_the_rest_spreads_over_the_senders() {
        let from = "192.0.2.1".parse().unwrap();
        for number in 0..3 {
            let choice = STEERING.choose(from, &datagram(7, number, true));
            assert_eq!(choice, Some(u16::from(number)));
        }
        let mut seen = [0; 3];
        for port in 0..300 {
            let choice = STEERING.choose(from, &datagram(port, 0, false)).unwrap();
            seen[usize::from(choice)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!(STEERING.choose(from, &[0; 27]), None);
    }
}
