//! Laws of packets: their form, their sender's permission, their level.

use super::header::Data;
use super::{Header, Laws, Says, message};
use crate::agent::Leaving;
use crate::packet::{NO_MESSAGE, Packet};
use crate::swarm::plan::{OTHER_PORT, PORT};

const DATA_HEADER_BYTES: u32 = 56;

impl Laws {
    /// An engine gave a packet out.
    pub(crate) fn leaving(&mut self, now: u64, leaving: &Leaving, packet: &Packet) {
        self.fold_packet(now, packet);
        let host = packet.from;
        self.check_burst(now, host, leaving);
        let Some(header) = Header::read(packet.header()) else {
            let seen = format!("{packet:?}");
            self.breach("packets are well formed", now, host, None, seen);
            return;
        };
        if packet.message != NO_MESSAGE && header.is_from_client() {
            let call = packet.message / 2;
            let server = self.deal(call).server;
            self.ids.insert((host, server, header.client_id()), call);
        }
        let call = self.call_of(host, packet.to, &header);
        self.check_form(now, packet, &header, call);
        self.check_level(now, packet, &header, call);
        if let Says::Data(data) = header.says {
            self.check_pace(now, leaving, packet, &data);
        }
        match header.says {
            Says::Data(_) if packet.message != NO_MESSAGE => {
                self.check_permission(now, packet, &header);
                self.check_order(now, leaving, packet, &header);
                self.note_sent(now, packet, &header);
            }
            Says::Grant { offset, priority } => {
                if let Some(call) = call {
                    self.granted(now, host, call, offset, priority);
                }
            }
            Says::Cutoffs { version, .. } => {
                self.hosts[host as usize]
                    .versions
                    .insert(packet.to, version);
            }
            Says::Resend(Some((_, end))) => self.check_resend(now, packet, call, end),
            Says::Resend(None) => self.check_ask_all(now, leaving.engine, packet, call),
            Says::NeedAck => self.check_need_ack(now, packet, call),
            _ => {}
        }
    }

    /// A burst has no more packets and bytes than it may have.
    fn check_burst(&mut self, now: u64, host: u32, leaving: &Leaving) {
        let config = &self.configs[host as usize];
        let (packets, bytes) = (config.burst_packets.into(), config.burst_bytes as usize);
        if leaving.count == packets {
            self.met.insert("limit: packets of a burst");
        }
        if leaving.rpc.is_some() && leaving.burst_bytes + self.segment as usize > bytes {
            self.met.insert("limit: bytes of a burst");
        }
        // One segment goes in any case.
        let one = (self.segment + DATA_HEADER_BYTES) as usize;
        let data = leaving.rpc.is_some();
        if data && (leaving.count > packets || leaving.burst_bytes > bytes.max(one)) {
            let seen = format!("{leaving:?}");
            self.breach("a burst stays within its limits", now, host, None, seen);
        }
    }

    /// Nobody asks for a message that there is no room for.
    fn check_ask_all(&mut self, now: u64, engine: usize, packet: &Packet, call: Option<u32>) {
        let host = packet.from;
        let Some(call) = call.filter(|&call| !self.is_exempt_call(call)) else {
            return;
        };
        let is_client = self.deal(call).client == host;
        let limit = self.configs[host as usize].receive_budget_bytes;
        let used = self.hosts[host as usize].buffered[engine];
        let stalled = self.hosts[host as usize].stalled[engine];
        let message = self.calls[call as usize].message(is_client);
        // Until a packet of it came, nobody knows that there is a message.
        let known = message.seen && message.stored == 0 && stalled;
        if known && used + u64::from(message.length) > limit {
            let seen = format!(
                "{} bytes are asked for, {used} of {limit} are in use",
                message.length
            );
            let law = "nothing is asked for that there is no room for";
            self.breach(law, now, host, Some(call), seen);
        }
    }

    /// A server that is done with an RPC says no more about it.
    fn check_need_ack(&mut self, now: u64, packet: &Packet, call: Option<u32>) {
        let Some(call) = call else {
            return;
        };
        let served = &self.hosts[packet.from as usize].serving;
        let known = served.values().any(|&of| of == message(call, false));
        if !known && !self.is_exempt_call(call) {
            let seen = format!("NEED_ACK for call {call}, which its server has ended");
            let law = "an RPC that is over is silent";
            self.breach(law, now, packet.from, Some(call), seen);
        }
    }

