//! The order of sending: requests and responses together, fewest bytes remaining first, with a
//! small share for the oldest. Decides which message, not how much of it or when.
//!
//! *Design*: messages shorter than a packet or so stand in a queue of their own, first come first
//! served: the order among them is worth less than the cost of sorting them, and their packets can
//! be sent together. A long message is announced with its first segment ahead of the order, so
//! that its receiver can grant it by its length from the start.

use crate::chunks::Full;
use crate::heap::{Heap, Nodes};
use crate::list::{Fifo, Queue};
use crate::rpc::{ByShort, Rpc};
use crate::slab::Slab;

pub(crate) struct SendQueue {
    /// Who no longer wants to be sent stays in it until its turn.
    short: Queue<Rpc, ByShort>,
    announce: Fifo,
    by_remaining: Heap,
    remaining: Nodes,
    by_age: Heap,
    ages: Nodes,
    /// Bytes that may go by SRPT before the oldest message gets its turn, times 1000.
    credit: i64,
    fifo_permille: i64,
}

/// A message's place in the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Precedence {
    /// Bytes not yet sent.
    pub(crate) remaining: u32,
    /// Number of the message among all that this engine sends.
    pub(crate) birth: u64,
}

impl SendQueue {
    pub(crate) const fn new(fifo_permille: u16) -> Self {
        Self {
            short: Queue::new(),
            announce: Fifo::new(),
            by_remaining: Heap::EMPTY,
            remaining: Nodes::new(),
            by_age: Heap::EMPTY,
            ages: Nodes::new(),
            credit: 0,
            fifo_permille: fifo_permille as i64,
        }
    }

    pub(crate) fn ensure(&mut self, rpc: u32) -> Result<(), Full> {
        self.announce.ensure(rpc)?;
        self.remaining.ensure(rpc)?;
        self.ages.ensure(rpc)
    }

    /// A message that fits into one packet and bypasses the order.
    #[inline]
    pub(crate) fn push_short(&mut self, rpcs: &mut Slab<Rpc>, rpc: u32) {
        self.short.push(rpcs, rpc);
    }

    /// A message that has bytes to send, or one whose number of them changed.
    pub(crate) fn set(&mut self, rpc: u32, precedence: Precedence) {
        let Precedence { remaining, birth } = precedence;
        self.remaining
            .set(&mut self.by_remaining, rpc, (remaining, birth));
        self.ages.set(&mut self.by_age, rpc, (0, birth));
    }

    /// Has the message's first segment sent ahead of the order.
    pub(crate) fn announce(&mut self, rpc: u32) {
        self.announce.push(rpc);
    }

    /// The message has nothing to send by this order.
    pub(crate) fn remove(&mut self, rpc: u32) {
        self.announce.remove(rpc);
        self.remaining.remove(&mut self.by_remaining, rpc);
        self.ages.remove(&mut self.by_age, rpc);
    }

    pub(crate) fn first_short(&self) -> Option<u32> {
        self.short.first()
    }

    /// The first of the short messages, which is at hand, is no longer in the queue.
    #[inline]
    pub(crate) fn pop_short(&mut self, first: &mut Rpc) {
        self.short.pop_entry(first);
    }

    /// The next message to be announced; the one that is first in the order anyway needs none.
    pub(crate) fn pop_announcement(&mut self) -> Option<u32> {
        let rpc = self.announce.pop()?;
        if self.by_remaining.first() == Some(rpc) {
            return self.announce.pop();
        }
        Some(rpc)
    }

    /// The message to send from, when the pacer allows it.
    pub(crate) fn choose(&self) -> Option<u32> {
        if self.credit < 0 {
            self.by_age.first()
        } else {
            self.by_remaining.first()
        }
    }

    /// Whether something goes ahead of the order: a short message, or the announcement of one that
    /// is not first in it.
    pub(crate) fn has_short(&self) -> bool {
        let announced = self.announce.first();
        let other =
            |rpc| self.announce.next(rpc).is_some() || self.by_remaining.first() != Some(rpc);
        self.short.first().is_some() || announced.is_some_and(other)
    }

    /// Bytes remaining of the message that is first in the order.
    pub(crate) fn fewest_remaining(&self) -> Option<u32> {
        let first = self.by_remaining.first()?;
        Some(self.remaining.key(first).0)
    }

    /// Whether nothing stands in it, not even what is no longer wanted.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.short.first().is_none()
            && self.by_remaining.first().is_none()
            && self.announce.first().is_none()
    }

    /// Whether any message waits for the pacer.
    pub(crate) fn waits_for_pacer(&self) -> bool {
        self.by_remaining.first().is_some()
    }

    /// `bytes` of the chosen message were sent.
    pub(crate) fn charge(&mut self, rpc: u32, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 1000);
        if self.fifo_permille == 0 || self.by_age.first() == self.by_remaining.first() {
            // There is no contest: nothing changes for anybody.
        } else if self.by_age.first() == Some(rpc) {
            self.credit += bytes * (1000 - self.fifo_permille);
        } else {
            self.credit -= bytes * self.fifo_permille;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(messages: &[u32]) -> SendQueue {
        let mut queue = SendQueue::new(50);
        queue.ensure(100).unwrap();
        for (rpc, &remaining) in messages.iter().enumerate() {
            let birth = rpc as u64;
            queue.set(rpc as u32, Precedence { remaining, birth });
        }
        queue
    }

    #[test]
    fn fewest_bytes_remaining_go_first_and_the_older_of_equals() {
        let mut queue = queue(&[500, 200, 200, 900]);
        assert_eq!(queue.choose(), Some(1));
        queue.remove(1);
        assert_eq!(queue.choose(), Some(2));
        queue.remove(2);
        assert_eq!(queue.choose(), Some(0));
    }

    #[test]
    fn a_message_is_announced_unless_it_goes_first_anyway() {
        let mut queue = queue(&[500_000]);
        queue.announce(0);
        assert!(!queue.has_short());
        assert_eq!(queue.pop_announcement(), None);
        queue.announce(0);
        let (remaining, birth) = (400_000, 1);
        queue.set(1, Precedence { remaining, birth });
        queue.announce(1);
        assert!(queue.has_short());
        assert_eq!(queue.pop_announcement(), Some(0));
        assert!(!queue.has_short());
        queue.announce(0);
        assert!(
            queue.has_short(),
            "behind the announcement that is not needed is one that is"
        );
        assert_eq!(queue.pop_announcement(), Some(0));
        assert_eq!(queue.pop_announcement(), None);
    }

    #[test]
    fn the_oldest_message_gets_its_share_and_no_more() {
        let mut queue = queue(&[1_000_000_000, 5_000, 6_000]);
        let mut oldest = 0_u32;
        for _ in 0..10_000 {
            let rpc = queue.choose().unwrap();
            oldest += u32::from(rpc == 0);
            queue.charge(rpc, 1_400);
        }
        assert!((495..=505).contains(&oldest), "{oldest} of 10,000, not 5 %");
    }
    #[test]
    fn a_message_that_was_alone_does_not_pay_for_it_later() {
        let mut queue = queue(&[1_000_000_000]);
        queue.charge(0, 100_000_000);
        for (rpc, remaining) in [(1, 5_000), (2, 6_000)] {
            let birth = u64::from(rpc);
            queue.set(rpc, Precedence { remaining, birth });
        }
        queue.charge(1, 1_400);
        assert_eq!(queue.choose(), Some(0), "the oldest has its turn at once");
    }
}
