//! The cutoffs that we publish, learned from the messages that arrive. Decides how many levels
//! unscheduled bytes get and which lengths separate them; who is told is decided in `receive`.
//!
//! *Design*: the paper's rule. Levels are shared out between unscheduled and scheduled packets as
//! the bytes are, at least one for each, and each unscheduled level carries as many bytes as the
//! next. Bytes are those of the wire: a level's queue is made of packets, and a message of 30
//! bytes costs 150. A message counts when it is complete, so a length that is only claimed counts
//! nothing. Now and then a round ends and joins what is remembered. Cutoffs are published if with
//! those in force some level carries a sixth of a level too much, or the number of levels changes.
//!
//! Lengths are remembered over 16,384 messages, the share of the unscheduled over 128 MiB: one message
//! in a thousand may bring half of the bytes, and so few messages then tell little of that share.
//! A round unlike the memory begins it anew.
//!
//! The reference's daemon looks every second, at the drift of deciles, with bins of 64 bytes and
//! more, forgets everything each time, and may leave a level empty where many messages have one
//! length.

mod sample;

use alloc::boxed::Box;

use crate::chunks::{Full, boxed};
use crate::config::Config;
use crate::engine::Engine;
use crate::host::HostView;
use crate::time::Instant;
use crate::wire::DATA_HEADER_BYTES;

pub use sample::Sample;
use sample::last_length;

/// A cutoff that no message exceeds.
pub(crate) const UNLIMITED: u32 = i32::MAX as u32;
/// From here on a cutoff counts as one that no message exceeds, as in the reference.
pub(crate) const UNLIMITED_FROM: u32 = 1_000_000;

/// Payload bytes that a packet is taken to have.
const USUAL_SEGMENT_BYTES: u32 = 1_400;

/// A round ends with so many messages or bytes; the first with a sixteenth of them, until there is
/// as much to remember.
const ROUND_MESSAGES: u32 = 1_024;
const ROUND_MESSAGES_FIRST: u32 = ROUND_MESSAGES / 16;
const ROUND_BYTES: u64 = 8 << 20;
/// And it lasts at least so long, in nanoseconds: peers are told once a millisecond at most.
const ROUND_LEAST_NANOS: u64 = 1_000_000;

/// Part of a level's even share that the heaviest level may carry more than it would with the best
/// cutoffs before these are published: a sixth.
const EXCESS_PART: u64 = 6;
/// What is left for further levels is none if it is less than this part of a level: an eighth.
const NEGLIGIBLE_PART: u64 = 8;
/// The number of levels changes when it is wrong by so many 256ths of a level: more than the half
/// that rounding needs, or it would waver.
const LEVELS_SLACK: u64 = 192;

/// Groups of hosts, by hash, among which no single one may drown the others: where the others
/// bring a sixteenth of a round's bytes, and are three, each of which brings a 256th of theirs, one
/// counts for at most a quarter of the next round, and one message. Of three altogether nobody can
/// tell who is odd, and what one alone brings for the most part the cutoffs should fit.
const GROUPS: usize = 64;
const OTHERS_LEAST_PART: u64 = 16;
const OTHERS_LEAST_COUNT: usize = 3;
const OTHER_LEAST_PART: u64 = 256;
const GROUP_MOST_PART: u64 = 4;

/// A ratio of 1.
pub(crate) const ONE: u16 = 256;

/// What is learned and in force at a host: cutoffs, told to peers with their revision, and a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// For each level, lowest first, as on the wire: the lowest is for every message, levels that
    /// the network does not have are for none.
    pub(crate) cutoffs: [u32; 8],
    pub(crate) revision: u16,
    /// Bytes that wait for grants over those that come unasked, in 256ths and at most 1. Peers are not
    /// told.
    pub(crate) granted_ratio: u16,
}

impl Published {
    /// What an engine starts with.
    pub(crate) fn first(config: &Config) -> Self {
        let mut cutoffs = config.cutoffs.unwrap_or_else(|| first_guess(config));
        cutoffs[usize::from(config.priorities)..].fill(0);
        cutoffs[0] = UNLIMITED;
        Self {
            cutoffs,
            revision: 1,
            granted_ratio: ONE,
        }
    }
}

/// Cutoffs before anything is known: the best level for all that goes unasked. Peers hold on to them
/// until they hear better, which may be long after this host has learned that scheduled packets
/// deserve most levels. On a level that is too good a message costs others some microseconds; on one
/// that scheduled packets use by then it waits for whole messages. (With the reference's cutoffs as
/// a guess one in a hundred messages of W5 did, for up to 60 times its best time.)
fn first_guess(config: &Config) -> [u32; 8] {
    let mut cutoffs = [0; 8];
    cutoffs[usize::from(config.priorities.max(1)) - 1] = UNLIMITED;
    cutoffs
}

/// Bytes that end a round which `messages` end, too.
const fn bytes_of_round(messages: u32) -> u64 {
    ROUND_BYTES / (ROUND_MESSAGES / messages) as u64
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) length: u32,
    /// Bytes of it that came unasked.
    pub(crate) unscheduled: u32,
    /// A keyed hash of its sender's host.
    pub(crate) host: u16,
}

