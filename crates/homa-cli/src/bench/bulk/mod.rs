//! `homa bench bulk`: as many bytes as go through, from the client to the server.
//!
//! Every variant has the same number of bytes on their way: what was sent but is not yet known to
//! have arrived. The floors and TCP stream, with receipts every so often; Homa sends messages.

mod homa;
mod kernel;
mod tcp;
mod udp;

use std::io::{self, ErrorKind};

pub(super) use kernel::KERNEL;

use super::meter::Meter;
#[cfg(feature = "rivals")]
use super::rivals;
use super::suite::Waiting::{Block, Spin};
use super::suite::{Figure, GIGABYTE, Ratio, Suite, Variant};
#[cfg(feature = "rivals")]
use crate::answer::Answer;
use crate::congestion::Congestion::{Bbr, Cubic};

pub(super) const SUITE: Suite = Suite {
    name: "bulk",
    title: "Messages of 1,000,000 bytes one way, at most 1,000,000 bytes on their way",
    figure: Figure {
        unit: "Gbit/s",
        of: |sample| sample.bytes as f64 * 8.0 / sample.seconds / 1e9,
        lower_is_better: false,
    },
    work: GIGABYTE,
    message_bytes: 1_000_000,
    outstanding: 2,
    variants: VARIANTS,
    ratios: RATIOS,
};

/// Payload of a UDP datagram that fills a packet of 1,500 bytes.
const FULL_PAYLOAD: usize = 1472;
/// The same less the header that Homa puts into each.
const HOMA_PAYLOAD: usize = 1416;

const TCP_BLOCK: Variant = Variant::new(
    "tcp_block",
    |job| tcp::serve(job, Block, Cubic),
    |job, meter| tcp::measure(job, meter, Block, Cubic),
)
.over(Cubic);

const UDP_BLOCK: Variant = Variant::new(
    "udp_gso_gro_block",
    |job| udp::serve_offloaded(job, Block, FULL_PAYLOAD),
    |job, meter| udp::measure_offloaded(job, meter, Block, FULL_PAYLOAD),
);

const VARIANTS: &[Variant] = &[
    Variant::new(
        "homa",
        |job| homa::serve(job, Spin),
        |job, meter| homa::measure(job, meter, Spin),
    ),
    Variant::new(
        "homa_copied",
        |job| homa::serve(job, Spin),
        homa::measure_copied,
    ),
    Variant::new(
        "udp_gso_gro_1472",
        |job| udp::serve_offloaded(job, Spin, FULL_PAYLOAD),
        |job, meter| udp::measure_offloaded(job, meter, Spin, FULL_PAYLOAD),
    ),
    Variant::new(
        "tcp_spin",
        |job| tcp::serve(job, Spin, Cubic),
        |job, meter| tcp::measure(job, meter, Spin, Cubic),
    )
    .over(Cubic),
    Variant::new(
        "udp_gso_gro_1416",
        |job| udp::serve_offloaded(job, Spin, HOMA_PAYLOAD),
        |job, meter| udp::measure_offloaded(job, meter, Spin, HOMA_PAYLOAD),
    ),
    TCP_BLOCK,
    Variant::new(
        "homa_block",
        |job| homa::serve(job, Block),
        |job, meter| homa::measure(job, meter, Block),
    ),
    UDP_BLOCK,
    Variant::new(
        "tcp_bbr_spin",
        |job| tcp::serve(job, Spin, Bbr),
        |job, meter| tcp::measure(job, meter, Spin, Bbr),
    )
    .over(Bbr),
    Variant::new(
        "tcp_bbr_block",
        |job| tcp::serve(job, Block, Bbr),
        |job, meter| tcp::measure(job, meter, Block, Bbr),
    )
    .over(Bbr),
    Variant::new(
        "udp_mmsg_1472",
        |job| udp::serve_batched(job, FULL_PAYLOAD),
        |job, meter| udp::measure_batched(job, meter, FULL_PAYLOAD),
    ),
    #[cfg(feature = "rivals")]
    Variant::new(
        "quinn",
        |job| rivals::quinn::serve(job, Answer::Receipt),
        |job, meter| rivals::measure_quinn(job, meter, Answer::Receipt),
    ),
    #[cfg(feature = "rivals")]
    Variant::new(
        "tonic",
        |job| rivals::tonic::serve(job, Answer::Receipt),
        |job, meter| rivals::measure_tonic(job, meter, Answer::Receipt),
    )
    .over(Cubic),
];

