//! What is sent and when, all of it fixed by the seed before anything is measured.
//!
//! Arrivals are open loop: their times do not depend on how fast responses come, so a protocol that
//! is slow for a while is charged for everything that waited meanwhile.

use core::ops::{Deref, Range};
use core::time::Duration;
use std::sync::Arc;

use homa_sim::{Random, Workload};

use crate::answer::Answer;
use crate::workload::MESSAGE_MAX_BYTES;

/// Messages that start at different places of the pattern, and so differ, before places repeat.
const PLACES_COUNT: usize = 1 << 16;

/// Arrivals in one slice; a load that wants more is cut, which the report shows as less load.
const SLICE_ARRIVALS_MAX: usize = 4_000_000;

/// Uses of the seed; each has a random sequence of its own.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Pattern,
    Goodput,
    Destination,
    Slice(u32),
}

impl Purpose {
    const fn number(self) -> u64 {
        match self {
            Self::Pattern => 1,
            Self::Goodput => 2,
            Self::Destination => 3,
            Self::Slice(index) => 1000 + index as u64,
        }
    }
}

/// Which of `count` servers an RPC goes to: each with the same chance, as the number of the RPC says.
pub(crate) fn destination(number: u64, count: usize) -> usize {
    if count == 1 {
        return 0;
    }
    let mut random = Random::new(number, Purpose::Destination.number());
    random.below(count as u64) as usize
}

/// Random bytes from which all messages are cut: message N starts at place N.
///
/// Nothing has to be filled in or copied to make a message, and no two messages that are under way
/// together are the same, so that a response which belongs to another request is found out.
pub(crate) struct Pattern {
    bytes: Arc<[u8]>,
}

/// The contents of a message, where they lie.
pub(crate) struct Contents<'a> {
    pattern: &'a Arc<[u8]>,
    place: Range<usize>,
}

impl Contents<'_> {
    /// The same, for whoever sends them from there.
    pub(crate) fn shared(&self) -> homa::Source<'static> {
        homa::Source::Part(Arc::clone(self.pattern), self.place.clone())
    }
}

impl Deref for Contents<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.pattern[self.place.clone()]
    }
}

impl Pattern {
    /// The pattern of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Pattern.number());
        let words = (PLACES_COUNT + MESSAGE_MAX_BYTES).div_ceil(8);
        Self {
            bytes: (0..words)
                .flat_map(|_| random.bits().to_le_bytes())
                .collect(),
        }
    }

    /// The contents of a message.
    pub(crate) fn message(&self, message: &Message) -> Contents<'_> {
        let place = (message.number % PLACES_COUNT as u64) as usize;
        Contents {
            pattern: &self.bytes,
            place: place..place + message.size,
        }
    }

    fn plan(&self, number: u64, size: usize) -> Message {
        let mut message = Message {
            number,
            size,
            checksum: 0,
        };
        message.checksum = crc32fast::hash(&self.message(&message));
        message
    }
}

/// A message to send, and how to recognise its echo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Message {
    /// Names the RPC; also says where in the pattern the message starts.
    pub(crate) number: u64,
    /// Bytes.
    pub(crate) size: usize,
    /// CRC-32 of the contents.
    pub(crate) checksum: u32,
}

impl Message {
    /// Whether `response` is that answer to this message.
    pub(crate) fn is_answered_by(&self, response: &[u8], answer: Answer) -> bool {
        match answer {
            Answer::Echo => {
                response.len() == self.size && crc32fast::hash(response) == self.checksum
            }
            Answer::Checksum => response == self.checksum.to_be_bytes(),
            Answer::Receipt => *response == *answer.to(&[]),
        }
    }
}

/// A message with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// Since the slice began.
    pub(crate) at: Duration,
    pub(crate) message: Message,
}

/// Draws messages for one run.
pub(crate) struct Planner<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) pattern: &'a Pattern,
    pub(crate) seed: u64,
}

