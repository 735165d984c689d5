//! A simulated host: its engines, its network card, and which message each RPC sends. Decides which
//! engine a packet belongs to and which engine sends next. One thread serves all engines of a host,
//! so that what they know of each other is exact.

use core::net::Ipv6Addr;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use homa_proto::{
    Address, Burst, Call, CallError, Config, ConfigError, Engine, HostView, Instant, Path,
    ReplyError, Report, RpcKey, Seed, SocketId,
};

use crate::events::{Event, Queue};
use crate::link::{Link, LinkConfig};
use crate::packet::NO_MESSAGE;
use crate::random::mix;

/// Most engines of a host.
pub const ENGINES_MAX: usize = 4;

/// A port that a host opens on each of its engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Its number.
    pub port: u16,
    /// Whether requests to it are taken.
    pub accepts_requests: bool,
}

/// What a host is like.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// One engine each, 1 to 4; their numbers are set here.
    pub engines: Vec<Config>,
    /// Opened on every engine, in this order.
    pub sockets: Vec<SocketConfig>,
    /// The cable to the network.
    pub link: LinkConfig,
    /// Bytes that wait for the cable, at most; what comes then is lost.
    pub queue_max_bytes: u32,
    /// Nanoseconds that software takes from the engine to the card.
    pub send_delay: u64,
    /// And from the card to the engine.
    pub receive_delay: u64,
}

pub(crate) struct Core {
    pub(crate) engine: Engine,
    /// The message that an RPC sends, by the index of its key.
    pub(crate) outgoing: Vec<u32>,
}

impl Core {
    fn remember(&mut self, rpc: RpcKey, message: u32) {
        let index = rpc.index();
        if self.outgoing.len() <= index {
            self.outgoing.resize(index + 1, NO_MESSAGE);
        }
        self.outgoing[index] = message;
    }
}

pub(crate) struct Host {
    pub(crate) config: HostConfig,
    pub(crate) cores: Vec<Core>,
    /// By port, in the order of [`HostConfig::sockets`].
    sockets: Vec<(u16, SocketId)>,
    pub(crate) nic: Link,
    /// Nanoseconds that a packet waits for the cable at most.
    pub(crate) wait_max: u64,
    /// When the first of its engines is to be called: what [`next_deadline`](Self::next_deadline)
    /// said after their last call.
    pub(crate) deadline: Option<u64>,
    /// The earliest wake-up that is on its way; `u64::MAX`: none.
    pub(crate) wake: u64,
    /// Until when the host does nothing.
    pub(crate) paused_until: u64,
    /// What arrived meanwhile.
    pub(crate) inbox: Vec<u32>,
    pub(crate) up: bool,
    /// Deadlines served at this moment.
    pub(crate) served: (u64, u32),
}

/// The address of a host; its port is one of its sockets'.
pub fn address(host: u32, port: u16) -> Address {
    let number = host + 1;
    let ip = Ipv4Addr::from(0x0a00_0000 | number);
    Address::from(SocketAddr::from((ip, port)))
}

/// The host with this address, if it can be one.
pub fn host_at(ip: Ipv6Addr) -> Option<u32> {
    match ip.to_canonical() {
        IpAddr::V4(v4) if v4.octets()[0] == 10 => (v4.to_bits() & 0x00ff_ffff).checked_sub(1),
        _ => None,
    }
}

impl Host {
    /// # Errors
    /// When an engine refuses its configuration.
    pub(crate) fn new(config: HostConfig, seed: Seed) -> Result<Self, ConfigError> {
        let (mut cores, mut sockets) = (Vec::new(), Vec::new());
        for (number, engine) in config.engines.iter().enumerate() {
            let config_of_it = Config {
                engine: number as u8,
                ..engine.clone()
            };
            // All engines of a host get the same seed, so that peers see one life.
            let mut engine = Engine::new(config_of_it, seed)?;
            let open = |socket: &SocketConfig| {
                let opened = engine.open_socket(socket.port, socket.accepts_requests);
                let id = opened.map_err(|_| ConfigError::OutOfMemory)?;
                Ok((socket.port, id))
            };
            sockets = config.sockets.iter().map(open).collect::<Result<_, _>>()?;
            cores.push(Core {
                engine,
                outgoing: Vec::new(),
            });
        }
        Ok(Self {
            nic: Link::new(config.link),
            wait_max: config.link.serialization(config.queue_max_bytes),
            config,
            cores,
            sockets,
            deadline: None,
            wake: u64::MAX,
            paused_until: 0,
            inbox: Vec::new(),
            up: true,
            served: (0, 0),
        })
    }

    /// The socket with this port.
    pub(crate) fn socket(&self, port: u16) -> Option<SocketId> {
        let mut sockets = self.sockets.iter();
        sockets.find_map(|&(own, socket)| (own == port).then_some(socket))
    }

    /// The engine that a packet belongs to: at the client by the number in the id, at the server
    /// by that and the client's host.
    pub(crate) fn steer(&self, sender_id: u64, from: u32) -> usize {
        let (engine, count) = (sender_id >> 56, self.cores.len());
        if count == 1 {
            0
        } else if sender_id & 1 == 1 {
            engine as usize % count
        } else {
            (mix(engine << 32 | u64::from(from)) % count as u64) as usize
        }
    }

