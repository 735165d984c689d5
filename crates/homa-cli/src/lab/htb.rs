//! The kernel as switch, to compare with: HTB with the link's rate at every host and at every port of
//! a bridge, and in it a class for each level of priority.
//!
//! *Design*: the classes have next to no rate of their own and borrow all of the link's, which HTB lends
//! in strict order; so it takes no other discipline. What HTB lacks of a switch: queues do not share
//! a buffer, a packet that is alone does not take the time of its bits (the next one waits for it), and
//! nothing is marked. `tc` tells it to the kernel, which wants tables that only that program makes.
//! All of it is gone with the namespaces.

use core::cell::Cell;
use core::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::{env, thread};

use homa_sim::{BufferConfig, LinkConfig};
use serde::Deserialize;

use super::fabric::UPLINK_BUFFER;
use super::protocol::LEVELS;
use super::running::Span;
use super::wire::{FRAME_MIN_BYTES, PACKET_MAX_BYTES, wire_bytes};
use crate::network::bridge::{self, Bridge};
use crate::network::namespace::Namespace;
use crate::network::star;

/// What Ethernet takes beside the frames that HTB sees: checksum, preamble and gap.
const BESIDE_FRAME_BYTES: u32 = 4 + 8 + 12;

/// A timer that is late by so much costs nothing of the link's rate.
const LATE_PART_OF_SECOND: u64 = 2_000;

/// Where systems keep `tc` that do not look there for everybody.
const MORE_PATHS: &str = "/usr/sbin:/sbin";

/// A bridge with HTB that runs. Dropping it takes it away.
pub(super) struct Htb {
    middle: Namespace,
    /// What was counted when it was asked last.
    before: Cell<Totals>,
}

/// What the kernel counted since the beginning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Totals {
    forwarded: u64,
    dropped: u64,
    uplinks_dropped: u64,
    held_bytes: u64,
}

/// A line of what `tc` tells of a device.
#[derive(Debug, Deserialize)]
struct Discipline {
    kind: String,
    #[serde(default)]
    packets: u64,
    #[serde(default)]
    drops: u64,
    #[serde(default)]
    backlog: u64,
}

impl Htb {
    /// Lays the network and has the kernel keep the rates; returns the hosts, too.
    ///
    /// # Errors
    /// The rights are missing, the kernel has no HTB, or there is no `tc`; the text says what to do.
    pub(super) fn lay(
        hosts: u8,
        link: LinkConfig,
        buffer: BufferConfig,
        cpus: &[usize],
    ) -> io::Result<(Vec<Namespace>, Self)> {
        let Bridge {
            hosts: places,
            middle,
        } = bridge::lay(hosts, cpus)?;
        let uplink = commands(star::DEVICE, link, UPLINK_BUFFER.bytes);
        for host in &places {
            tc(host, &["-batch", "-"], &uplink)?;
        }
        let ports = (0..hosts).map(|host| commands(&bridge::port(host), link, buffer.bytes));
        tc(&middle, &["-batch", "-"], &ports.collect::<String>())?;
        let before = Cell::default();
        Ok((places, Self { middle, before }))
    }

    /// What happened since this was asked last.
    pub(super) fn span(&self, hosts: &[Namespace]) -> io::Result<Span> {
        let mut now = Totals::default();
        for it in disciplines(&self.middle)? {
            now.forwarded += it.packets;
            now.dropped += it.drops;
            now.held_bytes += it.backlog;
        }
        for host in hosts {
            for it in disciplines(host)? {
                now.uplinks_dropped += it.drops;
                now.held_bytes += it.backlog;
            }
        }
        let before = self.before.replace(now);
        Ok(Span {
            forwarded: now.forwarded - before.forwarded,
            dropped: now.dropped - before.dropped,
            uplinks_dropped: now.uplinks_dropped - before.uplinks_dropped,
            held_bytes: now.held_bytes,
            ..Span::default()
        })
    }
}

