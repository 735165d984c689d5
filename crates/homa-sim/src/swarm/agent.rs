//! What runs on the hosts of a swarm: applications that call, answer, drop, abort and keep buffers
//! as the plan says, with the laws looking on, and a planted bug in between if one is asked for.

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use homa_capture::Capture;
use homa_proto::wire::Priority;
use homa_proto::{Call, CallError, Event, Failure, Path, Place, RpcKey, Unreachable};

use super::coverage::Coverage;
use super::plan::{PORT, Plan, Service};
use super::plant::{Plant, outside};
use crate::agent::{Agent, Drop, Leaving, Seen};
use crate::capture;
use crate::host::{Context, address};
use crate::laws::{Header, Laws, Says, message};
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::Random;

/// Packets of a flood.
const FLOOD_PACKETS: usize = 1_200;

/// Packets that a trace keeps.
const TRACE_PACKETS: usize = 200_000;

/// A thing that an application does later.
#[derive(Clone, Copy, Debug)]
enum Task {
    Begin(u32),
    Abort(u32, RpcKey),
    Serve(u32, RpcKey),
    GiveBack(u64),
    NeedAck(Packet),
}

/// A line of a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: u64,
    pub(crate) what: What,
    pub(crate) packet: Packet,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Sent,
    Handled,
    Lost(Drop),
}

pub(crate) struct Swarm {
    pub(crate) laws: Laws,
    pub(crate) coverage: Coverage,
    pub(crate) plant: Option<Plant>,
    pub(crate) trace: Option<VecDeque<Step>>,
    pub(crate) capture: Option<Capture>,
    /// Until when each host stores nothing.
    pub(crate) refuses_until: Vec<u64>,
    hostile: Option<u32>,
    segment: u32,
    tasks: Vec<(u32, Task)>,
    random: Random,
    /// Headers that reached the hostile host, to be abused.
    overheard: Vec<Packet>,
    /// Ports that were found closed, for a host that mistakes whose they are.
    closed: Vec<u32>,
    /// Messages whose first bytes could not be stored.
    unstored: BTreeMap<u32, u64>,
    /// The last GRANTs of each host, for one that mistakes sizes.
    grants: BTreeMap<u32, Vec<(Packet, u32)>>,
    /// Packets that a planted bug adds.
    pub(crate) extra: Vec<Packet>,
}

impl Swarm {
    pub(crate) fn new(plan: &Plan, plant: Option<Plant>) -> Self {
        Self {
            laws: Laws::new(plan),
            coverage: Coverage::default(),
            plant,
            trace: None,
            capture: None,
            refuses_until: vec![0; plan.hosts.len()],
            hostile: plan.hostile,
            segment: plan.segment,
            tasks: Vec::new(),
            random: Random::new(plan.seed, 2),
            overheard: Vec::new(),
            closed: Vec::new(),
            unstored: BTreeMap::new(),
            grants: BTreeMap::new(),
            extra: Vec::new(),
        }
    }

    fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    fn task(&mut self, host: u32, task: Task) -> u32 {
        self.tasks.push((self.laws.life(host), task));
        (self.tasks.len() - 1) as u32
    }

    /// Has a call made at its time.
    pub(crate) fn plan_call(&mut self, cx: &mut Context<'_>, call: u32) {
        let at = self.laws.deal(call).at;
        let token = self.task(cx.host, Task::Begin(call));
        cx.after(at.saturating_sub(cx.now), token);
    }

    fn begin(&mut self, cx: &mut Context<'_>, call: u32) {
        let deal = *self.laws.deal(call);
        let asked = Call {
            path: Path {
                socket: cx.socket(deal.socket),
                peer: address(deal.server, deal.port),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: deal.port,
            length: deal.request,
            segment_bytes: self.segment,
            deadline: deal
                .deadline
                .map(|time| cx.time() + Duration::from_nanos(time)),
            idempotent: deal.idempotent,
        };
        match cx.call(asked, message(call, false)) {
            Ok(key) => {
                self.laws.called(cx.now, cx.engine, call, key);
                if let Some(time) = deal.abort {
                    let token = self.task(cx.host, Task::Abort(call, key));
                    cx.after(time, token);
                }
            }
            Err(CallError::Full) => self.coverage.reach("call refused: a table is full"),
            Err(_) => self.coverage.reach("call refused: other"),
        }
    }

    fn serve(&mut self, cx: &mut Context<'_>, call: u32, key: RpcKey) {
        let deal = *self.laws.deal(call);
        let now = cx.time();
        // What it could not send in full it does not begin to send.
        let longest = cx.engine().config().max_message_bytes;
        if matches!(deal.service, Service::Drop(_)) || deal.response > longest {
            if cx.engine().drop_request(now, key) {
                self.laws.dropped_request(call);
            }
        } else if cx
            .reply(key, deal.response, self.segment, message(call, true))
            .is_ok()
        {
            self.laws.replied(call);
            self.coverage.reach("server: in service, response goes out");
        } else {
            self.coverage.reach("reply refused: the RPC is gone");
        }
    }

    /// Buffers of a message are no longer needed.
    fn free(&mut self, cx: &mut Context<'_>, of: u32, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let hold = match of {
            NO_MESSAGE => 0,
            of => self.laws.deal(of / 2).hold,
        };
        // A task of a later time is kept by its host's life: a crash forgets it.
        let token = self.task(cx.host, Task::GiveBack(bytes));
        if hold > 0 {
            cx.after(hold, token);
        } else {
            self.give_back(cx, bytes);
        }
    }