/// Learns cutoffs for one host.
pub(crate) struct Learner {
    priorities: u8,
    packet_bytes: u32,
    memory: Sample,
    round: Sample,
    /// The round is over with so many messages or bytes, but not before a moment.
    round_least_end: Instant,
    round_messages: u32,
    round_bytes: u64,
    /// Bytes that each group of hosts brought in this round, and how many of them count.
    groups: Box<[u64; GROUPS]>,
    group_limit: u64,
    /// Levels that unscheduled bytes deserve; 0: not known.
    levels: u8,
    /// Another engine of the host learns for this one too.
    follows: bool,
}

impl Learner {
    pub(crate) fn new(config: &Config) -> Result<Self, Full> {
        Ok(Self {
            priorities: config.priorities,
            packet_bytes: config.packet_overhead_bytes + DATA_HEADER_BYTES as u32,
            memory: Sample::empty()?,
            round: Sample::empty()?,
            round_least_end: Instant::ZERO.after(ROUND_LEAST_NANOS),
            round_messages: ROUND_MESSAGES_FIRST,
            round_bytes: bytes_of_round(ROUND_MESSAGES_FIRST),
            groups: boxed(|| 0)?,
            group_limit: u64::MAX,
            levels: 0,
            follows: false,
        })
    }

    /// What `bytes` of a message are on the wire.
    #[inline]
    fn wire_bytes(&self, bytes: u32) -> u64 {
        // Most messages are short, and a division is most of their cost.
        match bytes {
            1..=USUAL_SEGMENT_BYTES => u64::from(bytes) + u64::from(self.packet_bytes),
            _ => {
                let packets = bytes.div_ceil(USUAL_SEGMENT_BYTES);
                u64::from(bytes) + u64::from(packets) * u64::from(self.packet_bytes)
            }
        }
    }

    /// A message is complete whose sender proved its address, since others could forge any number;
    /// returns whether the round is over.
    #[inline]
    pub(crate) fn count(&mut self, now: Instant, arrival: Arrival) -> bool {
        let all = self.wire_bytes(arrival.length);
        let unscheduled = match arrival.unscheduled == arrival.length {
            true => all,
            false => self.wire_bytes(arrival.unscheduled),
        };
        let group = &mut self.groups[usize::from(arrival.host) % GROUPS];
        if *group < self.group_limit {
            self.round.count(arrival.length, unscheduled, all);
        }
        *group += all;
        self.round.messages += 1;
        self.is_round_over(now)
    }

    #[inline]
    fn is_round_over(&self, now: Instant) -> bool {
        now >= self.round_least_end
            && (self.round.messages >= self.round_messages || self.round.all >= self.round_bytes)
    }

    /// Ends a round; returns cutoffs that are better than `present` by so much that peers should
    /// be told.
    pub(crate) fn end_round(&mut self, now: Instant, present: &[u32; 8]) -> Option<[u32; 8]> {
        if self.round.is_unlike(&self.memory) {
            self.memory.clear();
        }
        self.memory.add(&self.round);
        self.memory.forget();
        self.limit_groups();
        self.round.clear();
        self.round_least_end = now.after(ROUND_LEAST_NANOS);
        self.size_round();
        if self.follows {
            None
        } else {
            self.learn(present)
        }
    }

    /// A round is as long as the memory allows, within limits.
    fn size_round(&mut self) {
        let known = self.memory.messages;
        self.round_messages = known.clamp(ROUND_MESSAGES_FIRST, ROUND_MESSAGES);
        self.round_bytes = bytes_of_round(self.round_messages);
    }

    fn limit_groups(&mut self) {
        let all: u64 = self.groups.iter().sum();
        let heaviest = self.groups.iter().copied().max().unwrap_or(0);
        let others = all - heaviest;
        let speaks = |&&group: &&u64| group > others / OTHER_LEAST_PART;
        let speak = self.groups.iter().filter(speaks).count();
        let limits = others >= all / OTHERS_LEAST_PART && speak > OTHERS_LEAST_COUNT;
        self.group_limit = match limits {
            true => self.round.all / GROUP_MOST_PART,
            false => u64::MAX,
        };
        self.groups.fill(0);
    }

    fn learn(&mut self, present: &[u32; 8]) -> Option<[u32; 8]> {
        let bytes = self.memory.binned();
        if bytes == 0 {
            return None;
        }
        let levels = self.deserved_levels();
        let changed = levels != self.levels;
        self.levels = levels;
        let better = split(&*self.memory.bins, bytes, levels, self.priorities);
        // By the heaviest and not by bytes that would move: a length that many messages have may
        // go with the levels on either side of it, and would go to and fro.
        let bins = &*self.memory.bins;
        let excess = heaviest(bins, present).saturating_sub(heaviest(bins, &better));
        let worth = excess > bytes / (u64::from(levels) * EXCESS_PART);
        ((changed || worth) && better != *present).then_some(better)
    }

