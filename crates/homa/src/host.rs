//! A host: one engine and the sockets that share it.
//!
//! It decides how much is sent unasked and granted, by what the sockets hold, and opens and closes
//! them. Who drives the engine is decided in `seat`.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use homa_net::{Link, LinkKind, faults, udp};
use homa_proto::wire::Priority;
use homa_proto::{Config, Engine, Seed, SocketId, Usage};

use crate::budget::SendBudget;
use crate::capture::Recorder;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::driver;
use crate::error::{BindError, ConfigError};
use crate::group::{Group, Member};
use crate::incoming::Ahead;
use crate::inspect::Door;
use crate::links::Socket;
use crate::options::{Builder, default_config};
use crate::outgoing;
use crate::pool::Pool;
use crate::shared::{Guard, Shared};
use crate::spin::Spin;
use crate::state::{Parts, State};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::timer::Timer;
use crate::waiting::Alarm;

/// One Homa host: a protocol engine and any number of sockets that share it.
///
/// Clients and servers made on one host share its send queue and its grants: short messages go
/// before long ones across all of them. A clone is the same host. It lives until the last clone,
/// client and server of it are dropped.
///
/// ```
/// use homa::{Host, blocking::{Client, Server}};
///
/// let host = Host::builder().build()?;
/// let server = Server::bind_on(&host, "127.0.0.1:0")?;
/// let client = Client::on(&host)?;
/// let call = client.start(server.local_addr(), b"to myself")?;
/// assert_eq!(*server.recv()?.message, *b"to myself");
/// # drop(call);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// Ends the host when the last handle goes; what drives it holds only `shared`.
struct Inner {
    shared: Arc<Shared>,
    link: LinkKind,
    udp: udp::Options,
    /// Of the sockets that the engines of a group share an address with.
    steering: Option<udp::Steering>,
    faults: faults::Config,
    /// Where other processes ask what it does.
    _door: Option<Door>,
}

