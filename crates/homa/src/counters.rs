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
    /// Bytes of long messages, with their headers, that were received straight into where they belong.
    pub bytes_in_place: u64,
    /// Bytes that were expected to be of another message than they were, and copied once more for that.
    pub bytes_out_of_place: u64,
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
    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self {
            bursts_sent,
            bursts_stale,
            refused_unreachable,
            refused_too_big,
            refused_dropped,
            refused_other,
            receive_errors,
            reports_ignored,
            bytes_in_place,
            bytes_out_of_place,
            handed_over,
            hand_over_full,
            background_failures,
            capture_lost,
        } = *self;
        [
            ("host_bursts_sent", bursts_sent),
            ("host_bursts_stale", bursts_stale),
            ("host_refused_unreachable", refused_unreachable),
            ("host_refused_too_big", refused_too_big),
            ("host_refused_dropped", refused_dropped),
            ("host_refused_other", refused_other),
            ("host_receive_errors", receive_errors),
            ("host_reports_ignored", reports_ignored),
            ("host_bytes_in_place", bytes_in_place),
            ("host_bytes_out_of_place", bytes_out_of_place),
            ("host_handed_over", handed_over),
            ("host_hand_over_full", hand_over_full),
            ("host_background_failures", background_failures),
            ("host_capture_lost", capture_lost),
        ]
        .into_iter()
    }

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

impl Counters {
    /// All counters with their names, those of malformed packets as one.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let malformed: u64 = self.engine.malformed.iter().sum();
        let engine = self.engine.iter().chain([("packets_malformed", malformed)]);
        let links = link_counters(&self.links).into_iter();
        engine.chain(links).chain(self.host.iter())
    }

    /// What a counter counts, where a sentence says it.
    #[cfg(feature = "metrics")]
    pub(crate) fn help(name: &str) -> Option<&'static str> {
        homa_proto::Counters::help(name)
    }
}

/// Adds what one link counted to `sum`.
pub(crate) fn add(sum: &mut homa_net::Counters, link: &homa_net::Counters) {
    for ((_, sum), (_, more)) in named(sum).into_iter().zip(named(&mut { *link })) {
        *sum += *more;
    }
}

/// What links counted, with the names of the counters.
fn link_counters(link: &homa_net::Counters) -> [(&'static str, u64); 12] {
    named(&mut { *link }).map(|(name, counted)| (name, *counted))
}

/// Every counter of a link by its name.
fn named(link: &mut homa_net::Counters) -> [(&'static str, &mut u64); 12] {
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
    [
        ("link_datagrams_sent", datagrams_sent),
        ("link_datagrams_received", datagrams_received),
        ("link_transmits_refused", transmits_refused),
        ("link_send_full", send_full),
        ("link_segmentation_refused", segmentation_refused),
        ("link_pending_errors", pending_errors),
        ("link_undeliverable", undeliverable),
        ("link_receive_overflows", receive_overflows),
        ("link_malformed", malformed),
        ("link_faults_dropped", faults_dropped),
        ("link_faults_reordered", faults_reordered),
        ("link_faults_duplicated", faults_duplicated),
    ]
}
