//! What can go wrong, one closed enum per operation. Each variant says who is to blame, whether a
//! request may have run, and its text says what to do next.

use core::fmt;
use core::net::SocketAddr;
use std::io;

pub use homa_proto::ConfigError;

/// Who has to change something for an error to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The program that called: its arguments, its limits, or its own decision.
    Caller,
    /// The network between the two hosts.
    Network,
    /// The server: its program, its limits, or its host.
    Server,
    /// This library: please report it.
    Library,
}

/// Why a call brought no response.
///
/// Every call ends. How soon, where nothing else is said: what is wrong here is told at once, what the
/// peer or the network answers after a round trip, and asked for again every resend interval
/// ([`Config::resend_interval`](crate::Config::resend_interval), 5 ms) if the answer is lost. The times
/// of a host without a configuration of its own are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The request has no bytes, which the protocol cannot express. It did not run.
    Empty,
    /// The request is longer than [`Config::max_message_bytes`](crate::Config::max_message_bytes).
    /// It did not run.
    MessageTooLong {
        /// Bytes of the request.
        length: usize,
        /// Bytes it may have.
        limit: u32,
    },
    /// The name leads to no address. The request did not run.
    Resolve(ResolveError),
    /// A socket to call from could not be opened. The request did not run.
    Socket(BindError),
    /// As many RPCs or peers as the configuration or the memory allows are under way. The request
    /// did not run.
    TooManyRpcs,
    /// The bytes of outbound messages are at their limit
    /// ([`Builder::send_budget_bytes`](crate::Builder::send_budget_bytes)). The request did not
    /// run. Only `submit` says so: `call` and `start` wait.
    SendBufferFull {
        /// Bytes of outbound messages held when the request came.
        held: u64,
        /// Bytes that may be held.
        limit: u64,
    },
    /// This program aborted the call. The request may have run.
    Aborted,
    /// The client was closed or shut down. The request may have run if it had been sent.
    Closed,
    /// The deadline that this program set has passed; told when it does. The request may have run.
    DeadlineExceeded,
    /// Nobody listens at the server's port. The request did not run.
    Refused,
    /// The network knows no way to the server. The request did not run.
    Unreachable,
    /// The server fell silent for longer than the protocol waits: for
    /// [`Config::timeout`](crate::Config::timeout) (a second), or for ten of them where other packets
    /// of it come. The request may have run.
    TimedOut,
    /// The server restarted, or forgot the call after a sign of life, which it must say three times: a
    /// few resend intervals. The request may have run.
    OutcomeUnknown,
    /// The server's program took the request and dropped it unanswered, or its host did for it after
    /// [`Config::service_deadline`](crate::Config::service_deadline). It may have run in part.
    DroppedByServer,
    /// The server is over its limits. The request did not run.
    Overloaded,
    /// The response is longer than this client takes
    /// ([`Config::max_message_bytes`](crate::Config::max_message_bytes)). The request ran.
    ResponseTooLong,
    /// A thread panicked inside the library and left the host unusable. The request may have run.
    Broken,
}

impl CallError {
    /// Whether the server's program may have seen the request. Where it says no, sending the
    /// request again cannot run it twice.
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Empty
            | Self::MessageTooLong { .. }
            | Self::Resolve(_)
            | Self::Socket(_)
            | Self::TooManyRpcs
            | Self::SendBufferFull { .. }
            | Self::Refused
            | Self::Unreachable
            | Self::Overloaded => false,
            Self::Aborted
            | Self::Closed
            | Self::DeadlineExceeded
            | Self::TimedOut
            | Self::OutcomeUnknown
            | Self::DroppedByServer
            | Self::ResponseTooLong
            | Self::Broken => true,
        }
    }

    /// Whether another address of the same server may do better.
    pub(crate) const fn is_about_address(&self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Socket(_))
    }

    /// Who has to change something.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Empty
            | Self::MessageTooLong { .. }
            | Self::Resolve(_)
            | Self::Socket(_)
            | Self::TooManyRpcs
            | Self::SendBufferFull { .. }
            | Self::Aborted
            | Self::Closed
            | Self::DeadlineExceeded
            | Self::ResponseTooLong => Blame::Caller,
            Self::Unreachable | Self::TimedOut => Blame::Network,
            Self::Refused | Self::OutcomeUnknown | Self::DroppedByServer | Self::Overloaded => {
                Blame::Server
            }
            Self::Broken => Blame::Library,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the request is empty; send at least one byte"),
            Self::MessageTooLong { length, limit } => too_long(f, "request", *length, *limit),
            Self::Resolve(error) => error.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::TooManyRpcs => f.write_str(
                "too many calls are under way; wait for some to end, or raise max_client_rpcs and \
                 max_peers",
            ),
            Self::SendBufferFull { held, limit } => write!(
                f,
                "{held} of {limit} bytes of outbound messages are held; take a completion before \
                 submitting more, or raise send_budget_bytes"
            ),
            Self::Aborted => f.write_str("the call was aborted; the request may have run"),
            Self::Closed => f.write_str("the client is closed; make a new one to call again"),
            Self::DeadlineExceeded => f.write_str(
                "the deadline passed before the response came; the request may have run; allow \
                 more time if it usually takes longer",
            ),
            Self::Refused => f.write_str(
                "nobody listens at the server's port; check the address and that the server runs",
            ),
            Self::Unreachable => f.write_str(
                "the network knows no way to the server; check the address and the route",
            ),
            Self::TimedOut => f.write_str(
                "the server does not answer; the request may have run; check that the server runs \
                 and that no firewall drops its packets",
            ),
            Self::OutcomeUnknown => f.write_str(
                "the server restarted or lost the call; the request may have run; ask the server \
                 what became of it before sending it again, or mark the call idempotent",
            ),
            Self::DroppedByServer => f.write_str(
                "the server's program dropped the request unanswered; its log should say why",
            ),
            Self::Overloaded => f.write_str(
                "the server is over its limits and did not take the request; try again later",
            ),
            Self::ResponseTooLong => f.write_str(
                "the response is longer than this client takes; raise its limit of message bytes",
            ),
            Self::Broken => f.write_str(BROKEN),
        }
    }
}