impl Planner<'_> {
    /// `count` messages of the workload, without times.
    pub(crate) fn messages(&self, count: u64) -> Vec<Message> {
        let mut random = Random::new(self.seed, Purpose::Goodput.number());
        let numbers = 0..count;
        numbers
            .map(|n| self.pattern.plan(n, self.workload.sample(&mut random)))
            .collect()
    }

    /// One message of each size.
    pub(crate) fn one_of_each(&self, sizes: &[usize]) -> Vec<Message> {
        (0..)
            .zip(sizes)
            .map(|(number, size)| self.pattern.plan(number, *size))
            .collect()
    }

    /// The Poisson arrivals of slice `index`, `bytes_per_second` of messages on average.
    pub(crate) fn slice(
        &self,
        index: u32,
        length: Duration,
        bytes_per_second: f64,
    ) -> Vec<Arrival> {
        let mut random = Random::new(self.seed, Purpose::Slice(index).number());
        let mean_gap = self.workload.mean_bytes() / bytes_per_second;
        let (mut arrivals, mut at) = (Vec::new(), 0.0);
        for number in 0..SLICE_ARRIVALS_MAX as u64 {
            at += random.exponential(mean_gap);
            if at >= length.as_secs_f64() {
                break;
            }
            let message = self.pattern.plan(number, self.workload.sample(&mut random));
            arrivals.push(Arrival {
                at: Duration::from_secs_f64(at),
                message,
            });
        }
        arrivals
    }
}

/// How many sizes [`spread`] gives, at most.
pub(crate) const SPREAD_SIZES: u32 = 10;

/// Sizes from the shortest to the longest of a workload, each larger by about the same factor than
/// the one before.
pub(crate) fn spread(workload: &Workload) -> Vec<usize> {
    let (low, high) = (workload.size_min(), workload.size_max());
    let factor = high as f64 / low as f64;
    let steps = (0..SPREAD_SIZES).map(|step| f64::from(step) / f64::from(SPREAD_SIZES - 1));
    let mut sizes: Vec<usize> = steps
        .map(|share| (low as f64 * factor.powf(share)).round() as usize)
        .collect();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arrivals(seed: u64, index: u32, bytes_per_second: f64) -> Vec<Arrival> {
        let workload = crate::workload::named("w2").unwrap();
        let pattern = Pattern::new(seed);
        Planner {
            workload: &workload,
            pattern: &pattern,
            seed,
        }
        .slice(index, SECOND, bytes_per_second)
    }

    #[test]
    fn a_seed_fixes_the_plan() {
        assert_eq!(arrivals(5, 0, 1e5), arrivals(5, 0, 1e5));
        assert_ne!(arrivals(5, 0, 1e5), arrivals(6, 0, 1e5));
        assert_ne!(arrivals(5, 0, 1e5), arrivals(5, 1, 1e5));
    }

    #[test]
    fn arrivals_offer_the_load_that_was_asked_for() {
        let plan = arrivals(1, 0, 4e6);
        let bytes: usize = plan.iter().map(|arrival| arrival.message.size).sum();
        assert!((3.6e6..4.4e6).contains(&(bytes as f64)), "{bytes} bytes");
        assert!(plan.is_sorted_by_key(|arrival| arrival.at));
        assert!(plan.iter().all(|arrival| arrival.at < SECOND));
    }

    #[test]
    fn an_echo_is_told_from_anything_else() {
        let workload = crate::workload::named("w1").unwrap();
        let pattern = Pattern::new(1);
        let planner = Planner {
            workload: &workload,
            pattern: &pattern,
            seed: 1,
        };
        let messages = planner.one_of_each(&[100, 100]);
        let echo = pattern.message(&messages[0]);
        assert!(messages[0].is_answered_by(&echo, Answer::Echo));
        assert!(!messages[1].is_answered_by(&echo, Answer::Echo));
        assert!(!messages[0].is_answered_by(&echo[..99], Answer::Echo));
        let mut damaged = echo.to_vec();
        damaged[50] ^= 1;
        assert!(!messages[0].is_answered_by(&damaged, Answer::Echo));
    }

    #[test]
    fn sizes_spread_from_the_shortest_to_the_longest() {
        let sizes = spread(&crate::workload::named("w4").unwrap());
        assert_eq!((sizes.len(), sizes[0], sizes[9]), (10, 53, 1_000_000));
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
        let one_size = Workload::parse("x", "size_bytes,cumulative_fraction\n7,1\n").unwrap();
        assert_eq!(spread(&one_size), [7]);
    }

    #[test]
    fn destinations_are_spread_evenly() {
        let mut counts = [0; 7];
        (0..7000).for_each(|number| counts[destination(number, 7)] += 1);
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        assert_eq!(destination(5, 1), 0);
    }
}