    fn check_form(&mut self, now: u64, packet: &Packet, header: &Header, call: Option<u32>) {
        let levels = self.configs[packet.from as usize].priorities;
        let ports = [PORT, OTHER_PORT].contains(&header.source);
        let wrong = match header.says {
            Says::Data(data) => {
                let end = data.offset.saturating_add(packet.payload_bytes);
                packet.payload_bytes == 0
                    || packet.payload_bytes > self.segment
                    || end > data.length
                    || packet.length() != DATA_HEADER_BYTES + packet.payload_bytes
                    || data.offset != packet.offset
            }
            _ => packet.payload_bytes > 0,
        };
        if wrong || !ports || packet.priority >= levels {
            let seen = format!("{header} at {}: {packet:?}", packet.priority);
            self.breach("packets are well formed", now, packet.from, call, seen);
        }
    }

    /// Control packets go at the best level, unscheduled bytes at the receiver's, scheduled ones
    /// at the granted.
    fn check_level(&mut self, now: u64, packet: &Packet, header: &Header, call: Option<u32>) {
        let host = packet.from;
        let top = self.configs[host as usize].priorities - 1;
        let expected = match header.says {
            Says::Data(data) if !data.retransmit => {
                let config = &self.configs[host as usize];
                let unscheduled = config.unscheduled_bytes;
                let first = data.offset == 0;
                // A response to a marked request is cut there.
                let uncut = unscheduled
                    .min(self.segment)
                    .min(config.incast_unscheduled_bytes);
                if packet.message == NO_MESSAGE {
                    return;
                }
                let state = &mut self.calls[packet.message as usize / 2];
                let state = state.message(packet.message & 1 == 1);
                if first || data.length <= uncut {
                    let peer = (packet.to, header.dest, data.version);
                    let levels = self.hosts[host as usize].levels.get(&peer);
                    if data.version != 0 && levels.is_none() {
                        // Its sender heard them in another life, or in a lie.
                        return;
                    }
                    level_for(levels.filter(|_| data.version != 0), top, data.length)
                } else if data.offset >= unscheduled.max(state.segment) {
                    match state.level {
                        Some(level) => level.min(top),
                        None => return,
                    }
                } else {
                    return;
                }
            }
            Says::Data(_) => return,
            _ => top,
        };
        if packet.priority != expected && !self.is_exempt(host, packet.to) {
            let seen = format!("{header} at {}, not {expected}", packet.priority);
            self.breach("packets have their level", now, host, call, seen);
        }
    }

    /// Nothing is sent for the first time that was not allowed, but the rest of a segment.
    fn check_permission(&mut self, now: u64, packet: &Packet, header: &Header) {
        let Says::Data(data) = header.says else {
            return;
        };
        let call = packet.message / 2;
        let unasked = self.configs[packet.from as usize].unscheduled_bytes;
        let message = self.calls[call as usize].message(packet.message & 1 == 1);
        // One segment always goes, whatever small ones it is cut into later.
        let allowed = message.allowed.max(unasked).max(message.segment);
        let end = data.offset + packet.payload_bytes;
        let again = data.retransmit && end > message.sent;
        let over = data.offset >= allowed && !data.retransmit;
        let length = message.length;
        let sent = message.sent;
        if self.is_exempt_call(call) {
            return;
        }
        if over || again || length != data.length {
            let seen = format!(
                "{header}: byte {} of {length} is sent, {allowed} are allowed, {sent} were sent",
                data.offset
            );
            let law = "nothing is sent past a grant";
            self.breach(law, now, packet.from, Some(call), seen);
        }
    }

    /// Bytes of a message leave for the first time.
    fn note_sent(&mut self, now: u64, packet: &Packet, header: &Header) {
        let Says::Data(data) = header.says else {
            return;
        };
        if data.retransmit {
            return;
        }
        let end = data.offset + packet.payload_bytes;
        let is_response = packet.message & 1 == 1;
        let message = self.calls[packet.message as usize / 2].message(is_response);
        // A message that starts anew is sent from its beginning, and waits for grants anew.
        message.sent = if data.offset < message.sent {
            message.granted_here = 0;
            end
        } else {
            end.max(message.sent)
        };
        message.doubtful &= data.offset != 0;
        message.promised = data.incoming;
        message.sent_at = now;
        self.may_send(packet.from, packet.message);
    }

