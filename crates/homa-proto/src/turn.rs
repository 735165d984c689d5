//! Whose turn it is in an RPC, and how long silence is no reason to do anything.

use crate::config::Config;
use crate::inbound::Storage;
use crate::peer::Peer;
use crate::progress::Progress;
use crate::rpc::{Details, Pending, Rpc, ServerRpc, State};
use crate::time::{Instant, nanos};

/// Who has to do something for an RPC to go on.
pub(crate) enum Turn {
    /// We have: there is nothing to ask for, and whoever does it looks again.
    Ours,
    /// We have, once there is room for a message: nobody tells when a host that refused to store
    /// it would not refuse again.
    Room,
    /// The peer has; this is how it is asked.
    Theirs(Pending),
    /// Our application has; the client is to show that it still waits.
    Application,
}

/// What is left of a message when bytes of it were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: all of it was sent.
    Nothing,
    /// What may be sent.
    Sendable,
    /// What is not granted yet.
    Ungranted,
}

/// The least silences, in nanoseconds, for which an RPC is looked at, whoever its peer is.
pub(crate) struct LeastSilence {
    /// Of one of which bytes are expected.
    pub(crate) of_bytes: u64,
    /// Of one whose ack is.
    pub(crate) of_ack: u64,
}

impl LeastSilence {
    pub(crate) fn new(config: &Config) -> Self {
        // All others are longer, by the rules of the configuration.
        Self {
            of_bytes: nanos(config.resend_interval),
            of_ack: nanos(config.ack_interval.min(config.resend_interval)),
        }
    }
}

impl Rpc {
    /// Silence after which it is first asked about, without back-off.
    #[inline]
    pub(crate) fn base(
        &self,
        details: &Details,
        peer: &Peer,
        config: &Config,
        ask: Pending,
    ) -> u64 {
        let patience = &peer.patience;
        match (&self.state, ask) {
            (State::Server(_), Pending::NEED_ACK) if self.awaits_ack(details) => {
                patience.for_ack(config)
            }
            (State::Client(_), Pending::ASK) if !self.has_inbound => patience.for_response(config),
            _ => patience.for_bytes(config),
        }
    }

    /// Silence after which somebody has to look at it.
    #[inline]
    pub(crate) fn silence(&self, details: &Details, peer: &Peer, config: &Config) -> u64 {
        match self.turn(details, peer) {
            Turn::Application => nanos(config.service_silence),
            Turn::Theirs(ask) => self.base(details, peer, config, ask),
            Turn::Ours => nanos(config.ping_interval_max),
            Turn::Room => self.base(details, peer, config, Pending::ASK),
        }
    }

    /// Bytes of its message were sent for the first time, which leaves this. Returns whether somebody has
    /// to look at it sooner than its timer fires, perhaps: it is the peer's turn from now on, to
    /// acknowledge what is whole, else to grant more.
    #[inline(always)]
    pub(crate) fn sent(&mut self, now: Instant, left: Left, least: &LeastSilence) -> bool {
        match &mut self.state {
            State::Client(client) => {
                client.since = client.since.min(now);
                if left == Left::Sendable {
                    return false;
                }
                self.progress.wait_from(now);
                self.timer.is_beyond(now, least.of_bytes)
            }
            State::Server(ServerRpc::Sending) => {
                match left {
                    Left::Nothing => self.progress = Progress::new(now),
                    Left::Sendable => return false,
                    Left::Ungranted => self.progress.wait_from(now),
                }
                self.timer.is_beyond(now, least.of_ack)
            }
            State::Server(_) | State::Over(_) => false,
        }
    }

    #[inline]
    pub(crate) fn turn(&self, details: &Details, peer: &Peer) -> Turn {
        match self.state {
            State::Client(_) if self.has_inbound => {}
            State::Client(_) if self.is_sendable(details) => return Turn::Ours,
            State::Client(_) => return Turn::Theirs(Pending::ASK),
            State::Server(ServerRpc::Receiving) if self.has_inbound => {}
            State::Server(ServerRpc::Receiving) => return Turn::Theirs(Pending::ASK),
            State::Server(ServerRpc::InService(_)) => return Turn::Application,
            State::Server(ServerRpc::Sending) => {
                return match self.is_sendable(details) {
                    true if peer.is_proven() => Turn::Ours,
                    true => Turn::Theirs(Pending::PROVE),
                    false => Turn::Theirs(Pending::NEED_ACK),
                };
            }
            // A client that heard of the refusal answers with an ACK, one that did not with a
            // RESEND, which is refused again.
            State::Server(ServerRpc::Refused(_)) => return Turn::Theirs(Pending::NEED_ACK),
            State::Over(_) => return Turn::Ours,
        }
        let inbound = &details.inbound;
        match inbound.storage {
            Storage::Stalled if self.is_client() => Turn::Room,
            Storage::Stalled => Turn::Application,
            Storage::Parked => Turn::Theirs(Pending::PROVE),
            _ if inbound.is_owed() || inbound.received == 0 => Turn::Theirs(Pending::ASK),
            _ => Turn::Ours,
        }
    }
}
