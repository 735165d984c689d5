//! What is granted and not received, over all messages that count: in all, and of those that are
//! about as close to their end as a given one or closer.

use super::entry::Entry;

/// Messages with equally many digits of missing bytes, in the binary system.
const CLASSES: usize = 32;

/// Bytes outstanding.
#[derive(Clone, Debug)]
pub(super) struct Outstanding {
    total: u64,
    by_class: [u64; CLASSES],
}

fn class(entry: &Entry) -> usize {
    entry.remaining().max(1).ilog2() as usize
}

impl Outstanding {
    pub(super) const NONE: Self = Self {
        total: 0,
        by_class: [0; CLASSES],
    };

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Counts a message as it is; before it changes it is taken out again.
    pub(super) fn add(&mut self, entry: &Entry) {
        let bytes = entry.charged();
        self.total += bytes;
        self.by_class[class(entry)] += bytes;
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        let bytes = entry.charged();
        self.total -= bytes;
        self.by_class[class(entry)] -= bytes;
    }

    /// What goes ahead of a message or beside it. Levels of priority keep the rest behind it.
    pub(super) fn ahead_of(&self, entry: &Entry) -> u64 {
        self.by_class[..=class(entry)].iter().sum()
    }
}
