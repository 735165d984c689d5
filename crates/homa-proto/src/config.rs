//! Every number an operator or a test may choose, with what breaks when it is too low or too
//! high. Numbers that follow from these live where they are used.

use core::time::Duration;

use crate::rpc::RPCS_MAX;

/// The reference's cutoffs, see [`Config::cutoffs`].
pub const REFERENCE_CUTOFFS: [u32; 8] = [0, 0, 0, 0, 1_000_000, 15_000, 2_800, 200];

/// What an engine is told at its start. `Config::default()` is the reference's numbers at an unknown
/// link speed; [`Config::user_space`] is what we run between processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of this engine among the host's engines, the top 8 bits of every RPC id it makes.
    pub engine: u8,

    /// Whether peers may be stripped builds of the kernel module, which know neither grants nor
    /// cutoffs and so cannot prove that they are where they say. No address then needs a proof: who
    /// forges one has its owner sent responses of any length. Only for networks that drop packets with
    /// forged addresses. Default false.
    pub stripped_peers: bool,

    /// Leading bytes of a message that are sent unasked. Too low: a round trip more for messages
    /// above it; too high: many senders overflow one receiver. Reference: 40,000.
    pub unscheduled_bytes: u32,
    /// Most leading bytes that are sent unasked to a peer whose distance was measured: to such a one go
    /// as many as the link carries in the time from a message's first packet to its first grant, be
    /// that less or more than `unscheduled_bytes`. It takes a known `link_bits_per_second`. Too low:
    /// far peers cost a round trip more; too high: as with `unscheduled_bytes`. `None`: always
    /// `unscheduled_bytes`.
    pub unscheduled_max_bytes: Option<u32>,
    /// RPCs that this host has under way as client, over all its engines, from which on it marks its
    /// requests: their responses come with `incast_unscheduled_bytes` only, the rest under grants. A
    /// server of ours heeds the mark, the reference's ignores it. Too low: responses between the two
    /// limits wait a round trip although there is room; too high: so many responses of
    /// `unscheduled_bytes` at once overflow the buffer in front of this host. 64 of 40,000 bytes are
    /// 2.5 MB, what one port of a switch with a shared buffer of 10 to 16 MB may hold.
    pub incast_rpcs: u32,
    /// Leading bytes of a response to a marked request that are sent unasked, at least 64; a shorter
    /// one goes whole. Too low: short responses wait for grants; too high: a thousand responses
    /// overflow the buffer that the mark is to protect. With 512 they are 0.6 MB on the wire, and
    /// most responses of RPCs that come by the thousand are no longer.
    pub incast_unscheduled_bytes: u32,
    /// Bytes granted and not yet received, over all messages. Too low: the link idles while
    /// grants travel; too high: queues in the network. With one level of priority it falls in the ratio
    /// of what is granted to what comes unasked, where that was learned and is below 1. Reference: 400,000.
    pub max_incoming_bytes: u32,
    /// The part of `max_incoming_bytes` that is granted only ahead of what holds the rest: a message
    /// takes of it what fewer bytes than `max_incoming_bytes` without it are outstanding of messages
    /// about as close to their end or closer. For networks with several levels for what is granted,
    /// where that of others does not stand in its way. Too low: short messages wait for long ones
    /// whose senders are busy with others; too high: more buffering on low levels. Where a host has
    /// several engines, what the others have outstanding counts as ahead, so that there the order of
    /// grants between engines is not exact. Default 0.
    pub spare_incoming_bytes: u32,
    /// Silence after which what a message has outstanding counts no more against
    /// `max_incoming_bytes`: its sender is busy with others, and its bytes are not on their way.
    /// Only where so much is outstanding that others wait. Too low: too much is granted and stands
    /// in queues; too high: the link idles while senders are busy elsewhere. Three round trips where
    /// `max_incoming_bytes` is hardly more than one; with a limit that is not felt, `None`: never.
    pub grant_patience: Option<Duration>,
    /// Bytes that one message may have outstanding; `None` divides `max_incoming_bytes` by the
    /// number of active messages plus one. Reference: dynamic.
    pub window_bytes: Option<u32>,
    /// Messages that hold grants at the same time, 1 to 8. Too low: the link idles when a granted
    /// sender is busy elsewhere; too high: more buffering. Reference: 8; the paper: 8.
    pub overcommitment: u8,
    /// Bytes of one FIFO grant to the oldest message. Reference: 50,000.
    pub fifo_grant_bytes: u32,
    /// Share of the link, in thousandths, granted to the oldest message so that none starves;
    /// 0 to 500. Reference: 50.
    pub fifo_grant_permille: u16,

    /// Levels of priority the network has, 1 to 8.
    pub priorities: u8,
    /// Largest message length that may use each level for its unscheduled bytes, lowest level
    /// first; entry 0 counts as unlimited, those of levels that do not exist as 0. Peers are told.
    /// `None`: learned from what arrives, see [`Engine::cutoffs`](crate::Engine::cutoffs). Fixed
    /// ones that do not fit the traffic put short messages behind long ones. Reference:
    /// [`REFERENCE_CUTOFFS`].
    pub cutoffs: Option<[u32; 8]>,

    /// Bits per second of the bottleneck link of this host; `None`: unknown, and then nothing is
    /// paced, since a wrong guess costs more than a queue.
    pub link_bits_per_second: Option<u64>,
    /// How far ahead of the link's estimated idle moment the pacer fills its queue. Reference: 5 µs.
    pub pacer_backlog: Duration,
    /// Share of the link, in thousandths, sent from the oldest message; 0 to 500. Reference: 50.
    pub pacer_fifo_permille: u16,
    /// Messages shorter than this many bytes are not held back by the pacer and go first come,
    /// first served before all others. Reference: 1,000.
    pub short_message_bytes: u32,
    /// Most bytes of one burst, headers included, where the link is not known to be the
    /// bottleneck; at most 65,507 (one UDP send).
    pub burst_bytes: u32,
    /// Most packets of one burst, 1 to 64.
    pub burst_packets: u8,
    /// Segments of a long message that leave together are one packet of the burst, which the host
    /// cuts ([`Burst::segments`](crate::Burst::segments)): for hosts whose system can, and hands
    /// such packets on whole where nothing asks for less. Else each has its header.
    pub joins_segments: bool,
    /// Bytes that each packet costs on the link besides Homa header and payload: UDP, IP and
    /// Ethernet with its gap.
    pub packet_overhead_bytes: u32,

    /// Silence after which a receiver asks again, and the interval of asking. Too low: spurious
    /// retransmissions whenever a host stalls for a moment (the reference tried and went back to
    /// 5 ms); too high: a lost packet costs that long.
    pub resend_interval: Duration,
    /// Silence after which a peer is given up. Reference: 100 ms.
    pub timeout: Duration,
    /// How long a server waits for the ack of a response before it asks. Reference: 2 ms.
    pub ack_interval: Duration,
    /// Longest interval of asking a peer that is alive but slow: pings double from
    /// `resend_interval` to this.
    pub ping_interval_max: Duration,
    /// How long a client may stay silent while the application works on its request. Past it the
    /// client is taken for gone. At least 4 × `ping_interval_max`.
    pub service_silence: Duration,
    /// How long the application may work on a request; past it the request is dropped and its client
    /// told, as if the application had dropped it. Too low: work that is nearly done is lost; too
    /// high: an application that forgets requests keeps their places until their clients go.
    /// `None`: for as long as the client waits.
    pub service_deadline: Option<Duration>,
    /// A packet's maximum lifetime: how long the ids of finished RPCs are remembered so that a
    /// late duplicate never runs again.
    pub packet_lifetime: Duration,

    /// How long after its first packet the engine accepts no request, so that requests of clients
    /// that cannot tell a restart (the reference's) do not run again. Zero: not at all; 200 ms is
    /// enough where no client waits longer.
    pub quiet_start: Duration,

    /// Longest message sent or accepted, 1 to 2³⁰. Towards the reference: 1,000,000.
    pub max_message_bytes: u32,
    /// Bytes of messages being received or held by the application. Past it new messages stall,
    /// shortest first, until [`give_back`](crate::Engine::give_back).
    pub receive_budget_bytes: u64,
    /// RPCs this host has under way as client. At the limit `call` fails. With `max_server_rpcs` at
    /// most 2²⁴.
    pub max_client_rpcs: u32,
    /// RPCs this host has under way as server. At the limit new requests are refused, counted.
    pub max_server_rpcs: u32,
    /// RPCs under way as server for one peer.
    pub max_server_rpcs_per_peer: u32,
    /// Peers remembered. At the limit the one idle for longest goes; with none idle, new ones are
    /// refused, counted.
    pub max_peers: u32,
    /// How long an idle peer is remembered.
    pub peer_idle: Duration,
    /// Gaps in messages being received and parts of messages to be sent again, over all of them and
    /// in one of them. At the limit a packet that would open another gap is dropped, counted, and
    /// comes again; a part that finds no room is asked for again.
    pub max_gaps: u32,
    /// See `max_gaps`. Each packet of the message looks at every gap, 13 ns each: too high, and a
    /// hostile sender makes its packets cost a hundred times what others do; too low, and packets
    /// of a lossy path are sent twice. Bytes that may be outstanding have room for some 140.
    pub max_gaps_per_message: u16,
    /// Blocks of 32 RPC ids of which the server remembers which were accepted; those of which all are
    /// over take one entry for 64 of them. Full: new requests that need a block are refused, counted;
    /// never is one forgotten early.
    pub max_tombstone_blocks: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: 0,
            stripped_peers: false,
            unscheduled_bytes: 40_000,
            unscheduled_max_bytes: None,
            incast_rpcs: 64,
            incast_unscheduled_bytes: 512,
            max_incoming_bytes: 400_000,
            spare_incoming_bytes: 0,
            grant_patience: None,
            window_bytes: None,
            overcommitment: 8,
            fifo_grant_bytes: 50_000,
            fifo_grant_permille: 50,
            priorities: 8,
            cutoffs: None,
            link_bits_per_second: None,
            pacer_backlog: Duration::from_micros(5),
            pacer_fifo_permille: 50,
            short_message_bytes: 1_000,
            burst_bytes: 65_507,
            burst_packets: 64,
            joins_segments: false,
            packet_overhead_bytes: 28 + 38,
            resend_interval: Duration::from_millis(5),
            timeout: Duration::from_millis(100),
            ack_interval: Duration::from_millis(2),
            ping_interval_max: Duration::from_secs(1),
            service_silence: Duration::from_secs(5),
            service_deadline: None,
            packet_lifetime: Duration::from_secs(1),
            quiet_start: Duration::ZERO,
            max_message_bytes: 1_000_000,
            receive_budget_bytes: 64 << 20,
            max_client_rpcs: 1 << 17,
            max_server_rpcs: 1 << 17,
            max_server_rpcs_per_peer: 1 << 16,
            max_peers: 1 << 14,
            peer_idle: Duration::from_secs(120),
            max_gaps: 1 << 16,
            max_gaps_per_message: 256,
            max_tombstone_blocks: 1 << 17,
        }
    }
}