impl Host {
    /// A host to be set up; [`Builder::build`] makes it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(builder: &Builder) -> Result<Self, BindError> {
        let group = Self::group(builder, 1)?;
        Ok(group.into_iter().next().expect("a group of one"))
    }

    /// Hosts that stand for one, an engine each.
    pub(crate) fn group(builder: &Builder, count: u8) -> Result<Vec<Self>, BindError> {
        let asked = builder.config.clone();
        let mut config = asked.unwrap_or_else(|| default_config(builder.link));
        let rules = [
            (
                builder.send_budget_bytes >= u64::from(config.max_message_bytes),
                "send_budget_bytes must hold one message of max_message_bytes",
            ),
            (count > 0, "a host has at least one engine"),
            (
                count <= 1 || builder.link == LinkKind::Udp,
                "several engines share an address over UDP only",
            ),
            (
                count <= 1 || builder.capture.is_none(),
                "a capture is of one engine",
            ),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(ConfigError::Invalid(rule).into());
        }
        fit_to_receive_buffer(&mut config, receive_buffer_bytes(builder)?);
        // They are cut on their way to the links.
        config.joins_segments = true;
        // One seed, so that peers see one life; one clock, so that reports can be compared.
        let (seed, clock) = (seed()?, Clock::new());
        let alarms = (0..count).map(|_| Alarm::new().map(Arc::new));
        let alarms = alarms.collect::<Result<Vec<_>, _>>();
        let alarms = alarms.map_err(|error| BindError::system("make an eventfd", &error))?;
        let group = Arc::new(Group::new(alarms.iter().cloned()));
        let hosts = (0..count).zip(alarms).map(|(engine, alarm)| {
            let member = (count > 1).then(|| Member::new(&group, engine.into()));
            if count > 1 {
                config.engine = engine;
            }
            let engine = Engine::new(config.clone(), seed)?;
            Self::assemble(builder, engine, member, clock, alarm)
        });
        hosts.collect()
    }

    fn assemble(
        builder: &Builder,
        engine: Engine,
        member: Option<Member>,
        clock: Clock,
        alarm: Arc<Alarm>,
    ) -> Result<Self, BindError> {
        let system = |step| move |error| BindError::system(step, &error);
        let asked = builder.capture.as_deref();
        let recorder = Recorder::asked_for(asked).map_err(system("write a capture"))?;
        let timer = || Timer::new(clock).map_err(system("make a timer"));
        let parts = Arc::new(Parts {
            clock,
            waiter_timer: timer()?,
            background_timer: timer()?,
            pool: Arc::new(Pool::new(builder.pool_bytes, Arc::clone(&alarm))),
            alarm,
            budget: SendBudget::new(builder.send_budget_bytes),
            news: AtomicU64::new(0),
            recorder: recorder.clone(),
        });
        // Short messages and control packets, which are most, leave at the highest level.
        let highest = Priority::new(engine.config().priorities.saturating_sub(1));
        let udp = udp::Options {
            usual_class: outgoing::traffic_class(highest.unwrap_or(Priority::HIGHEST)),
            tell_class: recorder.is_some(),
            ..builder.udp.clone()
        };
        let steering = member.as_ref().map(Member::steering);
        let state = State::new(engine, member, Spin::new(builder.spin), Arc::clone(&parts))
            .map_err(system("make an epoll"))?;
        let readiness = state
            .links
            .readiness()
            .map_err(system("duplicate a descriptor"))?;
        let shared = Arc::new(Shared::new(state, parts, readiness));
        let door = Door::asked_for(builder.inspectable, &shared);
        Ok(Self {
            inner: Arc::new(Inner {
                _door: door.map_err(system("open a socket for `homa ss`"))?,
                shared,
                link: builder.link,
                udp,
                steering,
                faults: builder.faults,
            }),
        })
    }

    /// What the engine runs with: the configuration asked for, with `unscheduled_bytes` and
    /// `max_incoming_bytes` reduced to what the sockets' receive buffers hold, and `joins_segments`,
    /// which is the host's affair.
    ///
    /// Of a receive buffer half may be payload, because the system charges each packet the memory
    /// it lies in. Half of that half is for granted bytes. The other half is for unscheduled
    /// bytes, which nobody asked for, of four senders at once. (The asking size is
    /// `net.core.rmem_max` at most; with 212,992 bytes, a common default, 26,624 bytes are
    /// unscheduled and 106,496 granted.)
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub fn config(&self) -> Result<Config, BindError> {
        Ok(self.lock()?.engine.config().clone())
    }

    /// What engine, links and host counted since the host was made.
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub fn counters(&self) -> Result<Counters, BindError> {
        Ok(self.inner.shared.counters()?)
    }

    /// How full the engine's tables are.
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub fn usage(&self) -> Result<Usage, BindError> {
        let mut state = self.lock()?;
        // Buffers that came back are entered at the next turn only; none may be due.
        state.settle_and_alert(self.inner.shared.parts.clock.now());
        Ok(state.engine.usage())
    }

    /// Bytes of outbound messages held at the moment; see [`Builder::send_budget_bytes`].
    pub fn send_bytes_held(&self) -> u64 {
        self.inner.shared.parts.budget.held()
    }

    /// A number that changes when a request came or a call or response of this host is over.
    ///
    /// It is read from memory, without a lock or a system call: a thread that polls may look here
    /// until there is something to take, while another thread or a runtime drives the host.
    pub fn news(&self) -> u64 {
        self.inner.shared.parts.news.load(Ordering::Acquire)
    }

    /// Bytes of idle message buffers kept at the moment; see [`Builder::pool_bytes`].
    pub fn pool_idle_bytes(&self) -> usize {
        self.inner.shared.parts.pool.idle_bytes()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn lock(&self) -> Result<Guard<'_>, BindError> {
        Ok(self.inner.shared.lock()?)
    }

    /// Starts the background thread, unless it runs.
    pub(crate) fn ensure_background(&self) -> Result<(), BindError> {
        driver::ensure_background(&self.inner.shared)
            .map_err(|error| BindError::system("start a thread", &error))
    }

    /// Opens a link of the host's kind, for a server or for a client only.
    pub(crate) fn open_link(
        &self,
        address: SocketAddr,
        for_server: bool,
    ) -> Result<Box<dyn Link>, BindError> {
        let options = udp::Options {
            // A client's packets leave from whichever address the route gives them, each time.
            tell_destination: for_server,
            reuse_port: self.inner.udp.reuse_port || for_server && self.inner.steering.is_some(),
            steering: self.inner.steering.filter(|_| for_server),
            ..self.inner.udp.clone()
        };
        let link = self.inner.link.bind(address, &options)?;
        if self.inner.faults.is_off() {
            return Ok(link);
        }
        // Two sockets of one host do not lose the same packets.
        let seed = self
            .inner
            .faults
            .seed
            .wrapping_add(u64::from(link.local_addr().port()));
        let config = faults::Config {
            seed,
            ..self.inner.faults
        };
        Ok(Box::new(faults::Faults::new(link, config)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A broken host has told everyone already.
        if let Ok(mut state) = self.shared.lock() {
            state.closed = true;
            state.ring_all();
        }
    }
}

/// Makes `link` a socket of the engine.
pub(crate) fn add_link(
    state: &mut State,
    link: Box<dyn Link>,
    accepts_requests: bool,
    server: Option<u32>,
) -> Result<SocketId, BindError> {
    let port = link.local_addr().port();
    let opened = state.engine.open_socket(port, accepts_requests);
    let id = opened.map_err(|_| BindError::TooManySockets)?;
    let socket = Socket {
        link: state.watched(link),
        id,
        server,
        full: false,
        ahead: Ahead::default(),
    };
    if let Err(error) = state.links.insert(socket) {
        state.close_socket_now(id);
        return Err(BindError::system("watch a socket", &error));
    }
    Ok(id)
}

/// What a socket of this host will hold, in bytes as the system accounts them.
fn receive_buffer_bytes(builder: &Builder) -> Result<usize, BindError> {
    let options = udp::Options {
        receive_buffer_count: 1,
        ..builder.udp.clone()
    };
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    // Other kinds of sockets get the same, and may be had only once, or by the right alone.
    let opened = LinkKind::Udp.bind(v4, &options);
    let link = opened.or_else(|_| LinkKind::Udp.bind(v6, &options))?;
    Ok(link.capabilities().receive_buffer_bytes)
}

/// See [`Host::config`] for the rule.
fn fit_to_receive_buffer(config: &mut Config, receive_buffer_bytes: usize) {
    let payload = u32::try_from(receive_buffer_bytes / 2).unwrap_or(u32::MAX);
    config.max_incoming_bytes = config.max_incoming_bytes.min(payload / 2).max(1);
    // Where there is less room, what is left to short messages is the smaller part still.
    let spare = config.spare_incoming_bytes;
    config.spare_incoming_bytes = spare.min(config.max_incoming_bytes / 2);
    let unasked = (payload / 8).max(1);
    config.unscheduled_bytes = config.unscheduled_bytes.min(unasked);
    let most = config.unscheduled_max_bytes;
    config.unscheduled_max_bytes = most.map(|most| most.min(unasked));
}

fn seed() -> Result<Seed, BindError> {
    let mut words = [0; 2];
    for word in &mut words {
        let mut bytes = [0; 8];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        match filled {
            // Up to 256 bytes come whole.
            Ok(8) => *word = u64::from_ne_bytes(bytes),
            Ok(_) => return Err(no_randomness(rustix::io::Errno::AGAIN)),
            Err(errno) => return Err(no_randomness(errno)),
        }
    }
    Ok(Seed(words))
}

fn no_randomness(errno: rustix::io::Errno) -> BindError {
    BindError::system("read random numbers", &errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_receive_buffer_lowers_what_may_come() {
        let mut config = Config::default();
        fit_to_receive_buffer(&mut config, 2 * 212_992);
        assert_eq!(config.unscheduled_bytes, 26_624);
        assert_eq!(config.max_incoming_bytes, 106_496);
        let mut config = Config::data_center(10_000_000_000, 9_912);
        for bytes in [1_000_000, 400_000, 100_000, 16_000] {
            fit_to_receive_buffer(&mut config, bytes);
            assert_eq!(config.check(), Ok(()), "{bytes}");
        }
    }

    #[test]
    fn a_large_receive_buffer_leaves_the_configuration_alone() {
        let mut config = Config::default();
        fit_to_receive_buffer(&mut config, 8 << 20);
        assert_eq!(config, Config::default());
    }
}