const FLOOR: &[&str] = &["udp_gso_gro_1472", "udp_gso_gro_1416"];
const TCP: &[&str] = &["tcp_spin", "tcp_block"];

const RATIOS: &[Ratio] = &[
    Ratio::of("homa/udp_gso_gro", &["homa"], FLOOR),
    Ratio::of("homa/tcp", &["homa"], TCP),
    Ratio::of("homa/homa_copied", &["homa"], &["homa_copied"]),
    Ratio::of(
        "homa_block/udp_gso_gro_block",
        &["homa_block"],
        &["udp_gso_gro_block"],
    ),
    Ratio::of(
        "homa/tcp_bbr",
        &["homa"],
        &["tcp_bbr_spin", "tcp_bbr_block"],
    ),
    Ratio::of("homa/quinn", &["homa"], &["quinn"]),
    Ratio::of("homa/tonic", &["homa"], &["tonic"]),
    Ratio::of("tcp/udp_gso_gro", TCP, FLOOR),
];

/// How much may be on its way.
const IN_FLIGHT_BYTES: u64 = 1_000_000;

/// The server says how much has arrived each time that this much more has.
const RECEIPT_BYTES: u64 = IN_FLIGHT_BYTES / 8;

/// What the sender knows about the bytes it sent.
struct Flow<'a> {
    meter: &'a mut Meter,
    sent: u64,
    received: u64,
}

impl<'a> Flow<'a> {
    const fn new(meter: &'a mut Meter) -> Self {
        Self {
            meter,
            sent: 0,
            received: 0,
        }
    }

    /// How many bytes may be sent.
    const fn room(&self) -> u64 {
        IN_FLIGHT_BYTES.saturating_sub(self.sent - self.received)
    }

    /// The server has received `total` bytes so far.
    ///
    /// # Errors
    /// That is more than were sent.
    fn receipt(&mut self, total: u64) -> io::Result<()> {
        if total > self.sent {
            let text = format!("{total} bytes arrived of {}", self.sent);
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        // Receipts that overtake each other say nothing new.
        let new = total.saturating_sub(self.received);
        self.meter.count(0, new);
        self.received += new;
        Ok(())
    }

    /// Every byte has arrived, or an error says how many did not.
    fn finish(&self) -> io::Result<()> {
        match self.sent - self.received {
            0 => Ok(()),
            lost => Err(io::Error::other(format!(
                "{lost} of {} bytes were lost",
                self.sent
            ))),
        }
    }
}

/// What the receiver has counted.
#[derive(Default)]
struct Arrived {
    total: u64,
    told: u64,
}

impl Arrived {
    /// Bytes have arrived; the receipt that is due.
    fn add(&mut self, count: usize) -> Option<[u8; 8]> {
        self.total += count as u64;
        (self.total - self.told >= RECEIPT_BYTES).then(|| self.receipt())
    }

    const fn receipt(&mut self) -> [u8; 8] {
        self.told = self.total;
        self.total.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::bench::clocks::Clocks;
    use crate::bench::meter::Turn;

    #[test]
    fn no_more_is_on_its_way_than_allowed_and_what_is_lost_is_told() {
        let turn = Turn {
            warm_up: Duration::ZERO,
            window: Duration::from_secs(1),
        };
        let mut meter = Meter::begin(turn, Clocks::default());
        let mut flow = Flow::new(&mut meter);
        flow.sent = 700_000;
        assert_eq!(flow.room(), 300_000);
        flow.receipt(125_000).unwrap();
        flow.receipt(100_000).unwrap();
        assert_eq!((flow.room(), flow.received), (425_000, 125_000));
        assert!(flow.receipt(700_001).is_err());
        assert_eq!(
            flow.finish().unwrap_err().to_string(),
            "575000 of 700000 bytes were lost"
        );
        flow.receipt(700_000).unwrap();
        flow.finish().unwrap();
    }

    #[test]
    fn receipts_are_due_every_eighth_of_what_may_be_on_its_way() {
        let mut arrived = Arrived::default();
        assert_eq!(arrived.add(124_999), None);
        assert_eq!(arrived.add(1), Some(125_000_u64.to_be_bytes()));
        assert_eq!(arrived.add(100_000), None);
        assert_eq!(arrived.receipt(), 225_000_u64.to_be_bytes());
    }
}
