//! Planted bugs: defects in what surrounds the engine, each of which a law must catch. What they
//! imitate is in their descriptions; the shipped engine has none of them.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use homa_proto::Config;

/// One defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// See [`Plant::about`].
    ForgetsRequests,
    /// See [`Plant::about`].
    PacesNothing,
    /// See [`Plant::about`].
    GrantsWithoutLimit,
    /// See [`Plant::about`].
    SendsOldestFirst,
    /// See [`Plant::about`].
    TablesWithoutLimit,
    /// See [`Plant::about`].
    LevelBelowZero,
    /// See [`Plant::about`].
    NeverSendsAgain,
    /// See [`Plant::about`].
    ForgetsAcks,
    /// See [`Plant::about`].
    NeedAckForEver,
    /// See [`Plant::about`].
    ServesTheVanished,
    /// See [`Plant::about`].
    AsksWhileStalled,
    /// See [`Plant::about`].
    StaleSizes,
    /// See [`Plant::about`].
    OvershootsGrants,
    /// See [`Plant::about`].
    ResendsWrongBytes,
    /// See [`Plant::about`].
    MisplacesLateBytes,
    /// See [`Plant::about`].
    CommitsUnstored,
    /// See [`Plant::about`].
    TrustsAnySum,
    /// See [`Plant::about`].
    RepeatsRequests,
    /// See [`Plant::about`].
    LosesResponses,
    /// See [`Plant::about`].
    KeepsBuffers,
    /// See [`Plant::about`].
    Oversleeps,
    /// See [`Plant::about`].
    AnyoneMaySpeak,
    /// See [`Plant::about`].
    IcmpToEveryone,
    /// See [`Plant::about`].
    NoBuffersNoEnd,
    /// See [`Plant::about`].
    OneLevel,
    /// See [`Plant::about`].
    ShrinksNothing,
    /// See [`Plant::about`].
    AsksTheOutside,
    /// See [`Plant::about`].
    EnginesDoNotTalk,
    /// See [`Plant::about`].
    SteersAstray,
    /// See [`Plant::about`].
    StartsAlike,
    /// See [`Plant::about`].
    WaitsTooLong,
    /// See [`Plant::about`].
    SleepsOn,
    /// See [`Plant::about`].
    GivesUpEarly,
    /// See [`Plant::about`].
    DeniesHavingRun,
    /// See [`Plant::about`].
    Revives,
}

