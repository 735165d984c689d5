//! What a host counted: its engine, its links, and what lies between. It decides nothing.

use homa_net::Refusal;

/// Everything a host counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// By the protocol engine.
    pub engine: homa_proto::Counters,
    /// By the links, summed up; those closed are included.
    pub links: homa_net::Counters,
    /// Between the two.
    pub host: HostCounters,
}

/// What a host counted between its engine and its links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostCounters {
    /// Bursts of packets handed to links, refused ones included.
    pub bursts_sent: u64,
    /// Bursts thrown away because every RPC in them ended while a link was full.
    pub bursts_stale: u64,
    /// Bursts refused because no route leads to the peer, or a rule forbids it.
    pub refused_unreachable: u64,
    /// Bursts refused because a packet was larger than the device takes.
    pub refused_too_big: u64,
    /// Bursts lost in a full queue of this machine.
    pub refused_dropped: u64,
    /// Bursts refused for any other cause.
    pub refused_other: u64,
    /// Times that a link could not receive or report errors, for lack of memory.
    pub receive_errors: u64,
    /// Reports about undelivered packets of a kind that says nothing.
    pub reports_ignored: u64,
    /// Packets that arrived at another engine of this host than they belong to, and were handed
    /// over.
    pub handed_over: u64,
    /// Packets lost because too many waited for the engine that they were handed to.
    pub hand_over_full: u64,
    /// Times that the background thread could not be started; deadlines then pass unnoticed while
    /// nobody waits.
    pub background_failures: u64,
    /// Packets that a capture could not hold, since its file cannot be written any more.
    pub capture_lost: u64,
}

impl HostCounters {
    pub(crate) fn count_refusal(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Unreachable(_) | Refusal::Forbidden => &mut self.refused_unreachable,
            Refusal::TooBig => &mut self.refused_too_big,
            Refusal::Dropped => &mut self.refused_dropped,
            Refusal::SourceNotLocal | Refusal::WrongFamily | Refusal::Other(_) => {
                &mut self.refused_other
            }
        };
        *counter += 1;
    }
}

/// Adds what one link counted to `sum`.
pub(crate) fn add(sum: &mut homa_net::Counters, link: &homa_net::Counters) {
    let homa_net::Counters {
        datagrams_sent,
        datagrams_received,
        transmits_refused,
        send_full,
        segmentation_refused,
        pending_errors,
        undeliverable,
        receive_overflows,
        malformed,
        faults_dropped,
        faults_reordered,
        faults_duplicated,
    } = link;
    sum.datagrams_sent += datagrams_sent;
    sum.datagrams_received += datagrams_received;
    sum.transmits_refused += transmits_refused;
    sum.send_full += send_full;
    sum.segmentation_refused += segmentation_refused;
    sum.pending_errors += pending_errors;
    sum.undeliverable += undeliverable;
    sum.receive_overflows += receive_overflows;
    sum.malformed += malformed;
    sum.faults_dropped += faults_dropped;
    sum.faults_reordered += faults_reordered;
    sum.faults_duplicated += faults_duplicated;
}
