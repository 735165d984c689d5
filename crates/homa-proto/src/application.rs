//! What the application says: sockets, calls, replies, aborts. Decides what is refused at once;
//! what follows from the rest is decided where the state is.

use crate::address::SocketId;
use crate::api::{Call, CallError, Failure, ReplyError, RpcKey};
use crate::chunks::Full;
use crate::distance;
use crate::engine::{Engine, Socket};
use crate::outbound::Outbound;
use crate::progress::Progress;
use crate::rpc::{ClientRpc, Pending, ServerRpc, State};
use crate::time::Instant;
use crate::wire::UnknownReason;

impl Engine {
    /// Opens a port of ours. `accepts_requests`: whether requests to it make RPCs.
    ///
    /// # Errors
    /// [`CallError::Full`] with 65,536 sockets, or without memory.
    pub fn open_socket(
        &mut self,
        port: u16,
        accepts_requests: bool,
    ) -> Result<SocketId, CallError> {
        let socket = Some(Socket {
            port,
            accepts_requests,
        });
        let free = self.sockets.iter().position(Option::is_none);
        let index = free.unwrap_or(self.sockets.len());
        let id = u16::try_from(index).map_err(|_| CallError::Full)?;
        if free.is_some() {
            self.sockets[index] = socket;
        } else {
            self.sockets.try_reserve(1).map_err(|_| CallError::Full)?;
            self.sockets.push(socket);
        }
        Ok(SocketId(id))
    }

    /// Whether requests to a port make RPCs from now on; those under way go on. Returns whether there
    /// is such a socket.
    pub fn accept_requests(&mut self, socket: SocketId, accepts: bool) -> bool {
        match self.sockets.get_mut(socket.index()) {
            Some(Some(socket)) => {
                socket.accepts_requests = accepts;
                true
            }
            _ => false,
        }
    }

    /// Closes a port. Its RPCs end: events follow, and peers that wait for us are told once. Costs
    /// time in proportion to the RPCs there are.
    pub fn close_socket(&mut self, now: Instant, socket: SocketId) {
        for index in 0..self.rpcs.end_index() {
            let Some(rpc) = self.rpcs.get(index) else {
                continue;
            };
            if rpc.socket != socket || rpc.is_over() {
                continue;
            }
            if rpc.is_client() {
                self.tell_unknown(index, UnknownReason::Aborted);
                self.fail(now, index, Failure::Aborted);
            } else {
                // Of a response that was sent whole the rest may be on its way.
                if !self.rpcs.awaits_ack(index) {
                    self.tell_unknown(index, UnknownReason::Dropped);
                }
                self.end_server(now, index, false);
            }
        }
        if let Some(place) = self.sockets.get_mut(socket.index()) {
            *place = None;
        }
    }

    /// Sends a request; the host keeps its bytes under the key until the RPC's last event.
    ///
    /// # Errors
    /// The request is refused as a whole; see [`CallError`].
    pub fn call(&mut self, now: Instant, call: Call) -> Result<RpcKey, CallError> {
        if !self.is_legal(call.length) {
            return Err(illegal(call.length));
        }
        let local_port = match self.sockets.get(call.path.socket.index()) {
            Some(Some(socket)) => socket.port,
            _ => return Err(CallError::NoSocket),
        };
        if self.rpcs.clients() >= self.config.max_client_rpcs {
            return Err(CallError::Full);
        }
        let address = &call.path.peer;
        let peer = self
            .peers
            .find_or_make(now, address)
            .map_err(|Full| CallError::Full)?;
        let incast = self.is_incast();
        self.counters.requests_marked += u64::from(incast);
        let index = self.vacancy().map_err(|Full| CallError::Full)?;
        let unasked = self.unasked(peer, call.length, call.segment_bytes);
        let entry = self.peers.join(&mut self.rpcs.of_peers, peer, index, true);
        self.births += 1;
        let limit = entry.sending.of(unasked);
        let request = Outbound::new(call.length, call.segment_bytes, limit, self.births);
        let in_flight = entry.flight.take_off(request.flight_cost());
        let short_bytes = request.due_bytes(self.config.short_message_bytes);
        let due_bytes = match in_flight > 0 {
            true => short_bytes,
            false => 0,
        };
        let is_proven = entry.is_proven();
        let id = self.rpcs.id_at(index, entry.next_id());
        let (key, place) = self.rpcs.occupy(index, true);
        let ports = [local_port, call.dest_port];
        place.begin(now, id, (&call.path, ports), peer);
        place.state = State::Client(ClientRpc {
            since: Instant::NEVER,
        });
        place.message = request.brief();
        place.idempotent = call.idempotent;
        place.in_flight = in_flight;
        place.incast = incast;
        place.due_bytes = due_bytes;
        if short_bytes == 0 {
            self.rpcs.begin_outbound(index, request);
        }
        if in_flight > 0 {
            self.enqueue_new(index, due_bytes);
        } else {
            self.hold(now, index);
        }
        if !is_proven {
            self.vouch(now, peer);
        }
        if let Some(deadline) = call.deadline {
            self.rpcs.set_deadline(index, deadline);
            self.timers
                .set_at_latest(&mut self.rpcs.slab, index, deadline);
        }
        Ok(key)
    }

