//! `homa bench rtt`: one round trip at a time.

mod homa;
mod kernel;
#[cfg(feature = "rivals")]
mod rivals;
mod tcp;
mod udp;

use std::io::{self, ErrorKind};
use std::time::Instant;

pub(super) use kernel::KERNEL;

use super::meter::Meter;
#[cfg(feature = "rivals")]
use super::rivals::{quinn, tonic};
use super::suite::Waiting::{Block, Spin, Tokio};
use super::suite::{Figure, MILLION_RPCS, OVER_IP, Ratio, Suite, Variant};
#[cfg(feature = "rivals")]
use crate::answer::Answer;
use crate::congestion::Congestion::{Bbr, Cubic};

pub(super) const SUITE: Suite = Suite {
    name: "rtt",
    title: "Round trips of 100 bytes each way, one at a time",
    figure: Figure {
        unit: "p50 µs",
        of: |sample| sample.p50_us,
        lower_is_better: true,
    },
    work: MILLION_RPCS,
    message_bytes: 100,
    outstanding: 1,
    variants: VARIANTS,
    ratios: RATIOS,
};

const UDP_BLOCK: Variant = Variant::new(
    "udp_block",
    |job| udp::serve(job, Block, false),
    |job, meter| udp::measure(job, meter, Block, false),
);

const TCP_BLOCK: Variant = Variant::new(
    "tcp_block",
    |job| tcp::serve(job, Block, Cubic),
    |job, meter| tcp::measure(job, meter, Block, Cubic),
)
.over(Cubic);

const VARIANTS: &[Variant] = &[
    Variant::new(
        "homa_spin",
        |job| homa::serve(job, Spin),
        |job, meter| homa::measure(job, meter, Spin),
    ),
    Variant::new(OVER_IP, homa::serve_ip, homa::measure_ip),
    Variant::new(
        "udp_spin",
        |job| udp::serve(job, Spin, false),
        |job, meter| udp::measure(job, meter, Spin, false),
    ),
    Variant::new(
        "tcp_spin",
        |job| tcp::serve(job, Spin, Cubic),
        |job, meter| tcp::measure(job, meter, Spin, Cubic),
    )
    .over(Cubic),
    Variant::new(
        "tcp_bbr_spin",
        |job| tcp::serve(job, Spin, Bbr),
        |job, meter| tcp::measure(job, meter, Spin, Bbr),
    )
    .over(Bbr),
    Variant::new(
        "udp_connected_spin",
        |job| udp::serve(job, Spin, true),
        |job, meter| udp::measure(job, meter, Spin, true),
    ),
    Variant::new(
        "homa_block",
        |job| homa::serve(job, Block),
        |job, meter| homa::measure(job, meter, Block),
    ),
    UDP_BLOCK,
    TCP_BLOCK,
    Variant::new(
        "homa_tokio",
        |job| homa::serve(job, Tokio),
        |job, meter| homa::measure(job, meter, Tokio),
    ),
    Variant::new(
        "udp_tokio",
        |job| udp::serve(job, Tokio, false),
        |job, meter| udp::measure(job, meter, Tokio, false),
    ),
    Variant::new(
        "tcp_tokio",
        |job| tcp::serve(job, Tokio, Cubic),
        |job, meter| tcp::measure(job, meter, Tokio, Cubic),
    )
    .over(Cubic),
    #[cfg(feature = "rivals")]
    Variant::new(
        "quinn",
        |job| quinn::serve(job, Answer::Echo),
        rivals::measure_quinn,
    ),
    #[cfg(feature = "rivals")]
    Variant::new(
        "tonic",
        |job| tonic::serve(job, Answer::Echo),
        rivals::measure_tonic,
    )
    .over(Cubic),
];

const RATIOS: &[Ratio] = &[
    Ratio::of("homa_spin/udp_spin", &["homa_spin"], &["udp_spin"]),
    Ratio::of("homa_ip/udp_spin", &[OVER_IP], &["udp_spin"]),
    Ratio::of("homa_spin/tcp_spin", &["homa_spin"], &["tcp_spin"]),
    Ratio::of("homa_block/udp_block", &["homa_block"], &["udp_block"]),
    Ratio::of("homa_block/tcp_block", &["homa_block"], &["tcp_block"]),
    Ratio::of("homa_tokio/udp_tokio", &["homa_tokio"], &["udp_tokio"]),
    Ratio::of("homa_tokio/tcp_tokio", &["homa_tokio"], &["tcp_tokio"]),
    Ratio::of("homa_tokio/quinn", &["homa_tokio"], &["quinn"]),
    Ratio::of("homa_tokio/tonic", &["homa_tokio"], &["tonic"]),
    Ratio::of("tcp_spin/udp_spin", &["tcp_spin"], &["udp_spin"]),
    Ratio::of("tcp_spin/tcp_bbr_spin", &["tcp_spin"], &["tcp_bbr_spin"]),
];

/// Round trips of one client, each message different from the one before.
struct RoundTrips<'a> {
    meter: &'a mut Meter,
    request: Vec<u8>,
    count: u64,
    sent: Instant,
}

impl<'a> RoundTrips<'a> {
    fn new(meter: &'a mut Meter, message_bytes: usize) -> Self {
        Self {
            meter,
            request: vec![0x5a; message_bytes],
            count: 0,
            sent: Instant::now(),
        }
    }

    /// The next request, whose time runs from here; `None` when the turn is over.
    fn request(&mut self) -> Option<&[u8]> {
        self.count += 1;
        let number = self.count.to_be_bytes();
        let length = self.request.len().min(number.len());
        self.request[..length].copy_from_slice(&number[..length]);
        let goes_on = self.meter.goes_on();
        self.sent = Instant::now();
        goes_on.then_some(&self.request)
    }

    /// Its response has come.
    ///
    /// # Errors
    /// The response is not the request.
    fn response(&mut self, response: &[u8]) -> io::Result<()> {
        let latency = self.sent.elapsed();
        if response != self.request {
            let text = "a response is not its request";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        self.meter.round_trip(latency, response.len() as u64);
        Ok(())
    }
}
