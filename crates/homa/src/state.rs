//! Everything of a host that lies behind its lock, and one turn of the loop that moves it: packets
//! in, timers, packets out, events to whom they concern.
//!
//! It decides nothing about the protocol, nor about who takes the turns.

mod deliver;

use core::net::IpAddr;
use std::io;
use std::sync::Arc;

use homa_net::Link;
use homa_proto::{Engine, Instant, Reason, RpcKey, SocketId};

use crate::arriving::copy;
use crate::budget::SendBudget;
use crate::capture::Recorder;
use crate::clock::Clock;
use crate::counters::HostCounters;
use crate::group::Member;
use crate::hold::Hold;
use crate::incoming::{receive, receive_reports};
use crate::links::Links;
use crate::messages::{Messages, Outbound, Party};
#[cfg(feature = "metrics")]
use crate::metrics::Times;
use crate::outgoing::Outbox;
use crate::parties::Parties;
use crate::pool::{Message, Pool};
use crate::routes::Routes;
use crate::seat::{NEVER, Seat};
use crate::shared::Outgoing;
use crate::spin::Spin;
use crate::stock::Stock;
use crate::sync::atomic::AtomicU64;
use crate::timer::Timer;
use crate::waiting::{Alarm, WaitList, Woken};

/// What needs no lock of its own beside the state's.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) pool: Arc<Pool>,
    pub(crate) alarm: Arc<Alarm>,
    /// Ends the sleep of the blocked thread that drives the engine.
    pub(crate) waiter_timer: Timer,
    /// Ends that of the background thread.
    pub(crate) background_timer: Timer,
    pub(crate) budget: SendBudget,
    /// Counts what the engine told.
    pub(crate) news: AtomicU64,
    /// Writes packets down, if that was asked for.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) links: Links,
    pub(crate) routes: Routes,
    pub(crate) parties: Parties,
    pub(crate) seat: Seat,
    pub(crate) spin: Spin,
    pub(crate) woken: Woken,
    /// Who waits for room in the send budget.
    pub(crate) senders: WaitList,
    pub(crate) counters: HostCounters,
    #[cfg(feature = "metrics")]
    pub(crate) times: Times,
    /// Whether the background thread was started.
    pub(crate) background: bool,
    /// Whether the host is gone.
    pub(crate) closed: bool,
    messages: Messages,
    stock: Stock,
    outbox: Outbox,
    hold: Hold,
    /// Its place among the host's engines, if there are several.
    member: Option<Member>,
    /// When the engine wants a turn, and why; asked of it whenever it was told something.
    timeout: Option<(Instant, Reason)>,
    /// Whether messages wait for receive budget, so that bytes given back are urgent.
    stalled: bool,
    /// When the last settling was, unless it was tidied up after.
    untidy: Option<Instant>,
    /// Turns taken, to do now and then what need not be done in each.
    turns: u32,
    /// Turns that went by while a deadline had passed.
    put_off: u32,
    parts: Arc<Parts>,
}

/// Turns that may go by before a passed deadline is kept although packets keep coming. What a
/// deadline is about may lie in a socket unread, when the process was not scheduled for a while:
/// sockets are emptied first, or a peer that has answered long ago would be asked again, or given
/// up. So many turns empty any socket (16 buffers each, 8,192 short packets), and a flood delays a
/// deadline by some milliseconds at most.
const PUT_OFF_MAX: u32 = 512;

/// While packets come in every turn, reports of what did not arrive are looked for in one of so many:
/// they are rarely there, and make nothing late that would not be late without them.
const REPORTS_EVERY: u32 = 16;

/// RPCs under way that make a host busy. A client with one call at a time keeps two of them at its
/// server, which learns with the next that it may forget the one before.
const BUSY_RPCS: u32 = 4;

impl State {
    pub(crate) fn new(
        engine: Engine,
        member: Option<Member>,
        spin: Spin,
        parts: Arc<Parts>,
    ) -> io::Result<Self> {
        Ok(Self {
            engine,
            links: Links::new()?,
            routes: Routes::default(),
            parties: Parties::new(),
            seat: Seat::default(),
            spin,
            woken: Woken::default(),
            senders: WaitList::default(),
            counters: HostCounters::default(),
            #[cfg(feature = "metrics")]
            times: Times::default(),
            background: false,
            closed: false,
            messages: Messages::default(),
            stock: Stock::new(&parts.pool),
            outbox: Outbox::new(),
            hold: Hold::new(),
            member,
            timeout: None,
            stalled: false,
            untidy: None,
            turns: 0,
            put_off: 0,
            parts,
        })
    }

    /// The link with the host's recorder before it, if there is one.
    pub(crate) fn watched(&self, link: Box<dyn Link>) -> Box<dyn Link> {
        match &self.parts.recorder {
            Some(recorder) => recorder.watch(link),
            None => link,
        }
    }