    /// The application calls a peer, and so vouches for its address.
    #[cold]
    fn vouch(&mut self, now: Instant, peer: u32) {
        self.peers[peer].prove();
        self.release_unproven(now, peer);
    }

    /// Answers a request; the host keeps the response's bytes under the key until `Ended`.
    ///
    /// # Errors
    /// See [`ReplyError`]; after a length error the request may be answered again.
    pub fn reply(
        &mut self,
        now: Instant,
        rpc: RpcKey,
        length: u32,
        segment_bytes: u32,
    ) -> Result<(), ReplyError> {
        if !self.is_legal(length) {
            return Err(match length {
                0 => ReplyError::EmptyMessage,
                _ => ReplyError::MessageTooLong,
            });
        }
        let index = rpc.index;
        let named = self.rpcs.named(rpc).filter(|rpc| rpc.is_in_service());
        let peer = named.ok_or(ReplyError::Gone)?.peer;
        let unasked = self.unasked(peer, length, segment_bytes);
        let rpc = &mut self.rpcs[index];
        self.births += 1;
        let limit = self.peers[peer].sending.of(unasked);
        let response = if rpc.incast {
            let few = self.config.incast_unscheduled_bytes;
            self.counters.responses_held_back += u64::from(length > few);
            Outbound::new(length, segment_bytes, limit.min(few), self.births).cut_to(few)
        } else {
            Outbound::new(length, segment_bytes, limit, self.births)
        };
        let due_bytes = response.due_bytes(self.config.short_message_bytes);
        rpc.due_bytes = due_bytes;
        rpc.has_deadline = false;
        rpc.state = State::Server(ServerRpc::Sending);
        rpc.message = response.brief();
        rpc.progress = Progress::new(now);
        if due_bytes == 0 {
            self.rpcs.begin_outbound(index, response);
        }
        self.enqueue_new(index, due_bytes);
        Ok(())
    }

    /// Bytes that go unasked of a message to a peer, unless loss says less.
    #[inline(always)]
    fn unasked(&self, peer: u32, length: u32, segment_bytes: u32) -> u32 {
        match &self.distances {
            // What one packet holds goes in any case.
            Some(distances) if length > segment_bytes => {
                let distance = distances.of(peer, &self.peers[peer].address);
                distance::unscheduled_bytes(&self.config, distance)
            }
            _ => self.config.unscheduled_bytes,
        }
    }

    /// The application will not answer: the client is told. Returns whether there was a request.
    pub fn drop_request(&mut self, now: Instant, rpc: RpcKey) -> bool {
        let Some(index) = self.in_service(rpc) else {
            return false;
        };
        self.refuse(now, index);
        true
    }

    /// A request will not be answered: its client is told.
    pub(crate) fn refuse(&mut self, now: Instant, index: u32) {
        let rpc = &mut self.rpcs[index];
        rpc.state = State::Server(ServerRpc::Refused(UnknownReason::Dropped));
        rpc.progress = Progress::new(now);
        rpc.has_deadline = false;
        self.want(index, Pending::REFUSE);
        self.watch(now, index);
    }

    /// Ends a client RPC: the event `Failed` with [`Failure::Aborted`] follows. Returns whether
    /// there was one.
    pub fn abort(&mut self, now: Instant, rpc: RpcKey) -> bool {
        match self.rpcs.resolve(rpc) {
            Some(index) if !self.rpcs[index].is_over() && self.rpcs[index].is_client() => {
                self.tell_unknown(index, UnknownReason::Aborted);
                self.fail(now, index, Failure::Aborted);
                true
            }
            _ => false,
        }
    }

    /// The buffers of received messages of `bytes` together are free again. More than was taken
    /// counts as all.
    pub fn give_back(&mut self, now: Instant, bytes: u64) {
        self.budget.give_back(bytes);
        if self.budget.has_stalled() {
            self.wake_stalled(now);
        }
    }

    /// Whether a message may have this length.
    #[inline]
    fn is_legal(&self, length: u32) -> bool {
        (1..=self.config.max_message_bytes).contains(&length)
    }

    #[inline]
    fn in_service(&mut self, rpc: RpcKey) -> Option<u32> {
        let index = rpc.index;
        let rpc = self.rpcs.named(rpc)?;
        rpc.is_in_service().then_some(index)
    }
}

/// What is wrong with a length that no message may have.
#[cold]
fn illegal(length: u32) -> CallError {
    match length {
        0 => CallError::EmptyMessage,
        _ => CallError::MessageTooLong,
    }
}
