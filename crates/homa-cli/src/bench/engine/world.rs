//! Two engines on one core, and between them no more than a real host has to do: a header is handed
//! over where it lies, no payload is moved, the clock is a number that goes up.
//!
//! Decides what a round of the measured loop is. It does not measure.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;

use homa_proto::{
    Address, Burst, Call, Config, Engine, Event, Instant, Path, RpcKey, Seed, SocketId,
};
use serde::{Deserialize, Serialize};

/// Each way.
pub(super) const MESSAGE_BYTES: u32 = 100;

/// What a packet carries on an Ethernet.
const SEGMENT_BYTES: u32 = 1_416;

/// RPCs in one round of the loop, at most: what one receiving system call takes.
const BATCH: u32 = 64;

/// The clock moves by so much for each RPC: the pace of four million a second.
const NANOS_PER_RPC: u64 = 250;

const SERVER_PORT: u16 = 4_000;
const CLIENT_PORT: u16 = 40_000;

/// What tells a client's address from the server address it speaks to: 11.x.y.z and 10.x.y.z.
const CLIENT_BIT: u128 = 1 << 24;

/// How much is going on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Scale {
    /// RPCs under way.
    pub(super) outstanding: u32,
    /// Servers that the client talks to, and clients that the server sees: so many addresses.
    pub(super) peers: u32,
    /// How long the server remembers a request that is over, in milliseconds of virtual time.
    pub(super) lifetime_ms: u64,
    /// Whether every question is put off for longer than the run lasts. With very many RPCs under
    /// way each waits so long that it would be asked about; what counts then is the tables.
    pub(super) patient: bool,
}

impl Scale {
    fn config(&self) -> Config {
        let mut config = Config {
            packet_lifetime: Duration::from_millis(self.lifetime_ms),
            receive_budget_bytes: 1 << 32,
            max_client_rpcs: self.outstanding.max(1_000) * 2,
            max_server_rpcs: self.outstanding.max(1_000) * 2,
            max_server_rpcs_per_peer: 1 << 22,
            max_peers: 1 << 18,
            max_tombstone_blocks: 1 << 22,
            ..Config::user_space()
        };
        if self.patient {
            config.resend_interval = Duration::from_secs(60);
            config.ack_interval = Duration::from_secs(60);
            config.timeout = Duration::from_secs(240);
            config.ping_interval_max = Duration::from_secs(60);
            config.service_silence = Duration::from_secs(240);
        }
        config
    }
}

/// Client, server, and what their hosts hold.
pub(super) struct World {
    scale: Scale,
    client: Engine,
    server: Engine,
    sockets: [SocketId; 2],
    now: Instant,
    burst: Burst,
    /// Which server each of the client's RPCs is at, by its key's index.
    server_of: Vec<u32>,
    /// Requests that the server's application has.
    in_service: Vec<RpcKey>,
    random: u64,
    completed: u64,
}

impl World {
    /// Two engines that have not met.
    pub(super) fn new(scale: Scale) -> Self {
        let engine = |seed| Engine::new(scale.config(), Seed([seed, 7])).expect("it is small");
        let (mut client, mut server) = (engine(1), engine(2));
        let ours = client.open_socket(CLIENT_PORT, false).expect("the first");
        let theirs = server.open_socket(SERVER_PORT, true).expect("the first");
        // Written once, so that the host's own arrays are not counted with the engine's memory.
        let mut in_service = vec![RpcKey::from_bits(u64::MAX); scale.outstanding as usize];
        in_service.clear();
        Self {
            scale,
            client,
            server,
            sockets: [ours, theirs],
            now: Instant::from_nanos(1_000_000_000),
            burst: Burst::new().expect("it is small"),
            server_of: vec![u32::MAX; (scale.outstanding + BATCH) as usize],
            in_service,
            random: 1,
            completed: 0,
        }
    }

    /// RPCs that have had their response.
    pub(super) const fn completed(&self) -> u64 {
        self.completed
    }

    /// Calls until as many are under way as should be.
    pub(super) fn call_all(&mut self) {
        for number in 0..self.scale.outstanding {
            self.call(number % self.scale.peers);
        }
    }

    /// The client calls every server once and thinks better of it: it knows them all then.
    pub(super) fn call_in_vain(&mut self) {
        for server in 0..self.scale.peers {
            let rpc = self.call(server);
            assert!(self.client.abort(self.now, rpc), "it was just called");
            while self.client.poll_event().is_some() {}
            while self.client.poll_transmit(self.now, &mut self.burst) {}
        }
    }

    /// Calls every server once and waits for the responses, some at a time.
    pub(super) fn meet_everybody(&mut self) {
        for first in (0..self.scale.peers).step_by(BATCH as usize) {
            for server in first..(first + BATCH).min(self.scale.peers) {
                self.call(server);
            }
            self.bring_requests();
            self.answer(BATCH);
            while let Some(event) = self.client.poll_event() {
                let Event::Response { length, .. } = event else {
                    panic!("a call failed: {event:?}");
                };
                self.client.give_back(self.now, u64::from(length));
            }
            // At a pace at which what is kept for a while is forgotten beside.
            self.rest(1);
        }
    }

