//! `homa bench rtt --link kernel`: Homa of the kernel beside UDP and TCP of the kernel, all of which
//! wait.

use std::io;

use homa_net::kernel::Encapsulation::{self, Ip, Udp};

use super::{RoundTrips, SUITE, TCP_BLOCK, UDP_BLOCK};
use crate::answer::Answer::Echo;
use crate::bench::kernel::{client, serve};
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::{Job, Ratio, Suite, Variant};

pub(in crate::bench) const KERNEL: Suite = Suite {
    name: "rtt-kernel",
    variants: VARIANTS,
    ratios: RATIOS,
    ..SUITE
};

const VARIANTS: &[Variant] = &[
    Variant::new(
        "homa_kernel",
        |job| serve(job, Ip, Echo),
        |job, meter| measure(job, meter, Ip),
    ),
    UDP_BLOCK,
    TCP_BLOCK,
    Variant::new(
        "homa_kernel_udp",
        |job| serve(job, Udp, Echo),
        |job, meter| measure(job, meter, Udp),
    ),
];

const RATIOS: &[Ratio] = &[
    Ratio::of("homa_kernel/udp_block", &["homa_kernel"], &["udp_block"]),
    Ratio::of("homa_kernel/tcp", &["homa_kernel"], &["tcp_block"]),
    Ratio::of(
        "homa_kernel_udp/udp_block",
        &["homa_kernel_udp"],
        &["udp_block"],
    ),
];

fn measure(job: &Job, mut meter: Meter, encapsulation: Encapsulation) -> io::Result<Sample> {
    let mut socket = client(job, encapsulation)?;
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        socket.call(job.server(), request, 0)?;
        let response = socket.receive()?;
        // So short a message lies in one page.
        let bytes = socket.pages(response.length).next();
        trips.response(bytes.unwrap_or_default())?;
    }
    meter.finish()
}
