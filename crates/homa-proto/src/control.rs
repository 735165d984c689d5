//! Control packets: those without an RPC, and what an RPC has to say or to ask. Decides what they say;
//! when an RPC speaks is decided where its state is.

use crate::burst::{Burst, MAX_BURST_PACKETS};
use crate::engine::Engine;
use crate::rpc::{Pending, ServerRpc, State};
use crate::wire::{Body, Common, Packet, Priority, Resend, ResendRange, RpcId, RpcUnknown};

impl Engine {
    /// Level of all packets but DATA.
    pub(crate) fn control_priority(&self) -> Priority {
        Priority::new(self.config.priorities - 1).unwrap_or(Priority::HIGHEST)
    }

    pub(crate) fn poll_outbox(&mut self, burst: &mut Burst) -> bool {
        let Some((path, packet)) = self.outbox.pop() else {
            return false;
        };
        burst.start(path, self.control_priority());
        burst.push(None, |header| packet.emit(header));
        true
    }

    #[inline]
    pub(crate) fn poll_control(&mut self, burst: &mut Burst) -> bool {
        self.control.first().is_some() && self.send_control(burst)
    }

    fn send_control(&mut self, burst: &mut Burst) -> bool {
        while let Some(index) = self.control.first() {
            let what = self.rpcs[index].pending.take_first();
            if self.rpcs[index].pending.is_empty() {
                self.control.remove(index);
            }
            let Some(what) = what else {
                continue;
            };
            burst.start(self.path_of(index), self.control_priority());
            self.emit_control(index, what, burst);
            if !burst.is_empty() {
                return true;
            }
        }
        false
    }

    fn emit_control(&mut self, index: u32, what: Pending, burst: &mut Burst) {
        let body = match what {
            Pending::ASK => return self.emit_asks(index, burst),
            Pending::PROVE => Body::Resend(Resend {
                range: ResendRange::Bytes {
                    offset: 0,
                    length: 1,
                },
                priority: Some(self.control_priority()),
            }),
            Pending::BUSY => Body::Busy,
            Pending::NEED_ACK => Body::NeedAck,
            _ => match self.rpcs[index].state {
                State::Server(ServerRpc::Refused(reason)) => Body::RpcUnknown(RpcUnknown {
                    reason: Some(reason),
                }),
                _ => return,
            },
        };
        self.emit_answer(index, body, burst);
    }

    /// Adds a control packet, and counts it, unless it would say too much to an unproven address.
    pub(crate) fn emit_answer(&mut self, index: u32, body: Body, burst: &mut Burst) {
        let rpc = &self.rpcs[index];
        let packet = Packet {
            common: rpc.common(),
            body,
        };
        let mut header = [0; crate::wire::MAX_HEADER_BYTES];
        let length = packet.emit(&mut header);
        if !self.peers[rpc.peer].allow(u32::try_from(length).unwrap_or(u32::MAX)) {
            self.counters.held_back_unproven += 1;
            return;
        }
        burst.push(None, |buffer| {
            *buffer = header;
            length
        });
        self.counters.count_control(&body);
    }

    /// RESENDs for all that is missing, as far as they fit into one burst.
    fn emit_asks(&mut self, index: u32, burst: &mut Burst) {
        let mut wanted = [const { 0..0 }; MAX_BURST_PACKETS];
        let mut count = 0;
        if !self.rpcs[index].receives() {
            // The request became complete since.
            return;
        }
        let everything = match self.rpcs.inbound_of(index) {
            Some(inbound) if inbound.received > 0 => {
                for (place, range) in wanted.iter_mut().zip(inbound.missing(&self.ranges)) {
                    *place = range;
                    count += 1;
                }
                false
            }
            _ => true,
        };
        let top = self.control_priority();
        if everything {
            let second = Priority::new(top.get().saturating_sub(1));
            let stalled_once = self.rpcs.inbound_of(index).is_some();
            let body = Body::Resend(Resend {
                range: ResendRange::Everything,
                priority: if stalled_once { second } else { Some(top) },
            });
            self.emit_answer(index, body, burst);
        }
        for range in wanted.into_iter().take(count) {
            let body = Body::Resend(Resend {
                range: ResendRange::Bytes {
                    offset: range.start,
                    length: range.end - range.start,
                },
                priority: Some(top),
            });
            self.emit_answer(index, body, burst);
        }
    }
}

/// An answer to a packet that needs no RPC state: ports swapped, our view of the id.
pub(crate) fn swap(common: &Common, id: RpcId, body: Body) -> Packet {
    Packet {
        common: Common {
            source_port: common.dest_port,
            dest_port: common.source_port,
            sender_id: id,
        },
        body,
    }
}
