//! The laws: what must hold in every run, judged by what goes over the wire and over the border
//! between engine and host. Shares no logic with the engine; reads its configuration, which is the
//! promise that it is held to.
//!
//! Of a pair of hosts between which a header lie got through, and of a hostile host's own RPCs,
//! nothing is said; limits, tables and ends hold for all.

mod events;
mod grants;
mod header;
mod intervals;
mod memory;
mod order;
mod patience;
mod peace;
mod transitions;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use homa_proto::{Config, Failure, RpcKey};

use crate::agent::Drop;
use crate::host::ENGINES_MAX;
use crate::packet::{NO_MESSAGE, Packet};
use crate::swarm::plan::{Deal, OTHER_PORT, PORT, Plan};

pub(crate) use header::{Header, Says};
use intervals::Intervals;
pub(crate) use transitions::TRANSITIONS;

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which law.
    pub law: &'static str,
    /// When, in nanoseconds.
    pub at: u64,
    /// At which host.
    pub host: u32,
    /// The calls that it is about.
    pub calls: Vec<u32>,
    /// What was seen.
    pub seen: String,
}

/// The message that a call's request or response is.
pub(crate) const fn message(call: u32, is_response: bool) -> u32 {
    call * 2 + is_response as u32
}

/// What is known of a message on its way.
#[derive(Clone, Debug, Default)]
struct Message {
    /// Payload bytes of a packet of it.
    segment: u32,
    length: u32,
    /// End of what its sender sent for the first time.
    sent: u32,
    /// When it last sent bytes of it.
    sent_at: u64,
    /// End of what its sender was allowed to send, as far as it was told.
    allowed: u32,
    /// End of what GRANTs that reached its sender allow.
    granted_here: u32,
    /// End of what its sender says that it sends unasked.
    promised: u32,
    /// It goes ahead of the order.
    is_short: bool,
    /// The level by the last GRANT that reached its sender.
    level: Option<u8>,
    /// RPC_UNKNOWN reached its sender: it may start anew.
    doubtful: bool,
    /// End of what GRANTs that its receiver sent allow.
    granted: u32,
    /// End of what its receiver was told comes unasked.
    unasked: u32,
    stored: u32,
    /// End of the stored bytes.
    stored_end: u32,
    /// Its first bytes reached its receiver.
    seen: bool,
    /// When bytes of it last arrived.
    heard: u64,
    /// It fell silent while its receiver waited.
    silent: bool,
    /// It is over for its receiver.
    over: bool,
}

impl Message {
    /// Its receiver crashed.
    fn forget_receiver(&mut self) {
        (self.granted, self.unasked) = (0, 0);
        (self.stored, self.stored_end, self.seen) = (0, 0, false);
        (self.heard, self.silent, self.over) = (0, false, false);
    }

    /// Its sender crashed.
    fn forget_sender(&mut self) {
        (self.sent, self.allowed, self.granted_here) = (0, 0, 0);
        self.promised = 0;
        (self.level, self.doubtful) = (None, false);
    }
}

/// What became of a call.
#[derive(Clone, Debug, Default)]
struct Call {
    begun: u64,
    /// It was made in this life of the client.
    client_life: u32,
    /// How it ended for its client.
    end: Option<Result<(), Failure>>,
    crashed: bool,
    /// The lives of the server in which its request reached the application.
    ran: Vec<u32>,
    /// The engine of the server whose application has the request.
    serving: Option<usize>,
    replied: bool,
    dropped: bool,
    aborted: bool,
    /// RPC_UNKNOWNs that reached the client.
    unknowns: u32,
    unreachable: bool,
    /// A packet of it found its host down.
    host_down: bool,
    request: Message,
    response: Message,
}

impl Call {
    fn message(&mut self, is_response: bool) -> &mut Message {
        if is_response {
            &mut self.response
        } else {
            &mut self.request
        }
    }
}

/// What a host receives under a key.
#[derive(Clone, Debug)]
struct Incoming {
    message: u32,
    length: u32,
    bytes: Intervals,
}