impl core::error::Error for CallError {}

impl From<homa_proto::Failure> for CallError {
    fn from(failure: homa_proto::Failure) -> Self {
        use homa_proto::Failure;
        match failure {
            Failure::Refused => Self::Refused,
            Failure::Unreachable => Self::Unreachable,
            Failure::TimedOut => Self::TimedOut,
            Failure::DeadlineExceeded => Self::DeadlineExceeded,
            Failure::Dropped => Self::DroppedByServer,
            Failure::Overloaded => Self::Overloaded,
            Failure::ResponseTooLong => Self::ResponseTooLong,
            Failure::Aborted => Self::Aborted,
            // The engine may learn new failures; of an unknown one nothing is certain.
            _ => Self::OutcomeUnknown,
        }
    }
}

/// Why a reply was not taken. In every case the client is told that its request was dropped, if it
/// still waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The response has no bytes, which the protocol cannot express.
    Empty,
    /// The response is longer than [`Config::max_message_bytes`](crate::Config::max_message_bytes).
    MessageTooLong {
        /// Bytes of the response.
        length: usize,
        /// Bytes it may have.
        limit: u32,
    },
    /// The client aborted the call or vanished: nobody waits for the response.
    Gone,
    /// The server was closed or shut down.
    Closed,
    /// No memory for the response.
    OutOfMemory,
    /// A thread panicked inside the library and left the host unusable.
    Broken,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the response is empty; send at least one byte"),
            Self::MessageTooLong { length, limit } => too_long(f, "response", *length, *limit),
            Self::Gone => f.write_str("the client no longer waits; nothing needs to be done"),
            Self::Closed => f.write_str("the server is closed; its clients have been told"),
            Self::OutOfMemory => f.write_str("no memory for the response; the client is told"),
            Self::Broken => f.write_str(BROKEN),
        }
    }
}

impl core::error::Error for ReplyError {}

/// Why no more requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// The server was closed or shut down.
    Closed,
    /// A thread panicked inside the library and left the host unusable.
    Broken,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the server is closed; bind a new one to receive again"),
            Self::Broken => f.write_str(BROKEN),
        }
    }
}

impl core::error::Error for RecvError {}

/// Why a socket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Another socket has the port.
    AddressInUse(SocketAddr),
    /// No interface of this machine has the address.
    AddressNotAvailable(SocketAddr),
    /// The system does not let this process use the port.
    PermissionDenied(SocketAddr),
    /// This machine has no IPv4, or no IPv6.
    FamilyNotSupported(SocketAddr),
    /// Raw IP takes the capability CAP_NET_RAW.
    NeedsNetRaw(SocketAddr),
    /// A kernel module of this machine has IP protocol 146.
    KernelModule(SocketAddr),
    /// The Homa port is taken on this machine.
    HomaPortInUse(SocketAddr),
    /// Another process of this machine is the end of the UDP tunnel, or a socket of this one with
    /// another address that overlaps.
    TunnelInUse(SocketAddr),
    /// Another socket of this process has the Homa port in the tunnel.
    TunnelPortInUse(SocketAddr),
    /// Any port would do, and all that there are for clients are taken.
    NoFreePort(SocketAddr),
    /// The name leads to no address.
    Resolve(ResolveError),
    /// The configuration is out of range.
    Config(ConfigError),
    /// The host has as many sockets as its engine takes.
    TooManySockets,
    /// An async client or server was made outside of a tokio runtime, or in one without I/O or
    /// time.
    NoRuntime,
    /// The system refused something else.
    System {
        /// What was being done.
        step: &'static str,
        /// What kind of error it was.
        kind: io::ErrorKind,
        /// What the system said.
        message: Box<str>,
    },
    /// A thread panicked inside the library and left the host unusable.
    Broken,
}