    /// Nothing is called for a while.
    pub(super) fn rest(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.pass(1_000_000 / NANOS_PER_RPC);
            self.bring_requests();
            self.bring_responses();
        }
    }

    /// The server answers some requests, in random order; the client makes as many new calls.
    pub(super) fn round(&mut self) {
        let count = BATCH.min(self.scale.outstanding);
        self.answer(count);
        while let Some(event) = self.client.poll_event() {
            let Event::Response { rpc, length } = event else {
                panic!("a call failed: {event:?}");
            };
            self.completed += 1;
            self.client.give_back(self.now, u64::from(length));
            self.call(self.server_of[rpc.index()]);
        }
        self.bring_requests();
        self.pass(u64::from(count));
    }

    fn call(&mut self, server: u32) -> RpcKey {
        let call = Call {
            path: Path {
                socket: self.sockets[0],
                peer: server_address(server),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: SERVER_PORT,
            length: MESSAGE_BYTES,
            segment_bytes: SEGMENT_BYTES,
            deadline: None,
            idempotent: false,
        };
        let rpc = self.client.call(self.now, call).expect("there is room");
        self.server_of[rpc.index()] = server;
        rpc
    }

    fn answer(&mut self, count: u32) {
        for _ in 0..count.min(self.in_service.len() as u32) {
            let next = self.random_index();
            let rpc = self.in_service.swap_remove(next);
            self.server
                .reply(self.now, rpc, MESSAGE_BYTES, SEGMENT_BYTES)
                .expect("the request waits for it");
        }
        self.bring_responses();
    }

    fn random_index(&mut self) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = self.in_service.len() as u64;
        (((self.random >> 32) * length) >> 32) as usize
    }

    /// Brings what the client has to send to the server, and the requests to its application.
    pub(super) fn bring_requests(&mut self) {
        let [_, socket] = self.sockets;
        let path = (socket, CLIENT_PORT);
        carry(
            self.now,
            &mut self.client,
            &mut self.server,
            path,
            &mut self.burst,
        );
        while let Some(event) = self.server.poll_event() {
            if let Event::Request { rpc, length, .. } = event {
                self.in_service.push(rpc);
                self.server.give_back(self.now, u64::from(length));
            }
        }
    }

    fn bring_responses(&mut self) {
        let [socket, _] = self.sockets;
        let path = (socket, SERVER_PORT);
        carry(
            self.now,
            &mut self.server,
            &mut self.client,
            path,
            &mut self.burst,
        );
    }

    /// Time passes, as much as `rpcs` RPCs take.
    fn pass(&mut self, rpcs: u64) {
        self.now = self.now + Duration::from_nanos(rpcs * NANOS_PER_RPC);
        for engine in [&mut self.client, &mut self.server] {
            if engine.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                engine.handle_timeout(self.now);
            }
        }
    }
}

/// Brings all that one engine has to send to the other, to this socket and from that port.
fn carry(
    now: Instant,
    from: &mut Engine,
    to: &mut Engine,
    (socket, port): (SocketId, u16),
    burst: &mut Burst,
) {
    while from.poll_transmit(now, burst) {
        let to_whom = burst.path().peer;
        let path = Path {
            socket,
            peer: Address {
                ip: Ipv6Addr::from_bits(to_whom.ip.to_bits() ^ CLIENT_BIT),
                port,
                ..to_whom
            },
            local: Ipv6Addr::UNSPECIFIED,
        };
        for packet in burst.packets() {
            let length = packet.length() as u32;
            if let Some(placement) = to.handle_packet(now, path, packet.header, length) {
                assert!(placement.place().message_length == MESSAGE_BYTES);
                placement.commit();
            }
        }
    }
}

/// Where the client finds a server.
fn server_address(number: u32) -> Address {
    SocketAddr::from((((10 << 24) | number).to_be_bytes(), SERVER_PORT)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_completes_as_many_rpcs_as_it_makes_and_nothing_is_asked_twice() {
        let mut world = World::new(Scale {
            outstanding: 200,
            peers: 20,
            lifetime_ms: 1,
            patient: false,
        });
        world.call_all();
        world.bring_requests();
        for round in 1..=1_000 {
            world.round();
            assert_eq!(world.completed(), round * 64);
        }
        for engine in [&world.client, &world.server] {
            let counters = engine.counters();
            let extra = counters.resends_sent + counters.need_acks_sent + counters.data_resent;
            assert_eq!(extra, 0, "{counters:?}");
        }
        // Of the 2,000 that as many RPCs fill.
        let blocks = world.server.usage().tombstone_blocks;
        assert!(blocks < 200, "{blocks}");
    }

    #[test]
    fn peers_are_known_and_idle_after_meeting_everybody() {
        let mut world = World::new(Scale {
            outstanding: 10,
            peers: 100,
            lifetime_ms: 1,
            patient: false,
        });
        world.meet_everybody();
        world.rest(10);
        let (client, server) = (world.client.usage(), world.server.usage());
        assert_eq!((client.peers, server.peers), (100, 100));
        assert_eq!((client.client_rpcs, server.tombstone_blocks), (0, 0));
    }
}