#[derive(Clone, Debug, Default)]
struct Host {
    life: u32,
    down: bool,
    incoming: BTreeMap<Key, Incoming>,
    /// Calls under way, by key.
    calls: BTreeMap<Key, u32>,
    /// Requests that the application has, by key.
    serving: BTreeMap<Key, u32>,
    grants: grants::Granting,
    order: order::Sending,
    /// What it told each host as its cutoff version.
    versions: BTreeMap<u32, u16>,
    /// Levels that each host told it, by port and version.
    levels: BTreeMap<(u32, u16, u16), [u32; 8]>,
    /// When peers, with their port, last told one of its engines its version.
    proven: BTreeMap<(usize, u32, u16), u64>,
    pauses: Vec<(u64, u64)>,
    /// Bytes of buffers in use, by engine.
    buffered: [u64; ENGINES_MAX],
    /// A message waited for them when the engine was last looked at.
    stalled: [bool; ENGINES_MAX],
    /// A message waited for them at some time.
    has_stalled: bool,
    /// When each of its engines last heard a host.
    heard: BTreeMap<(usize, u32), u64>,
}

/// An RPC as its host knows it: the engine, and the engine's key.
type Key = (usize, u64);

/// The laws' view of a run.
pub(crate) struct Laws {
    pub(crate) violation: Option<Violation>,
    /// Header of packets as they are seen for the first time go in here: two runs of a seed must
    /// have the same sum.
    pub(crate) sum: u64,
    deals: Vec<Deal>,
    configs: Vec<Config>,
    /// Engines of each host.
    engines: Vec<usize>,
    hostile: Option<u32>,
    segment: u32,
    calls: Vec<Call>,
    hosts: Vec<Host>,
    /// Calls by client, server and the client's number.
    ids: BTreeMap<(u32, u32, u64), u32>,
    peace: peace::Peace,
    /// Limits that were reached.
    met: BTreeSet<&'static str>,
    healed_at: u64,
    /// From when on fresh calls must succeed; `u64::MAX`: not yet.
    probing: u64,
}

impl Laws {
    pub(crate) fn new(plan: &Plan) -> Self {
        let configs: Vec<Config> = plan
            .hosts
            .iter()
            .filter_map(|host| host.engines.first().cloned())
            .collect();
        Self {
            violation: None,
            sum: plan.seed,
            deals: plan.deals.clone(),
            hosts: vec![Host::default(); configs.len()],
            peace: peace::Peace::new(configs.len(), &configs, plan),
            configs,
            engines: plan.hosts.iter().map(|host| host.engines.len()).collect(),
            hostile: plan.hostile,
            segment: plan.segment,
            calls: vec![Call::default(); plan.deals.len()],
            ids: BTreeMap::new(),
            met: BTreeSet::new(),
            healed_at: u64::MAX,
            probing: u64::MAX,
        }
    }

    /// More calls are going to be made.
    pub(crate) fn add_deals(&mut self, now: u64, deals: &[Deal]) {
        self.probing = now;
        self.deals.extend_from_slice(deals);
        self.calls.resize(self.deals.len(), Call::default());
    }

    pub(crate) fn healed(&mut self, now: u64) {
        self.healed_at = now;
    }

    pub(crate) fn deal(&self, call: u32) -> &Deal {
        &self.deals[call as usize]
    }

    fn breach(
        &mut self,
        law: &'static str,
        at: u64,
        host: u32,
        calls: impl IntoIterator<Item = u32>,
        seen: String,
    ) {
        self.violation.get_or_insert_with(|| Violation {
            law,
            at,
            host,
            calls: calls.into_iter().collect(),
            seen,
        });
    }

    /// Whether nothing can be said of what these two do with each other.
    fn is_exempt(&self, a: u32, b: u32) -> bool {
        self.hostile == Some(a) || self.hostile == Some(b) || self.peace.lied(a, b)
    }

    fn is_exempt_call(&self, call: u32) -> bool {
        let deal = self.deal(call);
        self.is_exempt(deal.client, deal.server)
    }

    /// The call that a packet means, as its ends see it.
    fn call_of(&self, from: u32, to: u32, header: &Header) -> Option<u32> {
        let (client, server) = if header.is_from_client() {
            (from, to)
        } else {
            (to, from)
        };
        self.ids.get(&(client, server, header.client_id())).copied()
    }

    /// Whether a client has proven its address to one of a host's engines, and was not forgotten
    /// since.
    fn is_proven(&self, now: u64, host: u32, engine: usize, client: u32, port: u16) -> bool {
        let proven = self.hosts[host as usize]
            .proven
            .get(&(engine, client, port));
        let peer_idle = self.configs[host as usize].peer_idle.as_nanos() as u64;
        proven.is_some_and(|&at| now - at < peer_idle) && self.peace.is_ample(host)
    }

