//! Lengths of messages, counted in bins, and how many of their bytes came unasked. Decides what is
//! forgotten, and when two times are unlike.

use alloc::boxed::Box;

use super::ROUND_MESSAGES;
use crate::chunks::{Full, boxed};
use crate::config::ConfigError;

/// Shorter messages are one length: their packets take nearly as long as each other, headers and all,
/// so that an order among them is worth nothing, and a level of its own for the shortest would only
/// hold up the others. (Responses of one byte beside requests of eight to sixty did.)
pub(super) const LEAST_LENGTH: u32 = 64;
/// Bins of an octave of lengths: a cutoff is at most a sixteenth above the length it stands for.
pub(super) const STEPS: u32 = 16;
/// Bins for all lengths that messages can have, up to 2³⁰.
pub(super) const BINS: usize = bin_of(1 << 30) + 1;

/// Messages whose lengths are remembered. Past them an eighth is forgotten.
const MEMORY_MESSAGES: u32 = 16 * ROUND_MESSAGES;
const FORGOTTEN_PART: u32 = 8;
/// Bytes of which it is remembered how many were unscheduled.
const MEMORY_BYTES: u64 = 128 << 20;

/// A round is unlike the memory if the parts of their bytes that belong to messages up to some
/// length differ by two fifths; with fewer messages than this in one of them chance can do that.
const UNLIKE_PART: (u128, u128) = (2, 5);
const UNLIKE_MESSAGES: u32 = ROUND_MESSAGES / 4;

/// The bin of messages of `length` bytes: one for all below `LEAST_LENGTH`, then 16 an octave.
pub(super) const fn bin_of(length: u32) -> usize {
    if length < LEAST_LENGTH {
        return 0;
    }
    let octave = length.ilog2() - LEAST_LENGTH.ilog2();
    let step = length >> (length.ilog2() - STEPS.ilog2());
    (1 + octave * STEPS + step - STEPS) as usize
}

/// The longest length in a bin.
pub(super) const fn last_length(bin: usize) -> u32 {
    if bin == 0 {
        return LEAST_LENGTH - 1;
    }
    let (octave, step) = ((bin as u32 - 1) / STEPS, (bin as u32 - 1) % STEPS);
    ((STEPS + step + 1) << (octave + LEAST_LENGTH.ilog2() - STEPS.ilog2())) - 1
}

/// What is known of messages that arrived: their wire bytes.
///
/// Engines of one host hand theirs to the one that learns; see
/// [`Engine::add_sample`](crate::Engine::add_sample).
#[derive(Debug)]
pub struct Sample {
    pub(super) messages: u32,
    /// Unscheduled bytes, by the length of their message.
    pub(super) bins: Box<[u64; BINS]>,
    pub(super) unscheduled: u64,
    /// Scheduled ones too.
    pub(super) all: u64,
}

impl Sample {
    /// Of nothing.
    ///
    /// # Errors
    /// [`ConfigError::OutOfMemory`].
    pub fn new() -> Result<Self, ConfigError> {
        Self::empty().map_err(|Full| ConfigError::OutOfMemory)
    }

    pub(super) fn empty() -> Result<Self, Full> {
        Ok(Self {
            messages: 0,
            bins: boxed(|| 0)?,
            unscheduled: 0,
            all: 0,
        })
    }

    #[inline]
    pub(super) fn count(&mut self, length: u32, unscheduled: u64, all: u64) {
        self.bins[bin_of(length).min(BINS - 1)] += unscheduled;
        self.unscheduled += unscheduled;
        self.all += all;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.messages = self.messages.saturating_add(other.messages);
        for (bin, more) in self.bins.iter_mut().zip(other.bins.iter()) {
            *bin += more;
        }
        self.unscheduled += other.unscheduled;
        self.all += other.all;
    }

    pub(super) fn clear(&mut self) {
        self.bins.fill(0);
        (self.messages, self.unscheduled, self.all) = (0, 0, 0);
    }

    /// Lets the oldest go as far as there is more than is to be remembered.
    pub(super) fn forget(&mut self) {
        if self.messages > MEMORY_MESSAGES {
            self.messages -= self.messages / FORGOTTEN_PART;
            for bin in self.bins.iter_mut() {
                // Rounded up, so that nothing stays for ever.
                *bin -= bin.div_ceil(u64::from(FORGOTTEN_PART));
            }
        }
        if self.all > MEMORY_BYTES {
            let unscheduled = u128::from(self.unscheduled) * u128::from(MEMORY_BYTES);
            let unscheduled = unscheduled / u128::from(self.all);
            self.unscheduled = u64::try_from(unscheduled).unwrap_or(MEMORY_BYTES);
            self.all = MEMORY_BYTES;
        }
    }

    /// Sum of the bins.
    pub(super) fn binned(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// Whether the lengths are so different that they belong to different times.
    pub(super) fn is_unlike(&self, other: &Self) -> bool {
        if self.messages.min(other.messages) < UNLIKE_MESSAGES {
            return false;
        }
        let (all, other_all) = (u128::from(self.binned()), u128::from(other.binned()));
        let (mut below, mut other_below) = (0_u128, 0_u128);
        self.bins
            .iter()
            .zip(other.bins.iter())
            .any(|(&bin, &other_bin)| {
                below += u128::from(bin);
                other_below += u128::from(other_bin);
                let differ = (below * other_all).abs_diff(other_below * all);
                differ * UNLIKE_PART.1 > all * other_all * UNLIKE_PART.0
            })
    }
}