impl BindError {
    pub(crate) fn system(step: &'static str, error: &io::Error) -> Self {
        Self::System {
            step,
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(addr) => write!(
                f,
                "{addr} is in use; choose another port, or stop the program that has it (`ss -ulpn \
                 'sport = :{}'` names it)",
                addr.port()
            ),
            Self::AddressNotAvailable(addr) => write!(
                f,
                "this machine has no address {}; `ip address` lists those it has",
                addr.ip()
            ),
            Self::PermissionDenied(addr) => write!(
                f,
                "this user may not use port {}; choose one above 1023",
                addr.port()
            ),
            Self::FamilyNotSupported(addr) => {
                let (family, other) = if addr.is_ipv4() {
                    ("IPv4", "IPv6")
                } else {
                    ("IPv6", "IPv4")
                };
                write!(f, "this machine has no {family}; use an {other} address")
            }
            Self::NeedsNetRaw(_) => f.write_str(
                "IP protocol 146 takes CAP_NET_RAW; run as root, or `sudo setcap cap_net_raw+ep \
                 PROGRAM`, or go over UDP (link udp), which takes no right",
            ),
            Self::KernelModule(_) => f.write_str(
                "a kernel module of this machine has IP protocol 146; unload it, or go over UDP \
                 (link udp)",
            ),
            Self::HomaPortInUse(addr) => write!(
                f,
                "Homa port {} is taken on this machine; choose another, or stop the program that \
                 has it (`ss -xlp | grep homa.ip146` names it)",
                addr.port()
            ),
            Self::TunnelInUse(addr) => write!(
                f,
                "{} has an end of the tunnel already; stop the program that has it (`ss -ulpn \
                 'sport = :54321'` names it), give all sockets of this one the same address, or go \
                 over UDP (link udp)",
                addr.ip()
            ),
            Self::TunnelPortInUse(addr) => write!(
                f,
                "another socket of this program has Homa port {} in the tunnel; choose another",
                addr.port()
            ),
            Self::NoFreePort(addr) => write!(
                f,
                "all ports at {} are taken; close sockets that nobody needs: one client calls any \
                 number of servers",
                addr.ip()
            ),
            Self::Resolve(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::TooManySockets => {
                f.write_str("the host has too many sockets; close some, or make another host")
            }
            Self::NoRuntime => f.write_str(
                "no tokio runtime with I/O and time enabled runs here; make one, or use \
                 homa::blocking",
            ),
            Self::System { step, message, .. } => write!(f, "cannot {step}: {message}"),
            Self::Broken => f.write_str(BROKEN),
        }
    }
}

impl core::error::Error for BindError {}

impl From<ConfigError> for BindError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<homa_net::udp::BindError> for BindError {
    fn from(error: homa_net::udp::BindError) -> Self {
        use homa_net::udp::BindError as Net;
        match error {
            Net::AddressInUse(addr) => Self::AddressInUse(addr),
            Net::AddressNotAvailable(addr) => Self::AddressNotAvailable(addr),
            Net::PermissionDenied(addr) => Self::PermissionDenied(addr),
            Net::FamilyNotSupported(addr) => Self::FamilyNotSupported(addr),
            Net::NeedsNetRaw(addr) => Self::NeedsNetRaw(addr),
            Net::KernelModule(addr) => Self::KernelModule(addr),
            Net::HomaPortInUse(addr) => Self::HomaPortInUse(addr),
            Net::TunnelInUse(addr) => Self::TunnelInUse(addr),
            Net::TunnelPortInUse(addr) => Self::TunnelPortInUse(addr),
            Net::NoFreePort(addr) => Self::NoFreePort(addr),
            Net::Failed { step, source, .. } => Self::system(step, &source),
        }
    }
}

/// A name that leads to no address, and what the resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    message: Box<str>,
}

impl ResolveError {
    pub(crate) fn new(message: &str) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl From<io::Error> for ResolveError {
    fn from(error: io::Error) -> Self {
        Self::new(&error.to_string())
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no usable address: {}; write HOST:PORT, such as server.example:4000 or [::1]:4000",
            self.message
        )
    }
}

impl core::error::Error for ResolveError {}

const BROKEN: &str =
    "the library panicked earlier and this host is unusable; please report it, and make a new host";

fn too_long(f: &mut fmt::Formatter<'_>, what: &str, length: usize, limit: u32) -> fmt::Result {
    write!(
        f,
        "the {what} has {length} bytes and may have {limit}; split it, or raise the limit \
         at both ends"
    )
}
