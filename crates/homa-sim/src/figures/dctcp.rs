//! DCTCP, as what users have: K = 65 packets, g = 1/16, one path for each flow.
//!
//! Every message is a flow of its own that begins with the window of the last one between its
//! hosts, as if it found a warm connection idle; connections of many messages would also make them
//! wait for each other. Every packet is acknowledged, and every message answered with a byte. A dropped packet is sent again when a timeout
//! has passed, and nothing else is; with this buffer there is hardly one.

use super::best::Cut;
use super::cables::{Cables, Happened};
use super::course::{Carrier, Ledger};
use super::outcome::Span;
use super::setup::Setup;
use super::traffic::Arrival;
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::mix;
use crate::topology::Spread;
use homa_proto::wire::Priority;

/// Bytes of a packet besides its payload: Ethernet with its gap, and the headers of IP and TCP.
const ETHERNET_BYTES: u32 = 38;
const HEADER_BYTES: u32 = 40;

/// How messages are cut.
pub(crate) const DCTCP_CUT: Cut = Cut {
    segment_bytes: 1_460,
    overhead_bytes: ETHERNET_BYTES + HEADER_BYTES,
};

/// Least payload of a packet: what fills the smallest Ethernet frame.
const LEAST_PAYLOAD_BYTES: u32 = 6;

/// A packet that finds so many bytes waiting is marked: 65 full packets.
const MARK_BYTES: u64 = 65 * 1_538;

/// Share of a new window in the estimate of the marked share.
const G: f64 = 1.0 / 16.0;

/// Window of the first flow between two hosts, in packets.
const FIRST_WINDOW: f64 = 10.0;

/// Nanoseconds after which a dropped packet is sent again.
const TIMEOUT_NANOS: u64 = 5_000_000;

/// "An acknowledgement", where the offset of a packet stands.
const ACK: u32 = u32::MAX;

/// What a sender knows of the way to another host.
#[derive(Clone, Copy, Debug)]
struct Window {
    packets: f64,
    /// Estimate of the share of marked packets.
    alpha: f64,
    /// Below it the window doubles in a round trip.
    threshold: f64,
    /// Packets acknowledged in this window, those of them that were marked, and its size.
    acked: u32,
    marked: u32,
    round: u32,
}

impl Window {
    const FIRST: Self = Self {
        packets: FIRST_WINDOW,
        alpha: 0.0,
        threshold: f64::MAX,
        acked: 0,
        marked: 0,
        round: FIRST_WINDOW as u32,
    };

    /// A packet was acknowledged. The window grows only where it was in the way (`limits`): else
    /// short messages would open it without end.
    fn acknowledge(&mut self, marked: bool, limits: bool) {
        self.acked += 1;
        self.marked += u32::from(marked);
        if marked {
            self.threshold = self.threshold.min(self.packets);
        }
        if !limits {
            // It holds.
        } else if self.packets < self.threshold {
            self.packets += 1.0;
        } else if !marked {
            self.packets += 1.0 / self.packets;
        }
        if self.acked >= self.round {
            let share = f64::from(self.marked) / f64::from(self.acked);
            self.alpha = (1.0 - G) * self.alpha + G * share;
            if self.marked > 0 {
                self.packets = (self.packets * (1.0 - self.alpha / 2.0)).max(1.0);
                self.threshold = self.packets;
            }
            (self.acked, self.marked, self.round) = (0, 0, self.packets as u32);
        }
    }

    fn time_out(&mut self) {
        self.threshold = (self.packets / 2.0).max(2.0);
        self.packets = 1.0;
    }
}

#[derive(Clone, Copy)]
struct Flow {
    from: u32,
    to: u32,
    bytes: u32,
    /// Packets of the message, those sent once, those that arrived, and those acknowledged.
    packets: u32,
    sent: u32,
    arrived: u32,
    acked: u32,
    window: Window,
}