    fn fold(&mut self, words: impl IntoIterator<Item = u64>) {
        for word in words {
            self.sum = (self.sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.sum ^= self.sum >> 29;
        }
    }

    fn fold_packet(&mut self, now: u64, packet: &Packet) {
        let ends = u64::from(packet.from) << 32 | u64::from(packet.to);
        let truth = u64::from(packet.message) << 32 | u64::from(packet.offset);
        let rest = u64::from(packet.payload_bytes) << 8 | u64::from(packet.priority);
        self.fold([now, ends, truth, rest]);
        for bytes in packet.header().chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.fold([u64::from_le_bytes(word)]);
        }
    }

    /// A packet was lost on its way.
    pub(crate) fn dropped(&mut self, now: u64, packet: &Packet, why: Drop) {
        self.peace.disturbed(now, packet.from, packet.to);
        if matches!(why, Drop::NoSocket | Drop::NoHost)
            && let Some(header) = Header::read(packet.header())
            && let Some(call) = self.call_of(packet.from, packet.to, &header)
        {
            let call = &mut self.calls[call as usize];
            let served = [PORT, OTHER_PORT].contains(&header.dest);
            call.unreachable |= why == Drop::NoSocket || !served;
            call.host_down |= why == Drop::NoHost;
        }
    }

    /// A host was up to something that disturbs all its peers.
    pub(crate) fn disturbed(&mut self, now: u64, host: u32) {
        for other in 0..self.hosts.len() as u32 {
            self.peace.disturbed(now, host, other);
        }
    }

    pub(crate) fn paused(&mut self, now: u64, host: u32, until: u64) {
        self.hosts[host as usize].pauses.push((now, until));
        self.disturbed(now, host);
    }

    pub(crate) fn crashed(&mut self, now: u64, host: u32) {
        self.disturbed(now, host);
        let it = &mut self.hosts[host as usize];
        let (life, pauses) = (it.life + 1, core::mem::take(&mut it.pauses));
        let calls = core::mem::take(&mut it.calls);
        *it = Host {
            life,
            pauses,
            down: true,
            ..Host::default()
        };
        for call in calls.into_values() {
            self.calls[call as usize].crashed = true;
        }
        // What it served or received is over for it.
        for call in 0..self.deals.len() {
            let Deal { client, server, .. } = self.deals[call];
            let it = &mut self.calls[call];
            if client == host {
                it.request.forget_sender();
                it.response.forget_receiver();
                it.response.over = true;
            }
            if server == host {
                it.request.forget_receiver();
                it.response.forget_sender();
                it.replied = false;
                it.serving = None;
            }
        }
    }

    /// A host closes the second of its ports, from which it calls.
    pub(crate) fn closed(&mut self, now: u64, host: u32) {
        self.disturbed(now, host);
        for (deal, call) in self.deals.iter().zip(&mut self.calls) {
            call.aborted |= deal.client == host && deal.socket == 1;
        }
    }

    pub(crate) fn restarted(&mut self, host: u32) {
        self.hosts[host as usize].down = false;
    }

    pub(crate) fn life(&self, host: u32) -> u32 {
        self.hosts[host as usize].life
    }

    /// A call's state for its end, if it has none.
    pub(crate) fn unended(&self) -> Option<u32> {
        let open = |call: &Call| call.begun > 0 && call.end.is_none() && !call.crashed;
        self.calls.iter().position(open).map(|call| call as u32)
    }

    /// The run's time is over: every RPC has ended.
    pub(crate) fn check_ended(&mut self, now: u64) {
        if let Some(call) = self.unended() {
            let host = self.deal(call).client;
            let seen = format!("call {call} has not ended");
            self.breach("every RPC ends", now, host, Some(call), seen);
        }
        for host in 0..self.hosts.len() as u32 {
            let serving = &self.hosts[host as usize].serving;
            if let Some(&served) = serving.values().next() {
                let call = (served != NO_MESSAGE).then_some(served / 2);
                let seen = format!("{} requests are still served", serving.len());
                self.breach("every RPC ends", now, host, call, seen);
            }
        }
    }

    /// A host does not stop doing things.
    pub(crate) fn stuck(&mut self, now: u64, host: u32) {
        let seen = "a deadline or a burst comes again and again".to_owned();
        self.breach("work is bounded", now, host, None, seen);
    }
}