    fn give_back(&mut self, cx: &mut Context<'_>, bytes: u64) {
        let now = cx.time();
        self.laws.gave_back(cx.host, cx.engine, bytes);
        cx.engine().give_back(now, bytes);
    }

    fn request(&mut self, cx: &mut Context<'_>, key: RpcKey, of: u32) {
        if of == NO_MESSAGE || of & 1 == 1 {
            // It came from a liar.
            let now = cx.time();
            let _ = cx.engine().drop_request(now, key);
            return;
        }
        let call = of / 2;
        match self.laws.deal(call).service {
            Service::Answer(0) => self.serve(cx, call, key),
            Service::Answer(time) | Service::Drop(time) => {
                let token = self.task(cx.host, Task::Serve(call, key));
                cx.after(time, token);
            }
        }
    }

    fn step(&mut self, at: u64, what: What, packet: &Packet) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_PACKETS {
                trace.pop_front();
            }
            trace.push_back(Step {
                at,
                what,
                packet: *packet,
            });
        }
    }

    /// A host closes the second of its ports, at one engine.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        let (now, socket) = (cx.time(), cx.socket(1));
        cx.engine().close_socket(now, socket);
    }

    /// Questions of the hostile host, more than wait for an answer.
    pub(crate) fn flood(&mut self, hostile: u32, to: u32) -> Vec<Packet> {
        let random = &mut self.random;
        let stray = |_| super::hostile::stray(random, hostile, to);
        (0..FLOOD_PACKETS).map(stray).collect()
    }

    /// A well-formed lie of the hostile host.
    pub(crate) fn lie(&mut self, hosts: u32) -> Option<Packet> {
        let hostile = self.hostile?;
        super::hostile::lie(
            &mut self.random,
            hostile,
            hosts,
            &self.overheard,
            self.segment,
        )
    }
}

/// What planted bugs do to packets and events.
impl Swarm {
    /// `false`: the packet does not leave.
    fn spoil_leaving(&mut self, packet: &mut Packet) -> bool {
        let Some(plant) = self.plant else {
            return true;
        };
        let Some(header) = Header::read(packet.header()) else {
            return true;
        };
        match (plant, header.says) {
            (Plant::NeverSendsAgain, Says::Data(data)) => return !data.retransmit,
            (Plant::ShrinksNothing, Says::Data(data)) => {
                let small = packet.payload_bytes <= 1_200 && packet.length() < data.length;
                return !(data.retransmit && small && self.segment > 1_200);
            }
            (Plant::ForgetsAcks, Says::Data(_)) => packet.header_mut()[36..46].fill(0),
            (Plant::ForgetsAcks, Says::Ack) => return false,
            (Plant::ResendsWrongBytes, Says::Data(data)) if data.retransmit => packet.message ^= 1,
            (Plant::OneLevel, _) => packet.priority = 0,
            (Plant::LevelBelowZero, Says::Data(data)) => {
                let levels = self.laws.config(packet.from).priorities;
                if levels < 7 && data.version == 0 {
                    packet.priority = if data.offset == 0 { 7 } else { packet.priority };
                }
            }
            (Plant::StaleSizes, Says::Grant { offset, priority }) => {
                self.swap_grant(packet, offset, priority);
            }
            _ => {}
        }
        true
    }

    /// A grant goes to the message that was the shorter one when both were new.
    fn swap_grant(&mut self, packet: &mut Packet, offset: u32, priority: u8) {
        let seen = self.grants.entry(packet.from).or_default();
        let known = |it: &(Packet, u32)| it.0.header()[20..28] == packet.header()[20..28];
        if !seen.iter().any(known) {
            seen.push((*packet, offset));
        }
        // The one granted first of all stands for the one with the best stale size.
        let length = seen.len();
        if let Some((first, end)) = seen.first_mut().filter(|_| length > 1) {
            *end = end.saturating_add(10_000);
            let mut swapped = *first;
            swapped.header_mut()[28..32].copy_from_slice(&end.to_be_bytes());
            swapped.header_mut()[32] = priority;
            *packet = swapped;
        }
    }