/// What makes the classes of a device; each level's queue holds half of `buffer` at most, as much as a
/// queue that is alone takes of a shared one.
fn commands(device: &str, link: LinkConfig, buffer: u64) -> String {
    let rate = link.bits_per_second;
    let packet = wire_bytes(PACKET_MAX_BYTES);
    let burst = (rate / 8 / LATE_PART_OF_SECOND).max(u64::from(packet) + 1);
    let best = LEVELS - 1;
    let mut text = format!(
        "qdisc add dev {device} root handle 1: stab overhead {BESIDE_FRAME_BYTES} \
         mpu {FRAME_MIN_BYTES} linklayer ethernet htb default 1{best}\n\
         class add dev {device} parent 1: classid 1:1 htb rate {rate}bit ceil {rate}bit \
         burst {burst} cburst {burst} quantum {packet}\n"
    );
    for level in 0..LEVELS {
        let (order, service) = (best - level, level << 5);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "class add dev {device} parent 1:1 classid 1:1{level} htb rate 8bit ceil {rate}bit \
             burst 1 cburst {burst} prio {order} quantum {packet}\n\
             qdisc add dev {device} parent 1:1{level} bfifo limit {limit}\n\
             filter add dev {device} parent 1: protocol ip prio 1 u32 match ip tos {service:#x} 0xe0 \
             flowid 1:1{level}\n",
            limit = buffer / 2,
        );
    }
    text
}

/// The roots of what a namespace's devices have.
fn disciplines(place: &Namespace) -> io::Result<impl Iterator<Item = Discipline>> {
    let text = tc(place, &["-s", "-j", "qdisc", "show"], "")?;
    let all: Vec<Discipline> = serde_json::from_str(&text)?;
    Ok(all.into_iter().filter(|it| it.kind == "htb"))
}

/// Runs `tc` there and returns what it prints.
fn tc(place: &Namespace, arguments: &[&str], input: &str) -> io::Result<String> {
    let path = env::var("PATH").unwrap_or_default();
    let run = || {
        let mut tc = Command::new("tc")
            .args(arguments)
            .env("PATH", format!("{path}:{MORE_PATHS}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut to = tc.stdin.take().expect("the input is piped");
        thread::scope(|scope| {
            // What it has no room to take until it was heard; if it has ended, its errors tell why.
            scope.spawn(move || to.write_all(input.as_bytes()));
            tc.wait_with_output()
        })
    };
    let output = place.enter(run)?.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(
            "there is no tc; install iproute2, or leave out --switch htb, as the other needs none",
        ),
        _ => error,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let first = told.lines().next().unwrap_or("it failed");
    Err(io::Error::other(format!(
        "tc: {first}; where the kernel lacks sch_htb, sch_fifo or cls_u32, leave out --switch htb"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_class_and_the_best_goes_first() {
        let link = LinkConfig {
            bits_per_second: 4_000_000,
            delay: 0,
        };
        let text = commands("port0", link, 256_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 3 * 8);
        assert!(lines[0].contains("overhead 24 mpu 84 ") && lines[0].ends_with("default 17"));
        assert!(lines[1].contains("rate 4000000bit ceil 4000000bit burst 1539 "));
        assert!(lines[2].contains("classid 1:10 ") && lines[2].contains("prio 7 "));
        assert!(lines[23].contains("classid 1:17 ") && lines[23].contains("prio 0 "));
        assert!(lines[24].ends_with("bfifo limit 128000"));
        assert!(lines[25].contains("match ip tos 0xe0 0xe0 flowid 1:17"));
    }

    #[test]
    fn what_the_kernel_counts_is_read_with_what_other_kinds_leave_out() {
        let text = r#"[{"kind":"noqueue","handle":"0:","dev":"lo","root":true,"options":{}},
            {"kind":"htb","handle":"1:","dev":"host","root":true,"options":{"r2q":10},
             "bytes":200,"packets":2,"drops":1,"overlimits":0,"requeues":0,"backlog":1538,"qlen":1}]"#;
        let all: Vec<Discipline> = serde_json::from_str(text).unwrap();
        let [other, htb] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!((other.kind.as_str(), other.drops), ("noqueue", 0));
        assert_eq!((htb.packets, htb.drops, htb.backlog), (2, 1, 1538));
    }
}
