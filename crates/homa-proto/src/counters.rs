//! What an engine counted since its start. Every drop, resend, grant, stall and timeout has a
//! counter of its own; it decides nothing.

use crate::wire::{Body, Malformed};

macro_rules! counters {
    ($($(#[doc = $text:literal])+ $name:ident,)*) => {
        /// Events since the engine's start, each counted once.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $text])+ pub $name: u64,)*
            /// Packets refused by the codec, by [`Malformed::index`].
            pub malformed: [u64; Malformed::COUNT],
        }

        impl Counters {
            /// What the counter of that name counts.
            pub fn help(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($text),+)),)*
                    _ => None,
                }
            }

            /// All counters with their names, those of `malformed` left out.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets handed to `handle_packet`.
    packets_received,
    /// Packets given out by `poll_transmit`.
    packets_sent,
    /// DATA packets whose payload was placed.
    data_received,
    /// DATA packets sent for the first time.
    data_sent,
    /// DATA packets sent again.
    data_resent,
    /// Bursts of DATA given out.
    data_bursts,
    /// First segments sent ahead of the SRPT order to announce a long message.
    announcements_sent,
    /// Requests marked because many RPCs were under way.
    requests_marked,
    /// Responses to marked requests that were longer than what such may send unasked.
    responses_held_back,
    /// GRANTs sent, FIFO grants included.
    grants_sent,
    /// FIFO grants sent.
    fifo_grants_sent,
    /// GRANTs that raised a message's limit.
    grants_received,
    /// GRANTs that arrived late or were repeated; their priority was adopted.
    grants_stale,
    /// RESENDs sent: asked for missing bytes, or after a silent peer.
    resends_sent,
    /// RESENDs received that named a live RPC.
    resends_received,
    /// Requests that waited because enough were on their way to their server.
    requests_waited,
    /// Questions put off because the peer was asked enough about other RPCs, or because what was
    /// granted may be late.
    asks_put_off,
    /// BUSYs sent.
    busy_sent,
    /// BUSYs received for a live RPC.
    busy_received,
    /// RPC_UNKNOWNs sent.
    unknown_sent,
    /// RPC_UNKNOWNs received for a live RPC.
    unknown_received,
    /// CUTOFFS sent.
    cutoffs_sent,
    /// CUTOFFS accepted.
    cutoffs_received,
    /// CUTOFFS ignored: they name no live RPC, or come late from an earlier life of the peer.
    cutoffs_ignored,
    /// Times that cutoffs were learned which differ so much that peers are told.
    cutoffs_learned,
    /// NEED_ACKs sent.
    need_acks_sent,
    /// NEED_ACKs received.
    need_acks_received,
    /// ACK packets sent.
    acks_sent,
    /// RPCs ended by an ack, in an ACK packet or in DATA.
    acks_received,
    /// Acks that named no RPC waiting for one.
    acks_unmatched,
    /// RPCs ended by an ack that came to another engine of the host.
    foreign_acks_received,
    /// FREEZE packets: counted, never obeyed.
    freezes_received,
    /// Packets for a socket that does not exist.
    dropped_no_socket,
    /// Requests to a socket that accepts none.
    dropped_not_server,
    /// Packets that name an RPC of ours but come from another peer or ports.
    dropped_wrong_peer,
    /// DATA for a client RPC that is over or never was.
    dropped_no_rpc,
    /// GRANT, BUSY, RPC_UNKNOWN or NEED_ACK that names no RPC for which it means something, or
    /// RESEND for bytes behind the end of a message.
    dropped_out_of_place,
    /// DATA whose bytes were all there.
    dropped_duplicate,
    /// DATA of which a part was there: only the first bytes that were missing were placed.
    data_trimmed,
    /// DATA whose message length contradicts the message's first packet.
    dropped_contradiction,
    /// DATA that would have opened a gap more than the limits allow.
    dropped_gap_limit,
    /// Requests longer than our limit.
    dropped_too_long,
    /// Late copies of requests that were accepted before, and RESENDs for them.
    dropped_tombstone,
    /// Requests of a life before our restart, by their cutoff version.
    dropped_earlier_life,
    /// Requests during the quiet start.
    dropped_quiet_start,
    /// Requests refused because a table was full or memory was out.
    requests_refused,
    /// Packets not sent because a peer that did not prove its address has no credit left.
    held_back_unproven,
    /// Answers to unknown RPCs left out because too many waited.
    answers_dropped,
    /// DATA dropped because its message waits for receive budget.
    dropped_stalled,
    /// Messages that had to wait for receive budget, or that the host could not store.
    stalls,
    /// Stalled messages that got their budget.
    stalls_ended,
    /// Placements that the host refused.
    placements_refused,
    /// Ranges to send again that found no room; the peer asks again.
    resend_ranges_dropped,
    /// Client RPCs ended because the server fell silent, or took no copy of the request.
    client_timeouts,
    /// Server RPCs ended because the client fell silent.
    server_timeouts,
    /// Requests dropped because the application did not answer by the service deadline.
    requests_overdue,
    /// Server RPCs whose client never acknowledged the response.
    acks_given_up,
    /// Requests sent again from the start after RPC_UNKNOWN.
    restarts,
    /// Client RPCs ended with `OutcomeUnknown`.
    outcomes_unknown,
    /// Peers that restarted, seen by their cutoff version.
    peer_restarts,
    /// Messages whose grant slot was taken back because they fell silent.
    grants_parked,
    /// Messages whose segments were shrunk because large packets seem not to arrive.
    segments_shrunk,
    /// Idle peers forgotten.
    peers_forgotten,
    /// Times a peer's share was halved because of loss.
    shares_halved,
    /// Client RPCs that ended with a response.
    rpcs_completed,
    /// Requests handed to the application.
    requests_delivered,
}

impl Counters {
    /// Counts a control packet that is sent. DATA is counted by what it carries.
    pub(crate) fn count_control(&mut self, body: &Body) {
        let counter = match body {
            Body::Grant(_) => &mut self.grants_sent,
            Body::Resend(_) => &mut self.resends_sent,
            Body::RpcUnknown(_) => &mut self.unknown_sent,
            Body::Busy => &mut self.busy_sent,
            Body::Cutoffs(_) => &mut self.cutoffs_sent,
            Body::NeedAck => &mut self.need_acks_sent,
            Body::Ack(_) => &mut self.acks_sent,
            Body::Data(_) | Body::Freeze => return,
        };
        *counter += 1;
    }
}