    /// A receiver asks for nothing that it did not allow.
    fn check_resend(&mut self, now: u64, packet: &Packet, call: Option<u32>, end: u32) {
        let Some(call) = call.filter(|&call| !self.is_exempt_call(call)) else {
            return;
        };
        let is_client = self.deal(call).client == packet.from;
        let segment = self.segment;
        let unasked = self.configs[packet.from as usize].unscheduled_bytes;
        let message = self.calls[call as usize].message(is_client);
        let told = message.granted.max(unasked).max(message.stored_end);
        let most = told.saturating_add(segment);
        if end > most && message.stored > 0 {
            let seen = format!("RESEND to {end}, allowed were {most}");
            let law = "nothing is asked for past a grant";
            self.breach(law, now, packet.from, Some(call), seen);
        }
    }

    /// A packet is about to be handed to its engine.
    pub(crate) fn arriving(&mut self, now: u64, packet: &Packet) {
        if packet.lie {
            self.peace.lie(packet.from, packet.to);
        }
        self.peace
            .took(packet.from, packet.to, now - packet.sent_at);
        let Some(header) = Header::read(packet.header()) else {
            return;
        };
        let host = packet.to;
        if let Says::Cutoffs { levels, .. } = header.says {
            let known = self.call_of(packet.from, host, &header).is_some();
            if known || self.is_exempt(packet.from, host) {
                self.note_levels(host, packet.from, levels, &header);
            }
        }
        if header.says == Says::Busy {
            self.peace.answered(packet.from, host);
        }
        let Some(call) = self.call_of(packet.from, host, &header) else {
            return;
        };
        // What this host sends in the call is the response if the other end is its client.
        let is_response = header.is_from_client();
        match header.says {
            Says::Data(data) => {
                self.note_unasked(host, message(call, !is_response), data.incoming);
                // Its first bytes open no gap: only want of room keeps them out.
                self.calls[call as usize].message(!is_response).seen |= data.offset == 0;
                if !is_response {
                    self.sending_over(host, message(call, false));
                }
            }
            Says::Grant { offset, priority } => {
                let it = self.calls[call as usize].message(is_response);
                it.allowed = it.allowed.max(offset);
                it.granted_here = it.granted_here.max(offset.min(it.length));
                it.level = Some(priority);
                self.may_send(host, message(call, is_response));
            }
            Says::Resend(Some((_, end))) => {
                let it = self.calls[call as usize].message(is_response);
                it.allowed = it.allowed.max(end);
            }
            Says::Unknown { .. } => {
                let it = &mut self.calls[call as usize];
                it.message(is_response).doubtful = true;
                if !is_response {
                    it.unknowns += 1;
                }
            }
            _ => {}
        }
    }

    /// An engine has handled a packet: a peer that tells our version has proven its address.
    pub(crate) fn arrived(&mut self, now: u64, engine: usize, packet: &Packet) {
        self.hears(now, packet.to, engine, packet.from);
        let Some(header) = Header::read(packet.header()) else {
            return;
        };
        let (host, from) = (packet.to, packet.from);
        let known = self.call_of(from, host, &header).is_some();
        let Says::Data(Data { version, .. }) = header.says else {
            return;
        };
        let it = &mut self.hosts[host as usize];
        let told = it.versions.get(&from);
        let ours = told.is_some_and(|&told| is_one_life(told, version));
        if known && version != 0 && ours {
            it.proven.insert((engine, from, header.source), now);
        }
    }

    /// Cutoffs count for a live RPC, and not if they are of an earlier life.
    fn note_levels(&mut self, host: u32, from: u32, levels: [u32; 8], header: &Header) {
        let Says::Cutoffs { version, .. } = header.says else {
            return;
        };
        let latest = self.hosts[from as usize].versions.get(&host);
        let of_this_life = latest.is_some_and(|&latest| is_one_life(latest, version));
        if of_this_life || self.is_exempt(host, from) {
            let peer = (from, header.source, version);
            self.hosts[host as usize].levels.insert(peer, levels);
        }
    }
}

/// Whether two versions differ in their revision alone.
fn is_one_life(one: u16, other: u16) -> bool {
    one >> 4 == other >> 4
}

/// Level of unscheduled bytes of a message of `length` bytes.
fn level_for(levels: Option<&[u32; 8]>, top: u8, length: u32) -> u8 {
    match levels {
        None => top.min(6),
        Some(levels) => {
            let mut level = top;
            while level > 0 && levels[usize::from(level)] < length {
                level -= 1;
            }
            level
        }
    }
}