    /// Bytes that wait for grants over those that come unasked, in 256ths and at most 1. Of fewer messages
    /// than a round has, chance decides: one long one may bring half of the bytes.
    fn granted_ratio(&self) -> u16 {
        let Sample {
            messages,
            unscheduled,
            all,
            ..
        } = self.memory;
        if messages < ROUND_MESSAGES {
            return ONE;
        }
        let granted = all.saturating_sub(unscheduled);
        let ratio = granted * u64::from(ONE) / unscheduled.max(1);
        u16::try_from(ratio).map_or(ONE, |ratio| ratio.min(ONE))
    }

    /// Levels in proportion to the unscheduled bytes, at least one for them and for the others.
    fn deserved_levels(&self) -> u8 {
        let all = self.memory.all.max(1);
        let exact = u64::from(self.priorities) * 256 * self.memory.unscheduled / all;
        if self.levels != 0 && exact.abs_diff(u64::from(self.levels) * 256) <= LEVELS_SLACK {
            return self.levels;
        }
        let most = self.priorities.saturating_sub(1).max(1);
        u8::try_from((exact + 128) / 256).map_or(most, |levels| levels.clamp(1, most))
    }
}

/// Cutoffs that give each of `levels` levels as many unscheduled bytes as the next. A length that
/// fills a level alone leaves the rest to be shared by the others; levels that no message would
/// use are none.
fn split(bins: &[u64], bytes: u64, levels: u8, priorities: u8) -> [u32; 8] {
    let mut cutoffs = [0; 8];
    let mut level = usize::from(priorities) - 1;
    let (mut left, mut begin, mut below) = (u64::from(levels), 0_u64, 0_u64);
    let negligible = bytes / (left * NEGLIGIBLE_PART);
    let goal = |begin: u64, left: u64| begin + (bytes - begin) / left;
    for (bin, &more) in bins.iter().enumerate().filter(|&(_, &more)| more > 0) {
        let end = below + more;
        let early = goal(begin, left);
        // The border is the edge of the bin that is nearer to the goal.
        if left > 1 && end >= early && below > begin && early - below < end - early {
            cutoffs[level] = last_length(bin - 1);
            (level, left, begin) = (level - 1, left - 1, below);
        }
        let is_last = bytes - end <= negligible || last_length(bin) >= UNLIMITED_FROM;
        if left == 1 || is_last {
            break;
        }
        if end >= goal(begin, left) {
            cutoffs[level] = last_length(bin);
            (level, left, begin) = (level - 1, left - 1, end);
        }
        below = end;
    }
    cutoffs[level] = UNLIMITED;
    cutoffs[0] = UNLIMITED;
    cutoffs
}

/// Bytes of the level that carries most.
fn heaviest(bins: &[u64], cutoffs: &[u32; 8]) -> u64 {
    let mut loads = [0; 8];
    for (bin, &bytes) in bins.iter().enumerate().filter(|&(_, &bytes)| bytes > 0) {
        let fits = |&cutoff: &u32| cutoff >= last_length(bin);
        loads[cutoffs.iter().rposition(fits).unwrap_or(0)] += bytes;
    }
    loads.into_iter().max().unwrap_or(0)
}

impl Engine {
    /// For each level, lowest first, the longest message that may use it for its unscheduled
    /// bytes: what peers are told, [`Config::cutoffs`] or learned.
    pub fn cutoffs(&self) -> [u32; 8] {
        self.published.cutoffs
    }

    /// Moves what this engine remembers of the messages that arrived into `sample`, for the engine
    /// that learns for the host: the one with the lowest number.
    pub fn take_sample(&mut self, sample: &mut Sample) {
        if let Some(learner) = &mut self.learner {
            sample.add(&learner.memory);
            learner.memory.clear();
            learner.size_round();
        }
    }

    /// Learns from what other engines of the host remember, too. Without it the host's cutoffs
    /// follow what arrives at this engine.
    pub fn add_sample(&mut self, now: Instant, sample: &Sample) {
        if let Some(learner) = &mut self.learner {
            learner.round.add(sample);
            if learner.is_round_over(now) {
                self.learn(now);
            }
        }
    }

    /// A round of the learner is over.
    #[cold]
    pub(crate) fn learn(&mut self, now: Instant) {
        let Some(learner) = &mut self.learner else {
            return;
        };
        let mut published = self.published;
        if let Some(cutoffs) = learner.end_round(now, &published.cutoffs) {
            self.counters.cutoffs_learned += 1;
            published.cutoffs = cutoffs;
            published.revision = published.revision.wrapping_add(1);
        }
        if !learner.follows {
            published.granted_ratio = learner.granted_ratio();
        }
        self.publish(published);
    }

    /// Takes over what the host's leading engine learned, if another one leads.
    pub(crate) fn follow(&mut self, view: &HostView) {
        let Some(learner) = &mut self.learner else {
            return;
        };
        let leader = view
            .cutoffs
            .filter(|&(engine, _)| engine < self.config.engine);
        learner.follows = leader.is_some();
        if let Some((_, published)) = leader.filter(|&(_, it)| it != self.published) {
            self.publish(published);
        }
    }

    fn publish(&mut self, published: Published) {
        self.rules.follow(&published, &self.config);
        self.published = published;
    }
}

#[cfg(test)]
mod tests;