    /// `false`: the packet does not arrive.
    fn spoil_arriving(&mut self, packet: &mut Packet) -> bool {
        let Some(plant) = self.plant else {
            return true;
        };
        let Some(header) = Header::read(packet.header()) else {
            return true;
        };
        match (plant, header.says) {
            (Plant::OvershootsGrants, Says::Grant { offset, .. }) => {
                let more = offset.saturating_add(20_000).to_be_bytes();
                packet.header_mut()[28..32].copy_from_slice(&more);
            }
            (Plant::AnyoneMaySpeak, _) if Some(packet.from) == self.hostile => {
                if let Some(other) = self.laws.other_end(packet.to, &header) {
                    packet.from = other;
                }
            }
            (Plant::AsksWhileStalled, Says::NeedAck) => {
                let call = self.laws.call_between(packet.from, packet.to, &header);
                let stalled =
                    call.is_some_and(|call| self.unstored.contains_key(&message(call, true)));
                if stalled {
                    self.extra.push(super::hostile::resend_all(packet));
                }
            }
            _ => {}
        }
        true
    }

    /// `false`: the application never hears of the event.
    fn spoil_event(&mut self, cx: &mut Context<'_>, event: &mut Event) -> bool {
        match (self.plant, *event) {
            (Some(Plant::RepeatsRequests), Event::Request { .. }) if self.random.chance(100) => {
                let _ = self.laws.event(cx.now, cx.host, cx.engine, *event);
            }
            (Some(Plant::DeniesHavingRun), Event::Failed { rpc, failure }) => {
                let failure = match failure {
                    Failure::OutcomeUnknown | Failure::TimedOut => Failure::Refused,
                    other => other,
                };
                *event = Event::Failed { rpc, failure };
            }
            (Some(Plant::LosesResponses), Event::Response { .. }) => {
                return !self.random.chance(100);
            }
            (Some(Plant::ServesTheVanished), Event::Ended { rpc, delivered }) => {
                return delivered || !self.laws.client_crashed(cx.host, cx.engine, rpc);
            }
            (
                Some(Plant::NeedAckForEver),
                Event::Ended {
                    rpc,
                    delivered: false,
                },
            ) => {
                if let Some(packet) = self.laws.need_ack(cx.host, cx.engine, rpc) {
                    let token = self.task(cx.host, Task::NeedAck(packet));
                    cx.after(1_000_000, token);
                }
            }
            _ => {}
        }
        true
    }

    /// An error about one host's packet ends another host's RPCs.
    fn spoil_icmp(&mut self, cx: &mut Context<'_>) {
        if self.is(Plant::IcmpToEveryone)
            && let Some(to) = self.closed.pop()
        {
            let (now, peer) = (cx.time(), address(to, PORT));
            cx.engine()
                .handle_unreachable(now, peer, &[], Unreachable::Port);
        }
    }
}

