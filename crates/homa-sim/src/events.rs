//! What happens next: events in order of time, and of entry among those of one moment.
//!
//! *Design*: a calendar that goes round, with a bucket for every nanosecond of the near future, and
//! a heap for what lies beyond it. Nearly all events of a busy network are a few microseconds away.
//! A bucket holds events of one moment only, first come first served, so that nothing is ever
//! sorted and no event says when it is; which buckets are not empty is a matter of bits. The places
//! of events are used again, the last one first, so that they stay in the cache; with a growing
//! array for each bucket every event was entered in memory that had last been used a turn of the
//! calendar ago. A heap alone took a third of a run's instructions.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Buckets of a nanosecond each: 16 µs, more than a packet takes over the busiest cable.
const BUCKETS: u64 = 1 << 14;

/// "No place": no event, or no free place.
const NOWHERE: u32 = u32::MAX;

/// An event that is near, in the ring of its bucket; or a free place, in the list of those.
#[derive(Clone, Copy)]
struct Place {
    event: Event,
    /// The one that was entered next; behind the newest comes the oldest.
    next: u32,
}

/// Which buckets are not empty: a bit for each, and one for every 64 of those.
struct Occupied {
    words: [u64; Self::WORDS],
    summary: [u64; Self::WORDS / 64],
}

impl Occupied {
    const WORDS: usize = (BUCKETS / 64) as usize;

    const EMPTY: Self = Self {
        words: [0; Self::WORDS],
        summary: [0; Self::WORDS / 64],
    };

    fn set(&mut self, position: usize) {
        let word = position / 64;
        self.words[word] |= 1 << (position % 64);
        self.summary[word / 64] |= 1 << (word % 64);
    }

    fn clear(&mut self, position: usize) {
        let word = position / 64;
        self.words[word] &= !(1 << (position % 64));
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    /// The first that is not empty from `position` on, going round.
    #[inline]
    fn next(&self, position: usize) -> Option<usize> {
        let word = position / 64;
        let here = self.words[word] & (u64::MAX << (position % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let word = self.next_word((word + 1) % Self::WORDS)?;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }

    /// The first word with a bit from `word` on, going round.
    fn next_word(&self, word: usize) -> Option<usize> {
        let first = word / 64;
        let here = self.summary[first] & (u64::MAX << (word % 64));
        if here != 0 {
            return Some(first * 64 + here.trailing_zeros() as usize);
        }
        let count = self.summary.len();
        let mut others = (1..=count).map(|step| (first + step) % count);
        let found = others.find(|&other| self.summary[other] != 0)?;
        Some(found * 64 + self.summary[found].trailing_zeros() as usize)
    }
}

/// Events to come.
pub(crate) struct Queue {
    /// The moment of the event that was taken out last, in nanoseconds.
    current: u64,
    /// Events of the `BUCKETS` nanoseconds from then on.
    places: Vec<Place>,
    free: u32,
    /// The event that was entered last into each bucket.
    newest: Box<[u32; BUCKETS as usize]>,
    occupied: Occupied,
    /// What is further away, by time and entry.
    far: BinaryHeap<Reverse<(u64, u64, Event)>>,
    far_entered: u64,
    /// The moment of its first; `u64::MAX`: there is none.
    far_at: u64,
    count: usize,
}

const fn position(at: u64) -> usize {
    (at % BUCKETS) as usize
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            current: 0,
            places: Vec::new(),
            free: NOWHERE,
            newest: Box::new([NOWHERE; BUCKETS as usize]),
            occupied: Occupied::EMPTY,
            far: BinaryHeap::new(),
            far_entered: 0,
            far_at: u64::MAX,
            count: 0,
        }
    }

    /// Enters an event for the moment `at`, in nanoseconds; one that is over is the present one.
    #[inline]
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        let at = at.max(self.current);
        if at - self.current < BUCKETS {
            self.enter(position(at), event);
        } else {
            self.far_entered += 1;
            self.far.push(Reverse((at, self.far_entered, event)));
            self.far_at = self.far_at.min(at);
        }
    }

