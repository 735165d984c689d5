//! Deadlines of many table entries, at most one each: a hierarchical timing wheel. To set, move
//! or clear one costs O(1); a turn costs what is due, not what exists.
//!
//! *Design*: four levels of 64 slots; the lowest slot lasts a quarter of a millisecond, so a
//! deadline is kept at most that late; the topmost reaches 73 minutes, and later deadlines wait
//! there and are sorted in again.

use alloc::boxed::Box;

use crate::chunks::{Chunks, Full, boxed};
use crate::list::{Links, List};
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

/// The deadline of an entry: its tick, which has 46 bits, in the upper six bytes, and where it is kept.
#[derive(Clone, Copy)]
struct Timer(u64);

impl Timer {
    /// No deadline: any is earlier.
    const NONE: Self = Self(u64::MAX);

    const fn new(tick: u64, place: u16) -> Self {
        Self(tick << u16::BITS | place as u64)
    }

    #[inline]
    const fn tick(self) -> u64 {
        self.0 >> u16::BITS
    }

    const fn place(self) -> u16 {
        self.0 as u16
    }
}

/// The first tick at which a moment has passed.
const fn tick_of(moment: Instant) -> u64 {
    (moment.as_nanos().saturating_add((1 << TICK_SHIFT) - 1)) >> TICK_SHIFT
}

/// The deadlines of a table's entries.
pub(crate) struct Wheel {
    links: Links,
    timers: Chunks<Timer>,
    slots: Box<[List; SLOTS * LEVELS as usize]>,
    /// One bit a slot that is not empty.
    occupied: [u64; LEVELS as usize],
    /// Every tick up to this one was turned.
    now: u64,
    /// Entries whose tick was turned, to be popped.
    due: List,
}

impl Wheel {
    pub(crate) fn new() -> Result<Self, Full> {
        Ok(Self {
            links: Links::new(),
            timers: Chunks::new(),
            slots: boxed(|| List::EMPTY)?,
            occupied: [0; LEVELS as usize],
            now: 0,
            due: List::EMPTY,
        })
    }

    /// Makes room for entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.links.ensure(index)?;
        self.timers.ensure(index, Timer::NONE)
    }

    /// Sets the deadline of `index`, or moves it forward; an earlier one stays, since whoever is
    /// woken by it looks again.
    #[inline(always)]
    pub(crate) fn set_at_latest(&mut self, index: u32, deadline: Instant) {
        let tick = tick_of(deadline);
        if tick < self.timers[index].tick() {
            self.move_to(index, tick);
        }
    }

    #[inline(never)]
    fn move_to(&mut self, index: u32, tick: u64) {
        self.clear(index);
        self.place(index, tick);
    }

    /// Takes the deadline of `index` away, if it has one.
    pub(crate) fn clear(&mut self, index: u32) {
        match self.timers[index].place() {
            UNSET => return,
            DUE => self.links.remove(&mut self.due, index),
            place => self.unlink(index, place),
        }
        self.timers[index] = Timer::NONE;
    }

    fn unlink(&mut self, index: u32, place: u16) {
        let list = &mut self.slots[usize::from(place)];
        self.links.remove(list, index);
        if list.first().is_none() {
            self.occupied[usize::from(place) / SLOTS] &= !(1 << (usize::from(place) % SLOTS));
        }
    }

    fn place(&mut self, index: u32, tick: u64) {
        if tick <= self.now {
            self.links.push_back(&mut self.due, index);
            self.timers[index] = Timer::new(tick, DUE);
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
        self.links.push_back(&mut self.slots[place], index);
        self.occupied[level as usize] |= 1 << slot;
        self.timers[index] = Timer::new(tick, place as u16);
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
    fn turn(&mut self, now: Instant) {
        let target = now.as_nanos() >> TICK_SHIFT;
        while self.due.first().is_none() {
            match self.next_slot() {
                Some((tick, slot)) if tick <= target => {
                    self.now = tick;
                    while let Some(index) = self.slots[slot].first() {
                        self.unlink(index, slot as u16);
                        self.place(index, self.timers[index].tick());
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
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        self.turn(now);
        let index = self.due.first()?;
        self.clear(index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_deadline_fires_once_within_a_tick_and_none_early() {
        let mut wheel = Wheel::new().unwrap();
        wheel.ensure(99).unwrap();
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
                wheel.clear(index as u32);
                wheel.set_at_latest(index as u32, Instant::from_nanos(now + distance));
            } else if random >> 61 == 4 {
                deadlines[index] = None;
                wheel.clear(index as u32);
            }
            now += (random >> 30) % 40_000_000;
            while let Some(index) = wheel.pop(Instant::from_nanos(now)) {
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
        let mut wheel = Wheel::new().unwrap();
        wheel.ensure(1).unwrap();
        let deadline = Instant::from_nanos(1_000_000_000);
        wheel.set_at_latest(0, deadline);
        wheel.set_at_latest(1, deadline);
        let later = Instant::from_nanos(2_000_000_000);
        assert_eq!(wheel.pop(later), Some(0));
        let turn = wheel.next_turn().unwrap();
        assert!((0..1 << TICK_SHIFT).contains(&turn.nanos_since(deadline)));
        assert_eq!(wheel.pop(later), Some(1));
        assert_eq!(wheel.next_turn(), None);
    }

    #[test]
    fn the_next_turn_is_never_later_than_a_tick_behind_the_earliest_deadline() {
        let mut wheel = Wheel::new().unwrap();
        wheel.ensure(0).unwrap();
        let mut now = Instant::from_nanos(12_345_678_901);
        assert_eq!(wheel.pop(now), None);
        let deadline = Instant::from_nanos(98_765_432_109);
        wheel.set_at_latest(0, deadline);
        while let Some(turn) = wheel.next_turn() {
            assert!(turn > now && turn.as_nanos() < deadline.as_nanos() + (1 << TICK_SHIFT));
            now = turn;
            if wheel.pop(now).is_some() {
                break;
            }
        }
        assert!(now >= deadline);
    }
}
