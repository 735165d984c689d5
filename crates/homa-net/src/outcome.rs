//! What became of a transmit, for links of every kind.

use crate::link::{Counters, Refusal};

/// What became of one transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The local network stack took it.
    Sent,
    /// It never will.
    Refused(Refusal),
    /// It has no room at the moment.
    Full,
}

impl Outcome {
    /// Counts what became of transmit `index` of a batch, unless it was sent, and tells of a refusal;
    /// `false`: the link is full.
    #[cold]
    pub(crate) fn is_dealt_with(
        self,
        index: usize,
        counters: &mut Counters,
        refused: &mut dyn FnMut(usize, Refusal),
    ) -> bool {
        match self {
            Self::Sent => {}
            Self::Refused(refusal) => {
                counters.transmits_refused += 1;
                refused(index, refusal);
            }
            Self::Full => {
                counters.send_full += 1;
                return false;
            }
        }
        true
    }
}
