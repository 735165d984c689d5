//! What leaves a host: from its engines' bursts and events to the first node of each packet's way.

use homa_proto::{Burst, Instant};

use super::{World, ports};
use crate::agent::{Agent, Drop, Leaving, Seen};
use crate::events::Event;
use crate::fault::{Fate, Loss};
use crate::host::{context, host_at};
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::mix;

/// Bursts that one drain may bring: more means that an engine never ends.
const BURSTS_AT_ONCE: u32 = 100_000;

impl<A: Agent> World<A> {
    /// Sends what there is to send and tells what there is to tell, until there is nothing.
    pub(super) fn drain(&mut self, host: u32) {
        let Some(mut burst) = self.burst.take() else {
            return;
        };
        let mut bursts = 0;
        while self.transmit(host, &mut burst, &mut bursts) && self.tell(host) {}
        self.burst = Some(burst);
        if A::WATCHES {
            self.show(host);
        }
        self.schedule(host);
    }

    /// Shows the agent the tables of a host's engines.
    fn show(&mut self, host: u32) {
        for (engine, core) in self.hosts[host as usize].cores.iter().enumerate() {
            self.agent.drained(&mut Seen {
                now: self.now,
                host,
                engine,
                usage: Some(core.engine.usage()),
            });
        }
    }

    /// Sends what a host's engines have; `false`: they do not come to an end.
    fn transmit(&mut self, host: u32, burst: &mut Burst, bursts: &mut u32) -> bool {
        let now = Instant::from_nanos(self.now);
        let shares = self.agent.tells_engines();
        while let Some(engine) = self.hosts[host as usize].poll_transmit(now, burst, shares) {
            *bursts += 1;
            self.send(host, engine, burst);
            if *bursts > BURSTS_AT_ONCE {
                self.agent.stuck(self.now, host);
                return false;
            }
        }
        true
    }

    /// Tells a host's applications what happened; whether anything did.
    fn tell(&mut self, host: u32) -> bool {
        let mut any = false;
        for engine in 0..self.hosts[host as usize].cores.len() {
            loop {
                let it = &mut self.hosts[host as usize];
                let Some(event) = it.cores[engine].engine.poll_event() else {
                    break;
                };
                any = true;
                let mut cx = context(self.now, host, engine, it, &mut self.queue);
                self.agent.event(&mut cx, event);
            }
        }
        any
    }

    /// Gives the packets of a burst to the host's card.
    fn send(&mut self, host: u32, engine: usize, burst: &Burst) {
        let to = host_at(burst.path().peer.ip).unwrap_or(u32::MAX);
        let mut leaving = Leaving {
            engine,
            rpc: None,
            index: 0,
            count: burst.len(),
            burst_bytes: burst.bytes(),
        };
        for packet in burst.packets() {
            let mut sent = Packet::new(packet.header, host, to, burst.priority());
            leaving.rpc = packet.payload.map(|payload| payload.rpc);
            if let Some(payload) = packet.payload {
                let outgoing = &self.hosts[host as usize].cores[engine].outgoing;
                sent.payload_bytes = payload.length;
                sent.offset = payload.offset;
                sent.message = outgoing
                    .get(payload.rpc.index())
                    .copied()
                    .unwrap_or(NO_MESSAGE);
            }
            if self.agent.leaving(self.now, &leaving, &mut sent) {
                self.launch(sent);
            }
            leaving.index += 1;
        }
    }

    /// Puts a packet on its host's cable, through the faults.
    pub(super) fn launch(&mut self, mut packet: Packet) {
        if packet.to as usize >= self.hosts.len() {
            self.agent.dropped(self.now, &packet, Drop::NoHost);
            return;
        }
        packet.sent_at = self.now;
        let it = &self.hosts[packet.from as usize];
        let wait = it
            .nic
            .idle_at()
            .saturating_sub(self.now + it.config.send_delay);
        if wait > it.wait_max {
            self.agent.dropped(self.now, &packet, Drop::Queue);
            return;
        }
        let (source, dest) = ports(packet.header());
        let ends = u64::from(packet.from) << 32 | u64::from(packet.to);
        let ports = u64::from(source) << 16 | u64::from(dest);
        packet.flow = mix(ends ^ mix(ports)) as u32;
        let fate = match &mut self.faults {
            Some(faults) => faults.input(&mut packet),
            None => Fate::Passes {
                after: 0,
                again: None,
            },
        };
        let bytes = self.network.wire_bytes(packet.length());
        let it = &mut self.hosts[packet.from as usize];
        let at = it.nic.input(self.now + it.config.send_delay, bytes);
        match fate {
            Fate::Lost(loss) => {
                self.agent.dropped(self.now, &packet, Drop::Fault(loss));
                if loss == (Loss::TooLong { told: true }) {
                    self.tell_unreachable(&packet);
                }
            }
            Fate::Passes { after, again } => {
                self.agent.launched(self.now, &packet, after);
                self.enter(at + after, &packet);
                if let Some(later) = again {
                    self.agent.launched(self.now, &packet, later);
                    self.enter(at + later, &packet);
                }
            }
        }
    }

    /// Has a packet arrive at the first node of its way.
    fn enter(&mut self, at: u64, packet: &Packet) {
        let (node, at) = self.network.first_hop(packet.from, at);
        let packet = self.packets.insert(packet);
        self.queue.push(at, Event::Arrive { node, packet });
    }
}
