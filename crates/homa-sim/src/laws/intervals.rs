//! Which bytes of a message are there. A law's own book-keeping, kept simple.

/// A set of bytes, as ranges in order that neither touch nor overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    ranges: Vec<(u32, u32)>,
    count: u32,
}

impl Intervals {
    /// Adds bytes `start..end`; `false` if one of them was there.
    pub(crate) fn add(&mut self, start: u32, end: u32) -> bool {
        let place = self.ranges.partition_point(|&(_, below)| below < start);
        let next = self.ranges.get(place).copied();
        if next.is_some_and(|(from, to)| from < end && to > start) {
            return false;
        }
        self.count += end - start;
        match next {
            // It follows the one before; there may be one that follows it in turn.
            Some((_, to)) if to == start => {
                self.ranges[place].1 = end;
                if let Some(&(from, to)) = self.ranges.get(place + 1) {
                    if from < end {
                        return false;
                    }
                    if from == end {
                        self.ranges[place].1 = to;
                        self.ranges.remove(place + 1);
                    }
                }
            }
            Some((from, _)) if from == end => self.ranges[place].0 = start,
            _ => self.ranges.insert(place, (start, end)),
        }
        true
    }

    /// Holes below the last byte that is there.
    pub(crate) fn gaps(&self) -> usize {
        let begins = self.ranges.first().is_some_and(|&(start, _)| start == 0);
        self.ranges.len() - usize::from(begins)
    }

    /// Bytes that are there.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_added_once_whatever_the_order() {
        let mut set = Intervals::default();
        assert!(set.add(10, 20) && set.add(30, 40) && set.add(20, 30) && set.add(0, 10));
        assert_eq!((set.count(), set.ranges.len()), (40, 1));
        for (start, end) in [(0, 1), (39, 41), (5, 35), (10, 20)] {
            assert!(!set.clone().add(start, end), "{start}..{end}");
        }
        assert!(set.add(50, 60) && !set.clone().add(40, 51));
    }
}