    /// One turn: takes what has arrived, keeps what is due, sends, tells. Returns whether anything
    /// happened, so that another turn may find more.
    ///
    /// A turn that finds nothing is what a spinning thread repeats, so it asks the links and the
    /// engine's deadline and does nothing else. `looks`: how often it asks the links before it takes
    /// them for empty.
    pub(crate) fn turn(&mut self, now: Instant, looks: u32) -> bool {
        let mut active = (0..looks).any(|_| {
            receive(
                now,
                &mut self.engine,
                &mut self.links,
                self.member.as_ref(),
                &mut self.messages,
                &mut self.stock,
                &mut self.counters,
            )
        });
        if self.messages.has_news() {
            self.announce();
        }
        self.turns = self.turns.wrapping_add(1);
        if !active || self.turns.is_multiple_of(REPORTS_EVERY) {
            active |= receive_reports(
                now,
                &mut self.engine,
                &mut self.links,
                &mut self.routes,
                &mut self.counters,
            );
        }
        // The engine's time does not go back.
        self.untidy = self.untidy.and(Some(now));
        self.tidy();
        if self.next_deadline().is_some_and(|when| when <= now) {
            self.put_off = if active {
                self.put_off + 1
            } else {
                PUT_OFF_MAX
            };
            if self.put_off >= PUT_OFF_MAX {
                self.put_off = 0;
                self.engine.handle_timeout(now);
            }
            active = true;
        }
        if active || self.is_urgent() || self.is_waiting() {
            active |= self.settle(now);
        }
        if active && !self.seat.is_anyone_asleep() {
            self.links.stay_awake();
        }
        active
    }

    /// Until when to sleep on the sockets: the engine's deadline, the present if they cannot be
    /// watched.
    pub(crate) fn sleep_until(&mut self) -> Instant {
        self.tidy();
        match self.links.watch() {
            Ok(()) => self.next_deadline().unwrap_or(NEVER),
            Err(_) => Instant::ZERO,
        }
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.hold.is_on() || self.outbox.is_waiting()
    }

    /// Whether bytes came back for which messages wait.
    fn is_urgent(&self) -> bool {
        self.stalled && self.parts.pool.has_given_back()
    }

    /// When the engine wanted the next turn, as of the last tidying.
    fn next_deadline(&self) -> Option<Instant> {
        self.timeout.map(|(when, _)| when)
    }

    /// Whether the next turn is wanted to send a packet in time.
    #[cfg(feature = "tokio")]
    pub(crate) fn waits_for_pacer(&self) -> bool {
        matches!(self.timeout, Some((_, Reason::Pacer)))
    }

