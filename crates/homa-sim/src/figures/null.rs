//! No transport at all: every message goes to its host's card at once, in packets that nobody
//! acknowledges, grants or sends again. What it costs to simulate is what the network costs.

use homa_proto::wire::{DATA_HEADER_BYTES, Priority};

use super::cables::{Cables, Happened};
use super::course::{Carrier, Ledger};
use super::outcome::Span;
use super::setup::{HOMA_CUT, Setup};
use super::traffic::Arrival;
use crate::packet::Packet;
use crate::topology::Spread;
use crate::world::PACKET_OVERHEAD_BYTES;

/// All hosts, and their network.
pub(crate) struct Null {
    cables: Cables,
    /// Packets of each message that did not arrive yet, by the ledger's name for it.
    missing: Vec<u32>,
    ledger: Ledger,
}

impl Null {
    pub(crate) fn new(setup: &Setup, start: u64) -> Self {
        let spread = Spread::PerPacket;
        Self {
            cables: Cables::new(setup, start, spread, PACKET_OVERHEAD_BYTES, u64::MAX),
            missing: Vec::new(),
            ledger: Ledger::new(setup, HOMA_CUT, false),
        }
    }

    fn arrived(&mut self, packet: &Packet) {
        self.ledger.outcome.data_packets += u64::from(self.ledger.counts);
        let flow = &mut self.ledger.flow;
        flow.wire_bytes += u64::from(packet.length() + PACKET_OVERHEAD_BYTES);
        flow.arrived_bytes += u64::from(packet.payload_bytes);
        let missing = &mut self.missing[packet.message as usize];
        *missing -= 1;
        if *missing == 0 {
            self.ledger.end(self.cables.now, packet.message);
        }
    }
}

impl Carrier for Null {
    fn run_until(&mut self, at: u64) {
        while let Some(happened) = self.cables.next(at) {
            match happened {
                Happened::Arrived(packet) => self.arrived(&packet),
                Happened::Dropped(_) => {
                    self.ledger.outcome.drops += u64::from(self.ledger.counts);
                }
                Happened::Timer(_) => {}
            }
        }
    }

    fn begin(&mut self, arrival: Arrival, measured: bool) {
        let Arrival {
            from, to, bytes, ..
        } = arrival;
        let message = self.ledger.begin(arrival, measured);
        let place = message as usize;
        if self.missing.len() <= place {
            self.missing.resize(place + 1, 0);
        }
        self.missing[place] = bytes.div_ceil(HOMA_CUT.segment_bytes);
        let header = [0; DATA_HEADER_BYTES];
        let mut packet = Packet::new(&header, from, to, Priority::LOWEST);
        packet.message = message;
        while packet.offset < bytes {
            packet.payload_bytes = HOMA_CUT.segment_bytes.min(bytes - packet.offset);
            self.cables.launch(packet);
            packet.offset += packet.payload_bytes;
        }
    }

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn start_counting(&mut self) {
        self.cables.restart_counters();
    }

    fn stop_counting(&mut self, span: &Span) {
        let (edge, switches) = self.cables.counters();
        self.ledger.outcome.note(span, &edge, &switches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_one_host_wait_for_its_link_and_nothing_else() {
        let mut null = Null::new(&Setup::of("star:3".parse().unwrap()), 0);
        for from in 0..2 {
            let arrival = Arrival {
                at: 0,
                from,
                to: 2,
                bytes: 100 * HOMA_CUT.segment_bytes,
                hundredth: from as u8,
            };
            null.begin(arrival, true);
        }
        null.run_until(1_000_000);
        let slowdowns = &null.ledger.outcome.slowdowns;
        for hundredth in 0..2 {
            // Their packets take turns.
            let mean = slowdowns.mean(hundredth..hundredth + 1).unwrap();
            assert!((1.95..2.0).contains(&mean), "{mean}");
        }
        let (edge, _) = null.cables.counters();
        assert_eq!(edge.level_bytes[0], 200 * 1_538);
    }
}