    #[inline]
    fn enter(&mut self, position: usize, event: Event) {
        let place = self.place(event);
        let newest = core::mem::replace(&mut self.newest[position], place);
        if newest == NOWHERE {
            self.places[place as usize].next = place;
            self.occupied.set(position);
        } else {
            let oldest = core::mem::replace(&mut self.places[newest as usize].next, place);
            self.places[place as usize].next = oldest;
        }
    }

    /// A place for an event, in no ring yet.
    #[inline]
    fn place(&mut self, event: Event) -> u32 {
        let place = self.free;
        match self.places.get_mut(place as usize) {
            Some(it) => {
                it.event = event;
                self.free = it.next;
                place
            }
            None => {
                let next = NOWHERE;
                self.places.push(Place { event, next });
                (self.places.len() - 1) as u32
            }
        }
    }

    /// When the next event happens.
    #[inline]
    pub(crate) fn next(&self) -> Option<u64> {
        let here = position(self.current);
        match self.occupied.next(here) {
            Some(found) => Some(self.current + (found.wrapping_sub(here) as u64) % BUCKETS),
            None => (self.count > 0).then_some(self.far_at),
        }
    }

    /// The next event, if it happens at `until` or before. Part of the loop that asks for it, which
    /// does little else.
    #[inline(always)]
    pub(crate) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        let at = self.next().filter(|&at| at <= until)?;
        self.current = at;
        if self.far_at - at < BUCKETS {
            self.fetch();
        }
        self.count -= 1;
        Some((at, self.take(position(at))))
    }

    /// Takes the oldest event out of a bucket that is not empty.
    #[inline]
    fn take(&mut self, position: usize) -> Event {
        let newest = self.newest[position];
        let oldest = self.places[newest as usize].next;
        let Place { event, next } = self.places[oldest as usize];
        if oldest == newest {
            self.newest[position] = NOWHERE;
            self.occupied.clear(position);
        } else {
            self.places[newest as usize].next = next;
        }
        self.places[oldest as usize].next = core::mem::replace(&mut self.free, oldest);
        event
    }

    /// Moves what is not far away any more into its buckets, before anything later is entered
    /// there.
    #[cold]
    fn fetch(&mut self) {
        while let Some(&Reverse((at, _, event))) = self.far.peek()
            && at - self.current < BUCKETS
        {
            self.far.pop();
            self.enter(position(at), event);
        }
        let first = self.far.peek();
        self.far_at = first.map_or(u64::MAX, |Reverse((at, ..))| *at);
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

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

    #[test]
    fn near_and_far_events_come_in_the_order_that_sorting_gives() {
        let mut random = Random::new(1, 0);
        let mut queue = Queue::new();
        let (mut now, mut entered) = (0, 0_u32);
        let mut waiting: Vec<(u64, u32)> = Vec::new();
        for _ in 0..2_000 {
            for _ in 0..random.below(4) {
                let at = now + random.magnitude(3_000_000) - 1;
                queue.push(at, Event::Wake { host: entered });
                waiting.push((at, entered));
                entered += 1;
            }
            let until = now + random.magnitude(200_000);
            waiting.sort_unstable();
            assert_eq!(queue.next(), waiting.first().map(|it| it.0));
            let expected = waiting.first().filter(|it| it.0 <= until).copied();
            let found = queue.pop(until).map(|(at, event)| match event {
                Event::Wake { host } => (at, host),
                _ => (at, u32::MAX),
            });
            assert_eq!(found, expected);
            if expected.is_some() {
                waiting.remove(0);
            }
            now = expected.map_or(until, |it| it.0);
            assert_eq!(queue.len(), waiting.len());
        }
        assert!(entered > 2_000);
    }
}
