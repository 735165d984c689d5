//! What an application may choose about a host and about a single call.

use core::time::Duration;
use std::path::PathBuf;

use homa_net::{LinkKind, faults, udp};
use homa_proto::Config;

use crate::error::BindError;
use crate::host::Host;

/// What an application may say about one call.
///
/// ```
/// use std::time::Duration;
/// let patient = homa::CallOptions { deadline: Some(Duration::from_secs(30)), ..Default::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Time from now after which the call fails with
    /// [`DeadlineExceeded`](crate::CallError::DeadlineExceeded). `None`: it lasts as long as the
    /// server shows signs of life.
    pub deadline: Option<Duration>,
    /// The request may run twice: where a server restarted or lost the call, send it again instead
    /// of failing with [`OutcomeUnknown`](crate::CallError::OutcomeUnknown).
    pub idempotent: bool,
}

/// How a [`Host`] is set up. [`Host::builder`] makes one; the defaults are what we would run.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct Builder {
    pub(crate) config: Option<Config>,
    pub(crate) link: LinkKind,
    pub(crate) udp: udp::Options,
    pub(crate) faults: faults::Config,
    pub(crate) spin: Duration,
    pub(crate) send_budget_bytes: u64,
    pub(crate) pool_bytes: usize,
    pub(crate) capture: Option<PathBuf>,
    pub(crate) inspectable: bool,
}

/// The numbers of the protocol engine that suit a kind of link: over UDP [`Config::user_space`];
/// directly on IP and through the tunnel, where the other end may be a kernel, those of the kernel
/// module.
pub fn default_config(link: LinkKind) -> Config {
    match link {
        LinkKind::Udp => Config::user_space(),
        LinkKind::Ip | LinkKind::Tunnel => Config::default(),
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: None,
            link: LinkKind::default(),
            udp: udp::Options::default(),
            faults: faults::Config::default(),
            spin: Duration::from_micros(50),
            send_budget_bytes: 64 << 20,
            pool_bytes: 64 << 20,
            capture: None,
            inspectable: false,
        }
    }
}

impl Builder {
    /// The numbers of the protocol engine; default [`default_config`] of the link.
    ///
    /// `unscheduled_bytes` and `max_incoming_bytes` are upper bounds: less is used where the
    /// sockets' receive buffers hold less, see [`Host::config`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// How datagrams travel. Default: [`LinkKind::Udp`].
    pub fn link(mut self, link: LinkKind) -> Self {
        self.link = link;
        self
    }

    /// How UDP sockets are opened: buffer sizes and offloads.
    pub fn udp(mut self, options: udp::Options) -> Self {
        self.udp = options;
        self
    }

    /// Faults to inject into what arrives, for tests. Default: none.
    pub fn faults(mut self, faults: faults::Config) -> Self {
        self.faults = faults;
        self
    }

    /// How long whoever waits looks at the sockets again and again before it sleeps; default 50 µs.
    ///
    /// It looks only while recent waits were mostly shorter than that, so a host with little to do
    /// sleeps at once. Too short: each wait costs a wake-up by the kernel, some 5 to 40 µs. Too
    /// long: waiting burns a core. Zero always sleeps at once; an hour is pure spinning. In a
    /// runtime, other tasks run between two looks.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Bytes of requests and responses held until their receivers have them; default 64 MiB, at
    /// least [`Config::max_message_bytes`].
    ///
    /// At the limit [`submit`](crate::blocking::Client::submit) fails, while calls and replies
    /// wait for room, a call at most until its deadline. Too low: little is sent at the same
    /// time; too high: memory.
    pub fn send_budget_bytes(mut self, bytes: u64) -> Self {
        self.send_budget_bytes = bytes;
        self
    }

    /// Bytes of idle message buffers kept for later messages; default 64 MiB.
    ///
    /// Too low: messages go through the allocator again; too high: memory kept after a burst.
    pub fn pool_bytes(mut self, bytes: usize) -> Self {
        self.pool_bytes = bytes;
        self
    }

    /// Appends every packet to `file`, as pcapng, which is created if it is not there. Default: the
    /// file that the environment variable `HOMA_CAPTURE` names, if it names one.
    ///
    /// Several hosts and processes may write to one file. Each batch of packets costs a system call
    /// and a copy; what cannot be written is counted
    /// ([`HostCounters::capture_lost`](crate::HostCounters::capture_lost)) and sent all the same.
    pub fn capture(mut self, file: impl Into<PathBuf>) -> Self {
        self.capture = Some(file.into());
        self
    }

    /// Whether `homa ss` may ask the host what it has under way; default no, or yes where the
    /// environment has `HOMA_INSPECT=1`.
    ///
    /// A thread waits at an abstract Unix socket and answers processes of the same user and of root
    /// ([`inspect`](crate::inspect) says what).
    pub fn inspectable(mut self, inspectable: bool) -> Self {
        self.inspectable = inspectable;
        self
    }

    /// Makes the host. It has no socket yet.
    ///
    /// # Errors
    ///
    /// The configuration is out of range, the capture cannot be written, or the system refuses
    /// descriptors or memory.
    pub fn build(self) -> Result<Host, BindError> {
        Host::new(&self)
    }

    /// Makes a host of `count` engines, 1 to 255, so that it can use as many cores: one [`Host`]
    /// for each, to be driven by a thread or a runtime of its own. Towards the network they are
    /// one: they grant and pace together.
    ///
    /// Bind a server on each, in their order, at the address that the first one got; each then
    /// receives its share of the peers' requests. A client on each calls from a port of its own.
    ///
    /// ```
    /// use homa::{Host, blocking::{Client, Server}};
    ///
    /// let hosts = Host::builder().build_engines(2)?;
    /// let first = Server::bind_on(&hosts[0], "127.0.0.1:0")?;
    /// let second = Server::bind_on(&hosts[1], first.local_addr())?;
    /// for server in [first.clone(), second] {
    ///     std::thread::spawn(move || {
    ///         while let Ok(request) = server.recv() {
    ///             let _ = request.responder.reply(&request.message);
    ///         }
    ///     });
    /// }
    /// let client = Client::new()?;
    /// assert_eq!(*client.call(first.local_addr(), b"to either")?, *b"to either");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); over anything but UDP there is one engine only.
    pub fn build_engines(self, count: u8) -> Result<Vec<Host>, BindError> {
        Host::group(&self, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn towards_kernels_the_timeouts_are_those_of_the_kernel_module() {
        for link in [LinkKind::Ip, LinkKind::Tunnel] {
            let config = default_config(link);
            assert_eq!(config.resend_interval, Duration::from_millis(5));
            assert_eq!(config.timeout, Duration::from_millis(100));
            assert_eq!(config.ack_interval, Duration::from_millis(2));
        }
    }
}