/// Limits that a run can reach, by the names that laws use.
pub(crate) const LIMITS: [&str; 13] = [
    "limit: active messages",
    "limit: bytes of a burst",
    "limit: bytes of a message",
    "limit: bytes of the budget",
    "limit: bytes outstanding",
    "limit: client RPCs",
    "limit: gaps of a message",
    "limit: packets of a burst",
    "limit: peers",
    "limit: ranges",
    "limit: server RPCs",
    "limit: server RPCs of a peer",
    "limit: tombstone blocks",
];

/// What planted bugs and reports ask.
impl Laws {
    /// Limits of the configuration that were reached.
    pub(crate) fn limits_met(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.met.iter().copied()
    }

    pub(crate) fn has_paused(&self, host: u32) -> bool {
        !self.hosts[host as usize].pauses.is_empty()
    }

    pub(crate) fn config(&self, host: u32) -> &Config {
        &self.configs[host as usize]
    }

    /// Whether every call that was made has ended, and every request is off its server.
    pub(crate) fn all_ended(&self) -> bool {
        self.unended().is_none() && self.hosts.iter().all(|host| host.serving.is_empty())
    }

    pub(crate) fn call_between(&self, from: u32, to: u32, header: &Header) -> Option<u32> {
        self.call_of(from, to, header)
    }

    /// The host with which `host` has the RPC that a header names.
    pub(crate) fn other_end(&self, host: u32, header: &Header) -> Option<u32> {
        let id = header.client_id();
        let ours = |&&(client, server, known): &&(u32, u32, u64)| {
            known == id
                && if header.is_from_client() {
                    server == host
                } else {
                    client == host
                }
        };
        let &(client, server, _) = self.ids.keys().find(ours)?;
        Some(if header.is_from_client() {
            client
        } else {
            server
        })
    }

    /// Whether bytes lie beyond those that are there.
    pub(crate) fn opens_gap(&self, host: u32, engine: usize, place: &homa_proto::Place) -> bool {
        let key = (engine, place.rpc.to_bits());
        let it = self.hosts[host as usize].incoming.get(&key);
        it.is_some_and(|it| place.offset > it.bytes.count())
    }

    pub(crate) fn is_stored(&self, of: u32) -> bool {
        let call = &self.calls[of as usize / 2];
        let it = if of & 1 == 1 {
            &call.response
        } else {
            &call.request
        };
        it.stored > 0
    }

    fn served(&self, host: u32, engine: usize, rpc: RpcKey) -> Option<u32> {
        let key = (engine, rpc.to_bits());
        let of = *self.hosts[host as usize].serving.get(&key)?;
        (of != NO_MESSAGE).then_some(of / 2)
    }

    pub(crate) fn client_crashed(&self, host: u32, engine: usize, rpc: RpcKey) -> bool {
        self.served(host, engine, rpc)
            .is_some_and(|call| self.calls[call as usize].crashed)
    }

    /// A NEED_ACK for a request that a host serves.
    pub(crate) fn need_ack(&self, host: u32, engine: usize, rpc: RpcKey) -> Option<Packet> {
        let call = self.served(host, engine, rpc)?;
        let client = self.deal(call).client;
        let named = self.ids.iter().find(|&(_, &known)| known == call);
        named.map(|(&(.., id), _)| crate::swarm::need_ack(host, client, id))
    }

    /// Buffers of a host are free again.
    pub(crate) fn gave_back(&mut self, host: u32, engine: usize, bytes: u64) {
        let used = &mut self.hosts[host as usize].buffered[engine];
        *used = used.saturating_sub(bytes);
    }

    /// A packet that the engine did not make, but that the host sends in its name.
    pub(crate) fn extra(&mut self, now: u64, packet: &Packet) {
        let call = Header::read(packet.header())
            .and_then(|header| self.call_of(packet.from, packet.to, &header));
        let ours = call
            .map(|call| self.deal(call))
            .filter(|deal| deal.client == packet.from);
        let leaving = crate::agent::Leaving {
            engine: ours.map_or(0, |deal| deal.engine),
            rpc: None,
            index: 0,
            count: 1,
            burst_bytes: packet.length() as usize,
        };
        let mut packet = *packet;
        packet.priority = self.configs[packet.from as usize].priorities - 1;
        self.leaving(now, &leaving, &packet);
    }
}