    /// Sends what the engine wants sent and delivers what it tells. To be called after every word
    /// to the engine. Returns whether it left something to do.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        self.hold.release();
        if let Some(member) = &mut self.member {
            member.inform(&mut self.engine);
        }
        let more = loop {
            if self.engine.usage().stalled {
                self.take_back(now);
            }
            let more = self.outbox.transmit(
                now,
                &mut self.engine,
                &mut self.links,
                &mut self.routes,
                &self.messages,
                &mut self.counters,
            );
            if !self.deliver(now) || more {
                break more;
            }
        };
        if self.messages.has_news() {
            self.announce();
        }
        if let Some(member) = &mut self.member {
            member.publish(&self.engine);
            while let Some(ack) = self.engine.poll_foreign_ack() {
                member.show(ack);
            }
        }
        self.untidy = Some(now);
        more
    }

    /// What can wait until everything is sent and told: asks the engine when it wants a turn, and takes
    /// buffers back. To be called before anybody sleeps.
    fn tidy(&mut self) {
        let Some(settled) = self.untidy.take() else {
            return;
        };
        self.stalled = self.engine.usage().stalled;
        if !self.stalled {
            self.take_back(settled);
        }
        self.timeout = self.engine.poll_timeout();
        self.parts.pool.set_wanted(self.stalled);
        self.stock.refill();
    }

    /// Tells the engine of bytes that came back. Where messages wait for them, it will have something to
    /// send.
    fn take_back(&mut self, now: Instant) {
        let bytes = self.parts.pool.collect_given_back();
        if bytes > 0 {
            self.engine.give_back(now, bytes);
        }
    }

    /// Settles, and wakes whoever sleeps past what is due next. For everyone but who drives next.
    pub(crate) fn settle_and_alert(&mut self, now: Instant) {
        let mut more = self.settle(now);
        self.tidy();
        if self.is_urgent() {
            more = self.settle(now);
            self.tidy();
        }
        self.alert(more.then_some(now));
    }

    /// The application said something that makes a packet: settles, unless it is worth waiting for
    /// what it says next. `queued`: whether it has more to take and answer.
    pub(crate) fn settle_soon(&mut self, now: Instant, queued: bool) {
        let first = !self.hold.is_on();
        let held = if self.seat.has_task() {
            // The task comes next, and finds what all others have said until then.
            self.is_busy() && self.hold.add()
        } else {
            self.hold.hears(now, queued)
        };
        if !held {
            self.settle_and_alert(now);
        } else if first {
            self.seat.mind_what_is_held(&self.parts.alarm);
        }
    }

    /// Whether so many RPCs are under way that another message may be said in this moment.
    fn is_busy(&self) -> bool {
        let usage = self.engine.usage();
        usage.client_rpcs + usage.server_rpcs >= BUSY_RPCS
    }

    /// Wakes whoever sleeps past what is due next: at `due`, if there is something at once.
    pub(crate) fn alert(&mut self, due: Option<Instant>) {
        if self.seat.is_anyone_asleep() {
            self.tidy();
            let deadline = due.or_else(|| self.next_deadline());
            let woken = !self.woken.is_empty();
            self.seat.alert(deadline, woken, &self.parts.alarm);
        }
    }

    /// A call of `party` that the engine took.
    pub(crate) fn start(&mut self, now: Instant, rpc: RpcKey, party: Party, request: Outbound) {
        if let Party::Call { client, .. } | Party::Submitted { client, .. } = party
            && let Some(client) = self.parties.clients.get_mut(client)
        {
            client.closing.begin_one();
        }
        self.messages.start(now, rpc, party, request);
    }

    /// The application's response to a request.
    pub(crate) fn set_response(&mut self, now: Instant, rpc: RpcKey, response: Outbound) {
        let handed_over = self.messages.set_response(rpc, response);
        #[cfg(feature = "metrics")]
        if let Some(since) = handed_over {
            self.times.service.observe(now - since);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (handed_over, now);
    }

    /// The bytes of the messages under way.
    pub(crate) fn messages(&self) -> &Messages {
        &self.messages
    }

    pub(crate) fn messages_mut(&mut self) -> &mut Messages {
        &mut self.messages
    }

    /// Whether the RPC is under way.
    pub(crate) fn is_known(&self, rpc: RpcKey) -> bool {
        self.messages.incoming(rpc).is_some()
    }

    /// Copies what is there of a message that comes in, from `from` on without a gap; `None`: its RPC
    /// is over.
    pub(crate) fn read(&self, rpc: RpcKey, from: usize, into: &mut [u8]) -> Option<usize> {
        let (bytes, is_whole) = self.messages.incoming(rpc)?;
        let whole = match is_whole {
            true => bytes.len(),
            false => self.engine.whole_bytes(rpc).unwrap_or(0) as usize,
        };
        let there = bytes.get(from..whole).unwrap_or_default();
        Some(copy(there, into))
    }

    /// The message of an announced request, once it is whole.
    pub(crate) fn take_announced(&mut self, rpc: RpcKey) -> Option<Message> {
        let buffer = self.messages.take_announced(rpc)?;
        Some(Message::new(buffer, &self.parts.pool))
    }

    /// From now on a server hears of requests when their first bytes come.
    pub(crate) fn announce_for(&mut self, server: u32) {
        self.messages.announce_for(server);
        if self.messages.has_news() {
            self.announce();
        }
    }

    /// The calls of a client that are under way.
    pub(crate) fn calls_of(&self, client: u32) -> Vec<RpcKey> {
        self.messages.calls_of(client).collect()
    }

    /// Closes one socket: peers are told, its RPCs end, its link goes.
    pub(crate) fn close_socket(&mut self, now: Instant, socket: SocketId) {
        self.engine.close_socket(now, socket);
        self.settle(now);
        self.links.remove(socket);
    }

    /// Closes a socket at the present moment.
    pub(crate) fn close_socket_now(&mut self, socket: SocketId) {
        self.close_socket(self.parts.clock.now(), socket);
    }

    /// Wakes whoever sleeps, awake or not: the host is over.
    pub(crate) fn ring_all(&mut self) {
        self.seat
            .evict()
            .for_each(|waker| self.woken.push(Some(waker)));
        self.parts.alarm.ring_all();
    }

    /// A message that is to be sent; `None` without memory, and then its room in the send budget is
    /// free again.
    pub(crate) fn outbound(&mut self, message: Outgoing<'_>) -> Option<Outbound> {
        let bytes = match message {
            Outgoing::Ready(message) => return Some(message),
            Outgoing::Short(bytes) => bytes,
        };
        let copy = self.stock.copy(bytes);
        if copy.is_none() {
            self.parts.budget.release(bytes.len());
            self.senders.wake_all(&mut self.woken);
        }
        copy.map(Outbound::Pooled)
    }

    /// An outbound message that nobody needs any more: its buffer and its room are free.
    pub(crate) fn free_outbound(&mut self, message: Outbound) {
        self.free_room(message.len());
        self.free_bytes(message);
    }

    /// Room in the send budget is free again.
    fn free_room(&mut self, bytes: usize) {
        self.parts.budget.release(bytes);
        self.senders.wake_all(&mut self.woken);
    }

    /// The bytes of an outbound message are free again.
    #[inline]
    fn free_bytes(&mut self, message: Outbound) {
        if let Outbound::Pooled(buffer) = message {
            self.stock.put(buffer);
        }
    }

    /// Payload bytes that a packet to `peer` can carry.
    pub(crate) fn segment_bytes(&mut self, now: Instant, socket: SocketId, peer: IpAddr) -> u32 {
        match self.links.get(socket) {
            Some(socket) => self.routes.segment_bytes(now, &*socket.link, peer),
            // The engine will say that there is no such socket.
            None => 1,
        }
    }
}