/// Why an engine cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A field lies outside its range, or two fields contradict each other. The text names them.
    Invalid(&'static str),
    /// Not enough memory for the smallest tables.
    OutOfMemory,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Invalid(what) => write!(f, "configuration refused: {what}"),
            Self::OutOfMemory => f.write_str("no memory for the engine's tables"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// The default for engines in processes over UDP. It gives a silent peer a second instead of a
    /// tenth: a kernel answers from its interrupts, but a process that is not scheduled for a while
    /// says nothing and is not gone; on a busy machine that happens for more than 100 ms. Once told
    /// the link's rate, it follows the distance of each peer, up to what 25 Gbit/s carry in 50 µs.
    pub fn user_space() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            unscheduled_max_bytes: Some(160_000),
            ..Self::default()
        }
    }

    /// The default for a network of which the hosts' links and the round trip are known:
    /// `round_trip_bytes` is what a link of `link_bits_per_second` carries while a full packet and
    /// the grant for it travel. So much of a message goes unasked, and so much of one may be
    /// outstanding; more would only wait in front of the receiver's link, ahead of shorter messages.
    /// Nothing waits in front of our own link but the packet that leaves.
    ///
    /// Short messages wait for each other there, too: those that take a third of a full packet's time
    /// or more stand behind those that do not. (In W1 at 80 % load the p99 of the shorter half is 2.1
    /// times the best with this, and 2.3 with 1,000.)
    ///
    /// For a network with eight levels of priority; [`with_levels`](Self::with_levels) has the others.
    pub fn data_center(link_bits_per_second: u64, round_trip_bytes: u32) -> Self {
        let shipped = Self::default();
        let slots = u32::from(shipped.overcommitment);
        let active = round_trip_bytes.saturating_mul(slots);
        Self {
            unscheduled_bytes: round_trip_bytes,
            window_bytes: Some(round_trip_bytes),
            max_incoming_bytes: active.saturating_mul(2),
            spare_incoming_bytes: active,
            fifo_grant_bytes: round_trip_bytes,
            link_bits_per_second: Some(link_bits_per_second),
            pacer_backlog: Duration::ZERO,
            short_message_bytes: 400,
            ..shipped
        }
    }

    /// The same for a network with `levels` levels of priority, 1 to 8.
    ///
    /// The fewer levels, the more of what is granted stands in the same queues as short messages.
    /// So with each level less a round trip less may be outstanding; with one it is a quarter more
    /// than a round trip, which keeps the link busy while one sender takes turns with another. What
    /// a message has outstanding does not count when nothing came for three round trips: its sender
    /// is busy elsewhere, and others keep the link from idling. What goes unasked of long messages
    /// stands in those queues, too, and no receiver holds it back: with each level less it is an
    /// eighth of a round trip less, but never less than a segment. Made for configurations like
    /// [`data_center`](Self::data_center), where `unscheduled_bytes` is a round trip and the link's
    /// rate is known.
    ///
    /// (With one level W3 at 80 % load has a p99 of the shorter half of 5.0 times the best; with a
    /// whole round trip unasked it is 10, with a patience of two round trips 5.7. Longer patience,
    /// or less outstanding, is paid for with the load that is sustained.)
    #[must_use]
    pub fn with_levels(self, levels: u8) -> Self {
        if levels >= 8 {
            return self;
        }
        let round_trip = self.unscheduled_bytes;
        let bytes = round_trip.saturating_mul(levels.into());
        let bits = 3 * 8 * u64::from(round_trip);
        let patience = self
            .link_bits_per_second
            .map(|rate| Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate.max(1)));
        Self {
            priorities: levels,
            unscheduled_bytes: (bytes / 8).max(1),
            max_incoming_bytes: bytes.saturating_add(round_trip / 4),
            spare_incoming_bytes: 0,
            grant_patience: patience,
            ..self
        }
    }

    /// Checks ranges and how fields relate.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the first rule that does not hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        // First, so that sums and products of times are small.
        demand(&[self.rule_of_longest_times()])?;
        demand(&self.rules_of_times())?;
        demand(&self.rules_of_sending())?;
        demand(&self.rules_of_tables())
    }

    fn rule_of_longest_times(&self) -> Rule {
        let times = [
            self.pacer_backlog,
            self.resend_interval,
            self.timeout,
            self.ack_interval,
            self.ping_interval_max,
            self.service_silence,
            self.service_deadline.unwrap_or(Duration::ZERO),
            self.packet_lifetime,
            self.quiet_start,
            self.peer_idle,
            self.grant_patience.unwrap_or(Duration::ZERO),
        ];
        let day = Duration::from_secs(24 * 3_600);
        (
            times.iter().all(|&time| time <= day),
            "no time may be longer than a day",
        )
    }

    fn rules_of_times(&self) -> [Rule; 4] {
        [
            (
                self.resend_interval >= Duration::from_millis(1)
                    && self.ack_interval >= Duration::from_millis(1),
                "resend_interval and ack_interval must be at least 1 ms",
            ),
            (
                self.timeout >= 2 * self.resend_interval
                    && self.ping_interval_max >= self.resend_interval,
                "timeout must be two resend intervals, ping_interval_max one",
            ),
            (
                self.service_silence >= 4 * self.ping_interval_max,
                "service_silence must be four ping_interval_max",
            ),
            (
                self.service_deadline.is_none_or(|time| !time.is_zero()),
                "service_deadline must be above 0, or None",
            ),
        ]
    }

    fn rules_of_sending(&self) -> [Rule; 10] {
        [
            (
                (1..=8).contains(&self.overcommitment),
                "overcommitment must be 1 to 8",
            ),
            (
                (1..=8).contains(&self.priorities),
                "priorities must be 1 to 8",
            ),
            (
                self.fifo_grant_permille <= 500 && self.pacer_fifo_permille <= 500,
                "a FIFO share must be at most 500 thousandths",
            ),
            (
                self.fifo_grant_bytes >= LEAST_GRANT_BYTES || self.fifo_grant_permille == 0,
                "fifo_grant_bytes must be at least 1,500",
            ),
            (
                self.max_incoming_bytes >= LEAST_GRANT_BYTES
                    && self
                        .window_bytes
                        .is_none_or(|window| window >= LEAST_GRANT_BYTES),
                "max_incoming_bytes and window_bytes must be at least 1,500",
            ),
            (
                self.spare_incoming_bytes < self.max_incoming_bytes,
                "spare_incoming_bytes must be less than max_incoming_bytes",
            ),
            (
                self.unscheduled_bytes >= 1 && self.unscheduled_max_bytes != Some(0),
                "unscheduled_bytes and unscheduled_max_bytes must be at least 1",
            ),
            (
                self.incast_unscheduled_bytes >= 64,
                "incast_unscheduled_bytes must be at least 64",
            ),
            (
                (1..=64).contains(&self.burst_packets)
                    && (1_500..=65_507).contains(&self.burst_bytes),
                "a burst is 1 to 64 packets and 1,500 to 65,507 bytes",
            ),
            (
                self.link_bits_per_second
                    .is_none_or(|rate| rate >= 1_000_000),
                "link_bits_per_second must be at least 1,000,000",
            ),
        ]
    }

    fn rules_of_tables(&self) -> [Rule; 4] {
        let entries = 1..1 << 30;
        [
            (
                (1..=1 << 30).contains(&self.max_message_bytes),
                "max_message_bytes must be 1 to 2^30",
            ),
            (
                self.receive_budget_bytes >= u64::from(self.max_message_bytes),
                "receive_budget_bytes must hold one message of max_message_bytes",
            ),
            (
                entries.contains(&self.max_client_rpcs)
                    && entries.contains(&self.max_server_rpcs)
                    && self.max_client_rpcs + self.max_server_rpcs <= RPCS_MAX
                    && entries.contains(&self.max_peers)
                    && entries.contains(&self.max_gaps)
                    && entries.contains(&self.max_tombstone_blocks),
                "tables hold at least 1 entry and fewer than 2^30, those of RPCs together 2^24",
            ),
            (
                self.max_gaps_per_message >= 1,
                "max_gaps_per_message must be at least 1",
            ),
        ]
    }
}

/// Whether a rule holds, and what it says.
type Rule = (bool, &'static str);

/// Less than a packet is not worth a grant, and nothing at all would never end.
pub(crate) const LEAST_GRANT_BYTES: u32 = 1_500;

fn demand(rules: &[Rule]) -> Result<(), ConfigError> {
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(ConfigError::Invalid(rule)),
        None => Ok(()),
    }
}
