//! What happens next: events in order of time, and of entry among those of one moment.
//!
//! *Design*: a calendar of short buckets that goes round, for the near future, and a heap for what
//! lies beyond it. Nearly all events of a busy network are a few microseconds away: entering one is
//! putting it in front of its bucket's list, and a bucket is sorted once, when its time comes. The
//! places of events are used again, the last one first, so that they stay in the cache; with a
//! growing array for each bucket every event was entered in memory that had last been used a turn
//! of the calendar ago. A heap alone took a third of a run's instructions.

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

/// Nanoseconds of a bucket, as a power of two: some ten events of a busy network.
const BUCKET_BITS: u32 = 3;

/// Buckets: 33 µs together.
const BUCKETS: u64 = 4_096;

/// "No place": the end of a list.
const NOWHERE: u32 = u32::MAX;

/// An event that is near, in the list of its bucket; or a free place, in the list of those.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    event: Event,
    next: u32,
}

/// Which buckets are not empty: a bit for each, and one for every 64 of those.
struct Occupied {
    words: [u64; (BUCKETS / 64) as usize],
    summary: u64,
}

impl Occupied {
    const EMPTY: Self = Self {
        words: [0; (BUCKETS / 64) as usize],
        summary: 0,
    };

    fn set(&mut self, position: usize) {
        self.words[position / 64] |= 1 << (position % 64);
        self.summary |= 1 << (position / 64);
    }

    fn clear(&mut self, position: usize) {
        self.words[position / 64] &= !(1 << (position % 64));
        if self.words[position / 64] == 0 {
            self.summary &= !(1 << (position / 64));
        }
    }

    /// The first that is not empty from `position` on, going round.
    fn next(&self, position: usize) -> Option<usize> {
        let word = position / 64;
        let here = self.words[word] & (u64::MAX << (position % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let others = self.summary & (u64::MAX << word) & !(1 << word);
        let others = if others == 0 { self.summary } else { others };
        let word = (others != 0).then(|| others.trailing_zeros() as usize)?;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }
}

/// Events to come.
pub(crate) struct Queue {
    /// Events of the bucket `current`, and what was entered for earlier ones: the next one last.
    now: Vec<(u64, Event)>,
    /// Number of that bucket, counted from the origin of time.
    current: u64,
    /// Events of the `BUCKETS` - 1 buckets after it.
    places: Vec<Place>,
    free: u32,
    /// The event that was entered last into each bucket, and leads to those before.
    newest: Vec<u32>,
    occupied: Occupied,
    /// What is further away, by time and entry.
    far: BinaryHeap<Reverse<(u64, u64, Event)>>,
    far_entered: u64,
    count: usize,
}

const fn position(bucket: u64) -> usize {
    (bucket % BUCKETS) as usize
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            now: Vec::new(),
            current: 0,
            places: Vec::new(),
            free: NOWHERE,
            newest: vec![NOWHERE; BUCKETS as usize],
            occupied: Occupied::EMPTY,
            far: BinaryHeap::new(),
            far_entered: 0,
            count: 0,
        }
    }

    /// Enters an event for the moment `at`, in nanoseconds.
    #[inline]
    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        let bucket = at >> BUCKET_BITS;
        if bucket <= self.current {
            let place = self.now.partition_point(|&(other, _)| other > at);
            self.now.insert(place, (at, event));
        } else if bucket < self.current + BUCKETS {
            self.enter(bucket, at, event);
        } else {
            self.far_entered += 1;
            self.far.push(Reverse((at, self.far_entered, event)));
        }
    }

    fn enter(&mut self, bucket: u64, at: u64, event: Event) {
        let newest = &mut self.newest[position(bucket)];
        let entered = Place {
            at,
            event,
            next: *newest,
        };
        match self.places.get_mut(self.free as usize) {
            Some(place) => {
                *newest = core::mem::replace(&mut self.free, place.next);
                *place = entered;
            }
            None => {
                *newest = self.places.len() as u32;
                self.places.push(entered);
            }
        }
        self.occupied.set(position(bucket));
    }

    /// Number of the next bucket after the current one that is not empty, unless it is far away.
    fn next_bucket(&self) -> Option<u64> {
        let here = position(self.current);
        let found = self.occupied.next(here)? as u64;
        let ahead = (found + BUCKETS - here as u64) % BUCKETS;
        Some(self.current + ahead)
    }

    /// When the next event happens.
    pub(crate) fn next(&self) -> Option<u64> {
        if let Some(&(at, _)) = self.now.last() {
            return Some(at);
        }
        let Some(bucket) = self.next_bucket() else {
            return self.far.peek().map(|Reverse((at, ..))| *at);
        };
        let (mut earliest, mut next) = (u64::MAX, self.newest[position(bucket)]);
        while let Some(place) = self.places.get(next as usize) {
            earliest = earliest.min(place.at);
            next = place.next;
        }
        Some(earliest)
    }

    /// The next event, if it happens at `until` or before.
    #[inline]
    pub(crate) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        if self.now.is_empty() && !self.turn(until) {
            return None;
        }
        let next = self.now.pop_if(|&mut (at, _)| at <= until)?;
        self.count -= 1;
        Some(next)
    }

    /// Makes the bucket of the next event the current one, if it begins at `until` or before;
    /// what is entered for a moment in an earlier one finds its place before it.
    fn turn(&mut self, until: u64) -> bool {
        let next = self.next_bucket().or_else(|| {
            let Reverse((at, ..)) = self.far.peek()?;
            Some(at >> BUCKET_BITS)
        });
        let Some(bucket) = next.filter(|bucket| bucket << BUCKET_BITS <= until) else {
            return false;
        };
        self.current = bucket;
        self.fetch();
        let here = position(bucket);
        let mut next = core::mem::replace(&mut self.newest[here], NOWHERE);
        self.occupied.clear(here);
        while let Some(place) = self.places.get_mut(next as usize) {
            self.now.push((place.at, place.event));
            let taken = core::mem::replace(&mut next, place.next);
            place.next = core::mem::replace(&mut self.free, taken);
        }
        // The list has the newest first: of one moment's events the oldest stays the last.
        self.now.sort_by_key(|&(at, _)| Reverse(at));
        true
    }

    /// Moves what is not far away any more into its buckets, before anything later is entered
    /// there.
    fn fetch(&mut self) {
        while let Some(&Reverse((at, _, event))) = self.far.peek() {
            let bucket = at >> BUCKET_BITS;
            if bucket >= self.current + BUCKETS {
                return;
            }
            self.far.pop();
            self.enter(bucket, at, event);
        }
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