/// All hosts with DCTCP, and their network.
pub(crate) struct Dctcp {
    cables: Cables,
    flows: Vec<Flow>,
    free: Vec<u32>,
    /// The message that a flow carries.
    carries: Vec<u32>,
    /// The last window between each two hosts.
    windows: Vec<Window>,
    /// Dropped packets, by the token of their timer.
    lost: Vec<Packet>,
    ledger: Ledger,
}

impl Dctcp {
    pub(crate) fn new(setup: &Setup, start: u64) -> Self {
        let cables = Cables::new(setup, start, Spread::PerFlow, ETHERNET_BYTES, MARK_BYTES);
        let hosts = cables.hosts();
        Self {
            cables,
            flows: Vec::new(),
            free: Vec::new(),
            carries: Vec::new(),
            windows: vec![Window::FIRST; (hosts * hosts) as usize],
            lost: Vec::new(),
            ledger: Ledger::new(setup, DCTCP_CUT, false),
        }
    }

    fn happen(&mut self, happened: Happened) {
        match happened {
            Happened::Arrived(packet) => {
                self.ledger.flow.wire_bytes += u64::from(packet.length() + ETHERNET_BYTES);
                if packet.offset == ACK {
                    self.acknowledged(&packet);
                } else {
                    self.arrived(&packet);
                }
            }
            Happened::Dropped(packet) => self.lose(packet),
            Happened::Timer(token) => {
                let packet = self.lost[token as usize];
                self.flows[packet.message as usize].window.time_out();
                self.launch(packet);
            }
        }
    }

    /// A switch had no room for a packet.
    fn lose(&mut self, mut packet: Packet) {
        self.ledger.outcome.drops += u64::from(self.ledger.counts);
        packet.marked = false;
        let token = self.lost.len() as u32;
        self.lost.push(packet);
        self.cables.after(TIMEOUT_NANOS, token);
    }

    /// Begins a flow that carries `message`.
    fn start(&mut self, from: u32, to: u32, bytes: u32, message: u32) {
        let flow = Flow {
            from,
            to,
            bytes,
            packets: bytes.div_ceil(DCTCP_CUT.segment_bytes),
            sent: 0,
            arrived: 0,
            acked: 0,
            window: self.windows[(from * self.cables.hosts() + to) as usize],
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.flows.push(flow);
                self.carries.push(message);
                (self.flows.len() - 1) as u32
            }
        };
        self.flows[place as usize] = flow;
        self.carries[place as usize] = message;
        self.fill(place);
    }

    /// A packet of a message is at its host, which acknowledges it.
    fn arrived(&mut self, packet: &Packet) {
        let flow = &mut self.flows[packet.message as usize];
        flow.arrived += 1;
        self.ledger.outcome.data_packets += u64::from(self.ledger.counts);
        if self.carries[packet.message as usize] != NO_MESSAGE {
            self.ledger.flow.arrived_bytes += u64::from(packet.payload_bytes);
        }
        if flow.arrived == flow.packets {
            let message = self.carries[packet.message as usize];
            self.ledger.end(self.cables.now, message);
            if message != NO_MESSAGE {
                // The response is load for all protocols.
                self.start(packet.to, packet.from, 1, NO_MESSAGE);
            }
        }
        let mut ack = segment(packet.to, packet.from, LEAST_PAYLOAD_BYTES);
        ack.message = packet.message;
        ack.offset = ACK;
        ack.marked = packet.marked;
        self.launch(ack);
    }

    fn acknowledged(&mut self, ack: &Packet) {
        let place = ack.message as usize;
        let flow = &mut self.flows[place];
        flow.acked += 1;
        let limits = flow.sent < flow.packets;
        flow.window.acknowledge(ack.marked, limits);
        if flow.acked == flow.packets {
            let pair = flow.from * self.cables.hosts() + flow.to;
            self.windows[pair as usize] = flow.window;
            self.free.push(ack.message);
        } else {
            self.fill(ack.message);
        }
    }

    /// Sends what a flow's window allows.
    fn fill(&mut self, place: u32) {
        loop {
            let flow = &mut self.flows[place as usize];
            let under_way = flow.sent - flow.acked;
            if flow.sent == flow.packets
                || f64::from(under_way) + 1.0 > flow.window.packets.max(1.0)
            {
                return;
            }
            let start = flow.sent * DCTCP_CUT.segment_bytes;
            let payload = DCTCP_CUT.segment_bytes.min(flow.bytes - start);
            let mut packet = segment(flow.from, flow.to, payload);
            packet.offset = flow.sent;
            packet.message = place;
            flow.sent += 1;
            self.launch(packet);
        }
    }

    fn launch(&mut self, mut packet: Packet) {
        packet.flow = mix(u64::from(packet.message) << 32 | u64::from(packet.from)) as u32;
        self.cables.launch(packet);
    }
}

