//! What the kernel lets through to a raw socket: programs for its packet filter, classic BPF.
//!
//! A raw IPv4 socket sees packets from their IP header on, a raw IPv6 socket from what is behind it.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

/// Where the destination port stands in a Homa packet.
const DEST_PORT: u32 = 2;

/// Whole packets pass, or nothing of them.
const PASS: u32 = u32::MAX;
const DROP: u32 = 0;

/// A jump is at most 255 instructions long, which limits how many ports one program can name.
pub(super) const PORTS_MAX: usize = 250;

/// Lets packets to `port` through and no others.
pub(super) fn only(socket: BorrowedFd<'_>, is_v4: bool, port: u16) -> io::Result<()> {
    attach(socket, is_v4, &[port], PASS)
}

/// Lets packets through but for those to `ports`, at most [`PORTS_MAX`].
pub(super) fn all_but(socket: BorrowedFd<'_>, is_v4: bool, ports: &[u16]) -> io::Result<()> {
    attach(socket, is_v4, ports, DROP)
}

fn attach(socket: BorrowedFd<'_>, is_v4: bool, ports: &[u16], verdict: u32) -> io::Result<()> {
    sys::attach_filter(socket, &program(is_v4, ports, verdict))?;
    Ok(())
}

/// Ends with `verdict` for packets to one of `ports`, with its opposite for all others. A packet too
/// short for a port is dropped: so the kernel ends a program that reads beyond the packet.
fn program(is_v4: bool, ports: &[u16], verdict: u32) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt: usize, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: 0,
        k,
    };
    let mut program = Vec::with_capacity(ports.len() + 4);
    if is_v4 {
        // X = length of the IPv4 header; A = the port behind it.
        program.push(instruction(
            libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH,
            0,
            0,
        ));
        program.push(instruction(
            libc::BPF_LD | libc::BPF_H | libc::BPF_IND,
            0,
            DEST_PORT,
        ));
    } else {
        program.push(instruction(
            libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
            0,
            DEST_PORT,
        ));
    }
    for (index, port) in ports.iter().enumerate() {
        // To the last instruction, over the other ports and the opposite verdict.
        let jump = ports.len() - index;
        program.push(instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            jump,
            u32::from(*port),
        ));
    }
    let opposite = if verdict == PASS { DROP } else { PASS };
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, opposite));
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, verdict));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn verdict(program: &[libc::sock_filter], packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0, 0, 0);
        loop {
            let it = &program[at];
            at += 1;
            match u32::from(it.code) {
                code if code == libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH => {
                    x = 4 * usize::from(packet[it.k as usize] & 0xf);
                }
                code if code & 0x7 == libc::BPF_LD => {
                    let base = if code & 0xe0 == libc::BPF_IND { x } else { 0 };
                    let Some(bytes) = packet
                        .get(base + it.k as usize..)
                        .and_then(|b| b.first_chunk())
                    else {
                        return DROP;
                    };
                    a = u32::from(u16::from_be_bytes(*bytes));
                }
                code if code & 0x7 == libc::BPF_JMP => {
                    at += usize::from(if a == it.k { it.jt } else { it.jf });
                }
                _ => return it.k,
            }
        }
    }

    fn homa_to(port: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[2..4].copy_from_slice(&port.to_be_bytes());
        packet
    }

    fn over_ipv4(packet: Vec<u8>) -> Vec<u8> {
        let mut header = vec![0; 24];
        header[0] = 0x46;
        [header, packet].concat()
    }

    #[test]
    fn a_port_of_ones_own_passes_and_no_other() {
        let (v4, v6) = (program(true, &[99], PASS), program(false, &[99], PASS));
        assert_eq!(verdict(&v4, &over_ipv4(homa_to(99))), PASS);
        assert_eq!(verdict(&v4, &over_ipv4(homa_to(98))), DROP);
        assert_eq!(verdict(&v6, &homa_to(99)), PASS);
        assert_eq!(verdict(&v6, &homa_to(98)), DROP);
        assert_eq!(verdict(&v6, &[0; 3]), DROP);
    }

    #[test]
    fn ports_of_others_are_left_out() {
        let ports: Vec<u16> = (0..PORTS_MAX as u16).map(|index| 3 * index).collect();
        let program = program(false, &ports, DROP);
        for port in 0..1_000 {
            let expected = if ports.contains(&port) { DROP } else { PASS };
            assert_eq!(verdict(&program, &homa_to(port)), expected, "{port}");
        }
    }
}
