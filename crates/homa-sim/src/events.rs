//! What happens next: events in order of time, and of entry among those of one moment.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The last bit of a packet reaches a host or a switch.
    Arrive { node: u32, packet: u32 },
    /// A port of a switch has sent its packet and takes the next.
    PortFree { switch: u32, port: u32 },
    /// A host's deadline may have come, or its pause may be over.
    Wake { host: u32 },
    /// A moment that the agent asked for.
    Timer { host: u32, engine: u8, token: u32 },
    /// The network tells a host that a packet of its did not arrive.
    Unreachable { host: u32, packet: u32 },
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: that is what the heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Events to come.
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    entered: u64,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            entered: 0,
        }
    }

    /// Enters an event for the moment `at`, in nanoseconds.
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.entered += 1;
        self.heap.push(Entry {
            at,
            number: self.entered,
            event,
        });
    }

    /// When the next event happens.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next event, if it happens at `until` or before.
    pub(crate) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        if self.next()? > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_happen_in_the_order_of_their_entry() {
        let mut queue = Queue::new();
        for (at, host) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            queue.push(at, Event::Wake { host });
        }
        let order: Vec<u64> = core::iter::from_fn(|| queue.pop(4))
            .map(|(_, event)| match event {
                Event::Wake { host } => u64::from(host),
                _ => 0,
            })
            .collect();
        assert_eq!(order, [2, 4]);
        assert_eq!(queue.next(), Some(5));
    }
}