fn segment(from: u32, to: u32, payload_bytes: u32) -> Packet {
    let header = [0; HEADER_BYTES as usize];
    let mut packet = Packet::new(&header, from, to, Priority::LOWEST);
    packet.payload_bytes = payload_bytes;
    packet
}

impl Carrier for Dctcp {
    fn run_until(&mut self, at: u64) {
        while let Some(happened) = self.cables.next(at) {
            self.happen(happened);
        }
    }

    fn begin(&mut self, arrival: Arrival, measured: bool) {
        let message = self.ledger.begin(arrival, measured);
        self.start(arrival.from, arrival.to, arrival.bytes, message);
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

    fn acknowledge(window: &mut Window, marks: &[bool]) {
        marks
            .iter()
            .for_each(|&mark| window.acknowledge(mark, true));
    }

    #[test]
    fn a_window_doubles_until_the_first_mark_and_then_grows_by_one_packet_a_round() {
        let mut window = Window::FIRST;
        acknowledge(&mut window, &[false; 10]);
        assert_eq!(window.packets, 20.0);
        window.threshold = 20.0;
        acknowledge(&mut window, &[false; 20]);
        assert!((20.9..21.0).contains(&window.packets), "{}", window.packets);
    }

    #[test]
    fn a_window_shrinks_by_half_of_the_share_of_marks_that_it_expects() {
        let mut window = Window {
            packets: 16.0,
            alpha: 1.0,
            threshold: 1.0,
            round: 16,
            ..Window::FIRST
        };
        acknowledge(&mut window, &[true; 16]);
        assert_eq!((window.packets, window.alpha), (8.0, 1.0));
        acknowledge(&mut window, &[false; 8]);
        assert_eq!(window.alpha, 15.0 / 16.0);
    }

    #[test]
    fn two_flows_into_one_host_fill_its_link_and_keep_the_queue_near_the_mark() {
        let setup = Setup::of("star:3".parse().unwrap());
        let mut dctcp = Dctcp::new(&setup, 0);
        for from in 0..2 {
            dctcp.begin(
                Arrival {
                    at: 0,
                    from,
                    to: 2,
                    bytes: 30_000_000,
                    hundredth: 0,
                },
                true,
            );
        }
        dctcp.run_until(4_000_000);
        dctcp.start_counting();
        dctcp.run_until(20_000_000);
        let (edge, _) = dctcp.cables.counters();
        // 16 ms at 10 Gbit/s are 20 MB.
        let used = edge.level_bytes[0] as f64 / 20e6;
        assert!((0.98..1.11).contains(&used), "{used}");
        let mean = edge.queue_byte_nanos as f64 / 16e6 / 1_538.0;
        assert!((30.0..90.0).contains(&mean), "{mean} packets");
        assert_eq!(dctcp.lost.len(), 0);
    }

    #[test]
    fn a_message_alone_takes_the_best_possible_time() {
        let setup = Setup::paper();
        let mut dctcp = Dctcp::new(&setup, 0);
        let arrival = Arrival {
            at: 0,
            from: 0,
            to: 100,
            bytes: 14_000,
            hundredth: 3,
        };
        dctcp.begin(arrival, true);
        dctcp.run_until(1_000_000);
        let slowdowns = &dctcp.ledger.outcome.slowdowns;
        assert!(slowdowns.mean(3..4).unwrap() < 1.001);
    }
}
