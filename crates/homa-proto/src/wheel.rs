//! Deadlines of many table entries, at most one each: a hierarchical timing wheel. To set, move
//! or clear one costs O(1); a turn costs what is due, not what exists. They lie in the entries, since
//! whoever sets one has the entry at hand, and mostly finds that an earlier one is set.
//!
//! *Design*: four levels of 64 slots; the lowest slot lasts a quarter of a millisecond, so a
//! deadline is kept at most that late; the topmost reaches 73 minutes, and later deadlines wait
//! there and are sorted in again.

use alloc::boxed::Box;

use crate::chunks::{Full, boxed};
use crate::list::{Chain, ChainLink, Chained};
use crate::slab::{Slab, Vacant};
use crate::time::Instant;

/// Nanoseconds of the lowest slot, as a power of two: 262,144.
const TICK_SHIFT: u32 = 18;
const LEVELS: u32 = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const TOP: u32 = LEVELS - 1;

/// Where an entry's deadline is kept: a slot's number over all levels, or one of these.
const UNSET: u16 = u16::MAX;
const DUE: u16 = u16::MAX - 1;

/// The deadline of an entry, which lies in the entry.
#[derive(Clone, Copy)]
pub(crate) struct Timer {
    /// Its tick, which has 46 bits, in the upper six bytes, and where it is kept.
    tick_and_place: u64,
    link: ChainLink,
}

impl Timer {
    /// No deadline: any is earlier.
    pub(crate) const NONE: Self = Self {
        tick_and_place: u64::MAX,
        link: ChainLink::NONE,
    };

    const fn new(tick: u64, place: u16, link: ChainLink) -> Self {
        Self {
            tick_and_place: tick << u16::BITS | place as u64,
            link,
        }
    }

    /// Whether it fires later than a moment that is to be met; an earlier one serves, since whoever is
    /// woken by it looks again.
    const fn is_after(&self, deadline: Instant) -> bool {
        tick_of(deadline) < self.tick()
    }

    /// Whether it may fire later than `nanoseconds` from now. A rough look, which costs less than the
    /// moment itself would.
    #[inline]
    pub(crate) const fn is_beyond(&self, now: Instant, nanoseconds: u64) -> bool {
        (now.as_nanos() >> TICK_SHIFT) + (nanoseconds >> TICK_SHIFT) < self.tick()
    }

    #[inline]
    const fn tick(&self) -> u64 {
        self.tick_and_place >> u16::BITS
    }

    const fn place(&self) -> u16 {
        self.tick_and_place as u16
    }
}

/// What has a deadline.
pub(crate) trait Timed: Vacant {
    fn timer(&mut self) -> &mut Timer;
}

/// The entries whose deadlines are kept in one place.
struct ByPlace;

impl<T: Timed> Chained<T> for ByPlace {
    #[inline]
    fn of(entry: &mut T) -> &mut ChainLink {
        &mut entry.timer().link
    }
}

/// The first tick at which a moment has passed.
const fn tick_of(moment: Instant) -> u64 {
    (moment.as_nanos().saturating_add((1 << TICK_SHIFT) - 1)) >> TICK_SHIFT
}

/// The deadlines of a table's entries, be these in use or not.
pub(crate) struct Wheel {
    slots: Box<[Chain<ByPlace>; SLOTS * LEVELS as usize]>,
    /// One bit a slot that is not empty.
    occupied: [u64; LEVELS as usize],
    /// Every tick up to this one was turned.
    now: u64,
    /// Entries whose tick was turned, to be popped.
    due: Chain<ByPlace>,
}

impl Wheel {
    pub(crate) fn new() -> Result<Self, Full> {
        Ok(Self {
            slots: boxed(|| Chain::EMPTY)?,
            occupied: [0; LEVELS as usize],
            now: 0,
            due: Chain::EMPTY,
        })
    }

    /// Sets the deadline of `index`, or moves it forward; an earlier one stays.
    pub(crate) fn set_at_latest<T: Timed>(
        &mut self,
        table: &mut Slab<T>,
        index: u32,
        deadline: Instant,
    ) {
        if table.at(index).timer().is_after(deadline) {
            self.set(table, index, deadline);
        }
    }

    /// Sets the deadline of `index`, whatever it was.
    fn set<T: Timed>(&mut self, table: &mut Slab<T>, index: u32, deadline: Instant) {
        self.clear(table, index);
        self.place(table, index, tick_of(deadline));
    }

    /// Takes the deadline of `index` away, if it has one.
    pub(crate) fn clear<T: Timed>(&mut self, table: &mut Slab<T>, index: u32) {
        let timer = core::mem::replace(table.at(index).timer(), Timer::NONE);
        match timer.place() {
            UNSET => {}
            DUE => self.due.remove(table, timer.link),
            place => self.unlink(table, usize::from(place), timer.link),
        }
    }