impl Plant {
    /// All of them, with the name by which each is asked for and what it does.
    pub const ALL: [(Self, &'static str, &'static str); 35] = [
        (
            Self::ForgetsRequests,
            "forgets-requests",
            "finished requests are forgotten at once, a late copy runs again (reference, 1.2)",
        ),
        (
            Self::PacesNothing,
            "paces-nothing",
            "the pacer does not know the link's rate and holds nothing back (reference, 7.2)",
        ),
        (
            Self::GrantsWithoutLimit,
            "grants-without-limit",
            "max_incoming is eight times what it should be",
        ),
        (
            Self::SendsOldestFirst,
            "sends-oldest-first",
            "half of all bytes are sent from the oldest message",
        ),
        (
            Self::TablesWithoutLimit,
            "tables-without-limit",
            "small tables are not kept small",
        ),
        (
            Self::LevelBelowZero,
            "level-below-zero",
            "with few levels the search before CUTOFFS ends at none (reference, 6.4)",
        ),
        (
            Self::NeverSendsAgain,
            "never-sends-again",
            "nothing that was lost is sent again",
        ),
        (
            Self::ForgetsAcks,
            "forgets-acks",
            "acks are not sent, neither in DATA nor alone",
        ),
        (
            Self::NeedAckForEver,
            "need-ack-for-ever",
            "a server never stops asking a client that is gone (reference, 1.3)",
        ),
        (
            Self::ServesTheVanished,
            "serves-the-vanished",
            "server RPCs of crashed clients stay for ever (reference, 4.1)",
        ),
        (
            Self::AsksWhileStalled,
            "asks-while-stalled",
            "a client without buffers answers NEED_ACK with RESEND (reference, 1.3)",
        ),
        (
            Self::StaleSizes,
            "stale-sizes",
            "grants follow the sizes that messages had at first (reference, 5)",
        ),
        (
            Self::OvershootsGrants,
            "overshoots-grants",
            "senders read more in a GRANT than it says",
        ),
        (
            Self::ResendsWrongBytes,
            "resends-wrong-bytes",
            "what is sent again are the bytes one further on",
        ),
        (
            Self::MisplacesLateBytes,
            "misplaces-late-bytes",
            "bytes that arrive out of order are stored behind those that are there",
        ),
        (
            Self::CommitsUnstored,
            "commits-unstored",
            "a host that could not store says that it did",
        ),
        (
            Self::TrustsAnySum,
            "trusts-any-sum",
            "damaged packets are not noticed",
        ),
        (
            Self::RepeatsRequests,
            "repeats-requests",
            "the application gets a request twice now and then",
        ),
        (
            Self::LosesResponses,
            "loses-responses",
            "the application never hears of a response now and then",
        ),
        (
            Self::KeepsBuffers,
            "keeps-buffers",
            "buffers of failed RPCs are not given back",
        ),
        (
            Self::Oversleeps,
            "oversleeps",
            "the host serves deadlines 30 ms late",
        ),
        (
            Self::AnyoneMaySpeak,
            "anyone-may-speak",
            "packets are accepted from any address (reference, weakness)",
        ),
        (
            Self::IcmpToEveryone,
            "icmp-to-everyone",
            "an ICMP error ends RPCs of other hosts (reference, 9)",
        ),
        (
            Self::NoBuffersNoEnd,
            "no-buffers-no-end",
            "a client without buffers waits for ever (reference, 8)",
        ),
        (
            Self::OneLevel,
            "one-level",
            "all packets go at the lowest level",
        ),
        (
            Self::ShrinksNothing,
            "shrinks-nothing",
            "segments stay long where long packets do not pass",
        ),
        (
            Self::AsksTheOutside,
            "asks-the-outside",
            "a host decides by something that is not part of the run",
        ),
        (
            Self::EnginesDoNotTalk,
            "engines-do-not-talk",
            "each engine grants and sends as if its host had no other",
        ),
        (
            Self::SteersAstray,
            "steers-astray",
            "some packets reach another engine of their host than the one that they belong to",
        ),
        (
            Self::StartsAlike,
            "starts-alike",
            "after a crash a host starts with the seed that it had before",
        ),
        (
            Self::WaitsTooLong,
            "waits-too-long",
            "a silent peer is waited for twenty times as long as stated",
        ),
        (
            Self::SleepsOn,
            "sleeps-on",
            "once it paused a host serves deadlines a second late",
        ),
        (
            Self::GivesUpEarly,
            "gives-up-early",
            "a silent peer is given up after a third of the stated time",
        ),
        (
            Self::DeniesHavingRun,
            "denies-having-run",
            "what may have run is said to be refused",
        ),
        (
            Self::Revives,
            "revives",
            "after a crash a host goes on with what it knew before, as out of a snapshot",
        ),
    ];

    /// The defect with this name.
    pub fn named(name: &str) -> Option<Self> {
        let entry = Self::ALL.iter().find(|(_, known, _)| *known == name);
        entry.map(|&(plant, ..)| plant)
    }

    fn entry(self) -> (&'static str, &'static str) {
        let entry = Self::ALL.iter().find(|(plant, ..)| *plant == self);
        entry.map_or(("", ""), |&(_, name, about)| (name, about))
    }

    /// How it is asked for.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// What it does, and what defect of the reference it imitates.
    pub fn about(self) -> &'static str {
        self.entry().1
    }

    /// The configuration that an engine really gets.
    pub(crate) fn spoil(self, config: &mut Config) {
        let defaults = Config::default();
        match self {
            Self::ForgetsRequests => config.packet_lifetime = Duration::from_millis(1),
            Self::WaitsTooLong => config.timeout *= 20,
            Self::GivesUpEarly => config.timeout /= 3,
            Self::PacesNothing => config.link_bits_per_second = None,
            Self::GrantsWithoutLimit => {
                config.max_incoming_bytes = config.max_incoming_bytes.saturating_mul(8);
            }
            Self::SendsOldestFirst => config.pacer_fifo_permille = 500,
            Self::TablesWithoutLimit => {
                config.max_client_rpcs = defaults.max_client_rpcs;
                config.max_server_rpcs = defaults.max_server_rpcs;
                config.max_gaps = defaults.max_gaps;
                config.max_peers = defaults.max_peers;
                config.max_tombstone_blocks = defaults.max_tombstone_blocks;
                config.receive_budget_bytes = defaults.receive_budget_bytes;
            }
            _ => {}
        }
    }
}

/// Something that is not part of any run.
pub(crate) fn outside() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed)
}
