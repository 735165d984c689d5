//! `homa bench bulk --link kernel`: Homa of the kernel beside UDP and TCP of the kernel, all of which
//! wait.

use std::io;

use homa_net::kernel::Encapsulation::{self, Ip, Udp};

use super::{SUITE, TCP_BLOCK, UDP_BLOCK};
use crate::answer::Answer::Receipt;
use crate::bench::kernel::{client, serve};
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::{Job, Ratio, Suite, Variant};

pub(in crate::bench) const KERNEL: Suite = Suite {
    name: "bulk-kernel",
    title: "Messages of 500,000 bytes one way, at most 1,000,000 bytes on their way",
    message_bytes: 500_000,
    variants: VARIANTS,
    ratios: RATIOS,
    ..SUITE
};

const VARIANTS: &[Variant] = &[
    Variant::new(
        "homa_kernel",
        |job| serve(job, Ip, Receipt),
        |job, meter| measure(job, meter, Ip),
    ),
    TCP_BLOCK,
    Variant::new(
        "homa_kernel_udp",
        |job| serve(job, Udp, Receipt),
        |job, meter| measure(job, meter, Udp),
    ),
    Variant {
        name: "udp_block",
        ..UDP_BLOCK
    },
];

/// Either way of carrying packets will do.
const HOMA: &[&str] = &["homa_kernel", "homa_kernel_udp"];

const RATIOS: &[Ratio] = &[
    Ratio::of("homa_kernel/udp_block", HOMA, &["udp_block"]),
    Ratio::of("homa_kernel/tcp", HOMA, &["tcp_block"]),
    Ratio::of("homa_kernel_udp/tcp", &["homa_kernel_udp"], &["tcp_block"]),
];

/// While a message ends, the next one begins.
const MESSAGES: u64 = 2;

fn measure(job: &Job, mut meter: Meter, encapsulation: Encapsulation) -> io::Result<Sample> {
    let mut socket = client(job, encapsulation)?;
    let message = vec![0x5a; job.message_bytes];
    for _ in 0..MESSAGES {
        socket.call(job.server(), &message, 0)?;
    }
    while meter.goes_on() {
        socket.receive()?;
        meter.count(1, message.len() as u64);
        socket.call(job.server(), &message, 0)?;
    }
    for _ in 0..MESSAGES {
        socket.receive()?;
    }
    meter.finish()
}