    /// Brings acks that came to `engine` to the engines that may wait for them.
    pub(crate) fn hand_over(&mut self, now: Instant, engine: usize) {
        if self.cores.len() == 1 {
            return;
        }
        while let Some(ack) = self.cores[engine].engine.poll_foreign_ack() {
            let from = host_at(ack.from.ip).unwrap_or(u32::MAX);
            let other = self.steer(ack.client_id.get(), from);
            if other != engine {
                self.cores[other].engine.handle_foreign_ack(now, &ack);
            }
        }
    }

    /// Fills `burst` with what the host sends next, and answers which engine gave it. `shares`: the
    /// engines are told of each other.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        burst: &mut Burst,
        shares: bool,
    ) -> Option<usize> {
        if let [core] = self.cores.as_mut_slice() {
            // Most calls find nothing, and a glance tells.
            let has_any = !core.engine.is_quiet() && core.engine.poll_transmit(now, burst);
            return has_any.then_some(0);
        }
        let reports: Vec<Report> = self.cores.iter().map(|core| core.engine.report()).collect();
        let mut order = Vec::with_capacity(self.cores.len());
        for (number, core) in self.cores.iter_mut().enumerate() {
            if shares {
                let others = reports.iter().enumerate();
                let others = others.filter_map(|(other, it)| (other != number).then_some(it));
                core.engine.set_host_view(&HostView::join(others));
            }
            order.push((core.engine.urgency(), number));
        }
        order.sort_unstable();
        let mut numbers = order.into_iter().map(|(_, number)| number);
        numbers.find(|&number| self.cores[number].engine.poll_transmit(now, burst))
    }

    /// Has the engines do what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let [core] = self.cores.as_mut_slice() {
            // It is its deadline that the host woke for.
            core.engine.handle_timeout(now);
            return;
        }
        for core in &mut self.cores {
            if core.engine.poll_timeout().is_some_and(|(at, _)| at <= now) {
                core.engine.handle_timeout(now);
            }
        }
    }

    /// When the first of the engines is to be called, in nanoseconds.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if let [core] = self.cores.as_slice() {
            return core.engine.poll_timeout().map(|(at, _)| at.as_nanos());
        }
        let deadlines = self
            .cores
            .iter()
            .filter_map(|core| core.engine.poll_timeout());
        deadlines.map(|(at, _)| at.as_nanos()).min()
    }
}

/// What an agent may do at a host, at this moment.
pub struct Context<'a> {
    /// Nanoseconds since the start.
    pub now: u64,
    /// The host.
    pub host: u32,
    /// Which of its engines.
    pub engine: usize,
    pub(crate) core: &'a mut Core,
    pub(crate) sockets: &'a [(u16, SocketId)],
    pub(crate) queue: &'a mut Queue,
}

impl Context<'_> {
    /// The host's socket of this number in [`HostConfig::sockets`].
    pub fn socket(&self, number: usize) -> SocketId {
        self.sockets[number].1
    }

    /// A request of `length` bytes from the host's first socket to port `port` of host `to`, without
    /// deadline, to run once.
    pub fn request(&self, to: u32, port: u16, length: u32, segment_bytes: u32) -> Call {
        Call {
            path: Path {
                socket: self.socket(0),
                peer: address(to, port),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: port,
            length,
            segment_bytes,
            deadline: None,
            idempotent: false,
        }
    }

    /// Sends a request, whose bytes are those of `message`.
    ///
    /// # Errors
    /// The engine's.
    pub fn call(&mut self, call: Call, message: u32) -> Result<RpcKey, CallError> {
        let rpc = self.core.engine.call(self.time(), call)?;
        self.core.remember(rpc, message);
        Ok(rpc)
    }

    /// Answers a request with the bytes of `message`.
    ///
    /// # Errors
    /// The engine's.
    pub fn reply(
        &mut self,
        rpc: RpcKey,
        length: u32,
        segment_bytes: u32,
        message: u32,
    ) -> Result<(), ReplyError> {
        let now = self.time();
        self.core.engine.reply(now, rpc, length, segment_bytes)?;
        self.core.remember(rpc, message);
        Ok(())
    }

    /// The engine, for all else. It is drained afterwards.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.core.engine
    }

    /// This moment as engines are told it.
    pub fn time(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// Has the agent's `timer` called after `delay` nanoseconds, at the same engine.
    pub fn after(&mut self, delay: u64, token: u32) {
        let timer = Event::Timer {
            host: self.host,
            engine: self.engine as u8,
            token,
        };
        self.queue.push(self.now.saturating_add(delay), timer);
    }
}

/// A host's parts, apart.
pub(crate) fn context<'a>(
    now: u64,
    number: u32,
    engine: usize,
    host: &'a mut Host,
    queue: &'a mut Queue,
) -> Context<'a> {
    Context {
        now,
        host: number,
        engine,
        core: &mut host.cores[engine],
        sockets: &host.sockets,
        queue,
    }
}