    fn unlink<T: Timed>(&mut self, table: &mut Slab<T>, slot: usize, link: ChainLink) {
        self.slots[slot].remove(table, link);
        if self.slots[slot].first().is_none() {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    fn place<T: Timed>(&mut self, table: &mut Slab<T>, index: u32, tick: u64) {
        if tick <= self.now {
            let link = self.due.append(table, index);
            *table.at(index).timer() = Timer::new(tick, DUE, link);
            return;
        }
        // The level is that of the highest digit in which deadline and present differ.
        let digit = (63 - (tick ^ self.now).leading_zeros()) / SLOT_BITS;
        let (level, number) = if digit < TOP {
            (digit, tick >> (SLOT_BITS * digit))
        } else {
            let furthest = (self.now >> (SLOT_BITS * TOP)) + SLOTS as u64 - 1;
            (TOP, (tick >> (SLOT_BITS * TOP)).min(furthest))
        };
        let slot = (number as usize) % SLOTS;
        let place = level as usize * SLOTS + slot;
        let link = self.slots[place].append(table, index);
        self.occupied[level as usize] |= 1 << slot;
        *table.at(index).timer() = Timer::new(tick, place as u16, link);
    }

    /// The next tick at which a slot has to be turned, and the slot.
    fn next_slot(&self) -> Option<(u64, usize)> {
        (0..LEVELS).find_map(|level| {
            let shift = SLOT_BITS * level;
            let number = self.now >> shift;
            let current = (number as usize) % SLOTS;
            // Bits in the order in which their slots come, the one behind the present first.
            let ahead = self.occupied[level as usize].rotate_right((current as u32 + 1) % 64);
            (ahead != 0).then(|| {
                let distance = ahead.trailing_zeros() + 1;
                let slot = (current + distance as usize) % SLOTS;
                let tick = (number + u64::from(distance)) << shift;
                (tick, level as usize * SLOTS + slot)
            })
        })
    }

    /// When [`turn`](Self::turn) has something to do; at most as late as the earliest deadline
    /// plus a tick.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        if self.due.first().is_some() {
            return Some(Instant::from_nanos(self.now << TICK_SHIFT));
        }
        let (tick, _) = self.next_slot()?;
        Some(Instant::from_nanos(tick.saturating_mul(1 << TICK_SHIFT)))
    }

    /// Moves the present forward, until `now` or until a slot held something due.
    fn turn<T: Timed>(&mut self, table: &mut Slab<T>, now: Instant) {
        let target = now.as_nanos() >> TICK_SHIFT;
        while self.due.first().is_none() {
            match self.next_slot() {
                Some((tick, slot)) if tick <= target => {
                    self.now = tick;
                    while let Some(index) = self.slots[slot].first() {
                        let timer = *table.at(index).timer();
                        self.unlink(table, slot, timer.link);
                        self.place(table, index, timer.tick());
                    }
                }
                _ => {
                    self.now = self.now.max(target);
                    return;
                }
            }
        }
    }

    /// The next entry whose deadline has passed; it has none afterwards.
    pub(crate) fn pop<T: Timed>(&mut self, table: &mut Slab<T>, now: Instant) -> Option<u32> {
        self.turn(table, now);
        let index = self.due.first()?;
        self.clear(table, index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    struct Entry(Timer);

    impl Vacant for Entry {
        type Alignment = u32;

        const VACANT: Self = Self(Timer::NONE);
    }

    impl Timed for Entry {
        fn timer(&mut self) -> &mut Timer {
            &mut self.0
        }
    }

    fn table(entries: u32) -> Slab<Entry> {
        let mut table = Slab::new(entries);
        (0..entries).for_each(|_| assert!(table.insert(Entry::VACANT).is_ok()));
        table
    }

    #[test]
    fn every_deadline_fires_once_within_a_tick_and_none_early() {
        let (mut wheel, mut table) = (Wheel::new().unwrap(), table(100));
        let mut deadlines: Vec<Option<u64>> = alloc::vec![None; 100];
        let mut now = 0_u64;
        let mut random = 3_u64;
        for _ in 0..200_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let index = (random >> 40) as usize % 100;
            if random >> 63 == 0 {
                // From half a millisecond to five hours, evenly over the magnitudes.
                let distance = 1 << (19 + (random >> 50) % 26);
                deadlines[index] = Some(now + distance);
                wheel.clear(&mut table, index as u32);
                wheel.set_at_latest(
                    &mut table,
                    index as u32,
                    Instant::from_nanos(now + distance),
                );
            } else if random >> 61 == 4 {
                deadlines[index] = None;
                wheel.clear(&mut table, index as u32);
            }
            now += (random >> 30) % 40_000_000;
            while let Some(index) = wheel.pop(&mut table, Instant::from_nanos(now)) {
                let deadline = deadlines[index as usize].take().expect("it was set");
                assert!(deadline <= now);
            }
            for deadline in deadlines.iter().flatten() {
                assert!(
                    deadline + (1 << TICK_SHIFT) > now,
                    "missed: {deadline} at {now}"
                );
            }
        }
    }

    #[test]
    fn what_is_due_and_was_not_popped_is_due_at_its_own_time() {
        let (mut wheel, mut table) = (Wheel::new().unwrap(), table(2));
        let deadline = Instant::from_nanos(1_000_000_000);
        wheel.set_at_latest(&mut table, 0, deadline);
        wheel.set_at_latest(&mut table, 1, deadline);
        let later = Instant::from_nanos(2_000_000_000);
        assert_eq!(wheel.pop(&mut table, later), Some(0));
        let turn = wheel.next_turn().unwrap();
        assert!((0..1 << TICK_SHIFT).contains(&turn.nanos_since(deadline)));
        assert_eq!(wheel.pop(&mut table, later), Some(1));
        assert_eq!(wheel.next_turn(), None);
    }

    #[test]
    fn the_next_turn_is_never_later_than_a_tick_behind_the_earliest_deadline() {
        let (mut wheel, mut table) = (Wheel::new().unwrap(), table(1));
        let mut now = Instant::from_nanos(12_345_678_901);
        assert_eq!(wheel.pop(&mut table, now), None);
        let deadline = Instant::from_nanos(98_765_432_109);
        wheel.set_at_latest(&mut table, 0, deadline);
        while let Some(turn) = wheel.next_turn() {
            assert!(turn > now && turn.as_nanos() < deadline.as_nanos() + (1 << TICK_SHIFT));
            now = turn;
            if wheel.pop(&mut table, now).is_some() {
                break;
            }
        }
        assert!(now >= deadline);
    }
}