impl Agent for Swarm {
    fn store(&mut self, cx: &mut Seen, place: &Place, packet: &Packet) -> bool {
        let refuses = self.refuses_until[cx.host as usize] > cx.now;
        if refuses && !self.is(Plant::CommitsUnstored) {
            self.laws.disturbed(cx.now, cx.host);
            return false;
        }
        let response = packet.message != NO_MESSAGE && packet.message & 1 == 1;
        if self.is(Plant::NoBuffersNoEnd) && response && packet.message % 14 == 1 {
            return false;
        }
        let mut place = *place;
        if self.is(Plant::MisplacesLateBytes) && self.laws.opens_gap(cx.host, cx.engine, &place) {
            place.offset = 0;
        }
        if place.new {
            let key = (cx.engine, place.rpc.to_bits());
            self.coverage.reach(self.laws.first_bytes(cx.host, key));
        }
        if !refuses {
            self.laws.stored(cx, &place, packet);
        }
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, mut event: Event) {
        if !self.spoil_event(cx, &mut event) {
            return;
        }
        if let Some(transition) = self.laws.transition(cx.host, cx.engine, &event) {
            self.coverage.reach(transition);
        }
        let told = self.laws.event(cx.now, cx.host, cx.engine, event);
        self.coverage.event(&event);
        let keeps = self.is(Plant::KeepsBuffers) && matches!(event, Event::Failed { .. });
        if !keeps {
            self.free(cx, told.message, told.bytes);
        }
        if let Event::Request { rpc, .. } = event {
            self.request(cx, rpc, told.message);
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, token: u32) {
        self.spoil_icmp(cx);
        let (life, task) = self.tasks[token as usize];
        let is_begin = matches!(task, Task::Begin(_));
        if life != self.laws.life(cx.host) && !is_begin {
            return;
        }
        let now = cx.time();
        match task {
            Task::Begin(call) => self.begin(cx, call),
            Task::Abort(call, key) => {
                self.laws.aborted(call);
                let _ = cx.engine().abort(now, key);
            }
            Task::Serve(call, key) => self.serve(cx, call, key),
            Task::GiveBack(bytes) => self.give_back(cx, bytes),
            Task::NeedAck(packet) => {
                self.extra.push(packet);
                let token = self.task(cx.host, Task::NeedAck(packet));
                cx.after(1_000_000, token);
            }
        }
    }

    fn leaving(&mut self, now: u64, leaving: &Leaving, packet: &mut Packet) -> bool {
        if Some(packet.from) == self.hostile {
            return false;
        }
        if !self.spoil_leaving(packet) {
            return false;
        }
        if self.is(Plant::AsksTheOutside) && outside() % 100_003 == 7 {
            packet.priority ^= 1;
            self.laws.leaving(now, leaving, packet);
            return false;
        }
        self.laws.leaving(now, leaving, packet);
        true
    }

    fn arriving(&mut self, now: u64, packet: &mut Packet) -> bool {
        if Some(packet.to) == self.hostile {
            if self.overheard.len() < 1_000 {
                self.overheard.push(*packet);
            }
            return false;
        }
        if Some(packet.from) == self.hostile && self.overheard.len() < 1_000 {
            // It knows what others do, too.
            self.coverage.reach("a lie arrived");
        }
        self.laws.arriving(now, packet);
        self.spoil_arriving(packet)
    }

    fn arrived(&mut self, cx: &mut Seen, packet: &Packet) {
        self.step(cx.now, What::Handled, packet);
        self.laws.arrived(cx.now, cx.engine, packet);
        if self.is(Plant::AsksWhileStalled) && packet.message != NO_MESSAGE {
            if self.laws.is_stored(packet.message) {
                self.unstored.remove(&packet.message);
            } else {
                self.unstored.insert(packet.message, cx.now);
            }
        }
    }

    fn dropped(&mut self, now: u64, packet: &Packet, why: Drop) {
        self.step(now, What::Lost(why), packet);
        self.laws.dropped(now, packet, why);
        self.coverage.dropped(why);
        if why == Drop::NoSocket {
            self.closed.push(packet.to);
        }
    }

    fn launched(&mut self, now: u64, packet: &Packet, late: u64) {
        self.step(now, What::Sent, packet);
        if let Some(capture) = &mut self.capture {
            capture::add(capture, now + late, packet);
        }
        if Some(packet.from) != self.hostile && self.overheard.len() < 1_000 && late == 0 {
            self.overhear(packet);
        }
    }

    fn drained(&mut self, cx: &mut Seen) {
        if let Some(usage) = &cx.usage {
            self.laws.check_limits(cx.now, cx.host, cx.engine, usage);
        }
        self.laws.settle_grants(cx.now, cx.host);
        self.laws.settle_order(cx.now, cx.host);
    }

    fn steer(&mut self, _packet: &Packet, engine: usize, engines: usize) -> usize {
        if self.is(Plant::SteersAstray) && engines > 1 && self.random.chance(100) {
            (engine + 1) % engines
        } else {
            engine
        }
    }

    fn tells_engines(&self) -> bool {
        !self.is(Plant::EnginesDoNotTalk)
    }

    fn deadline(&mut self, host: u32, at: u64) -> u64 {
        if self.is(Plant::Oversleeps) {
            at + 30_000_000
        } else if self.is(Plant::SleepsOn) && self.laws.has_paused(host) {
            at + 1_000_000_000
        } else {
            at
        }
    }

    fn checks_sums(&self) -> bool {
        !self.is(Plant::TrustsAnySum)
    }

    fn stuck(&mut self, now: u64, host: u32) {
        self.laws.stuck(now, host);
    }

    fn is_over(&self) -> bool {
        self.laws.violation.is_some()
    }
}

impl Swarm {
    /// The hostile host hears of some packets of others.
    fn overhear(&mut self, packet: &Packet) {
        if self.hostile.is_some() && packet.flow.is_multiple_of(8) {
            self.overheard.push(*packet);
        }
    }
}

/// How a failure is called in the table of what was reached.
pub(crate) fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "failed: refused",
        Failure::Unreachable => "failed: unreachable",
        Failure::TimedOut => "failed: timed out",
        Failure::OutcomeUnknown => "failed: outcome unknown",
        Failure::DeadlineExceeded => "failed: deadline exceeded",
        Failure::Dropped => "failed: dropped",
        Failure::Overloaded => "failed: overloaded",
        Failure::ResponseTooLong => "failed: response too long",
        Failure::Aborted => "failed: aborted",
        _ => "failed: other",
    }
}

/// Control packets go at this level when a planted bug makes them.
pub(crate) const TOP: Priority = Priority::HIGHEST;
