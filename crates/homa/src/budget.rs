//! How many bytes of outbound messages a host holds. It counts and refuses; who waits, waits
//! elsewhere.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Bytes held, and how many may be.
pub(crate) struct SendBudget {
    held: AtomicU64,
    limit: u64,
}

impl SendBudget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            limit,
        }
    }

    /// Takes room for `bytes`.
    ///
    /// # Errors
    ///
    /// The bytes held already, if there is no room.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), u64> {
        let bytes = bytes as u64;
        let grown = |held: u64| held.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grown)
            .map(|_| ())
    }

    /// Gives room back.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes as u64, Ordering::AcqRel);
        debug_assert!(before >= bytes as u64, "more was released than reserved");
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_up_to_the_limit_and_given_back() {
        let budget = SendBudget::new(10);
        assert_eq!(budget.reserve(6), Ok(()));
        assert_eq!(budget.reserve(5), Err(6));
        assert_eq!(budget.reserve(4), Ok(()));
        budget.release(6);
        assert_eq!(budget.held(), 4);
        assert_eq!(budget.reserve(usize::MAX), Err(4));
    }
}
