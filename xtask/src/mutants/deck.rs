//! The order in which mutants are drawn. It depends on the seed and the list alone.

use std::collections::BTreeMap;

/// A small change of the engine that its tests should notice.
pub(crate) struct Mutant {
    /// As `cargo mutants --list` says it: file, line, column, and what is changed.
    pub(crate) name: String,
    /// The file, from the root of the workspace.
    pub(crate) file: String,
    /// The change, for `git apply -p0`.
    pub(crate) patch: String,
}

impl Mutant {
    /// Reads one entry of `cargo mutants --list --diff`: the name, and a diff in whose head that
    /// name stands again in the place of the second file.
    pub(crate) fn parse(entry: &str) -> Option<Self> {
        let mut parts = entry.splitn(4, '\n');
        let name = parts.next()?.to_owned();
        let file = parts.next()?.strip_prefix("--- ")?.to_owned();
        let hunks = parts.nth(1)?.trim_end_matches('\n');
        let patch = format!("--- {file}\n+++ {file}\n{hunks}\n");
        Some(Self { name, file, patch })
    }
}

/// Shuffles mutants so that each start of the order is a fair sample: one mutant of every file comes
/// first, and then each file has a share like its share of all mutants.
pub(crate) fn shuffle(mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
    let mut random = Random(seed);
    let mut files: BTreeMap<String, Vec<Mutant>> = BTreeMap::new();
    for mutant in mutants {
        files.entry(mutant.file.clone()).or_default().push(mutant);
    }
    let mut keyed = Vec::new();
    for mut file in files.into_values() {
        let count = file.len() as u64;
        let shift = random.below(1 << 20);
        for rank in 0..count {
            let mutant = file.swap_remove(random.below(file.len() as u64) as usize);
            let key = if rank == 0 {
                0
            } else {
                ((rank << 20) + shift) / count + 1
            };
            keyed.push((key, random.next(), mutant));
        }
    }
    keyed.sort_by_key(|&(key, tie, _)| (key, tie));
    keyed.into_iter().map(|(_, _, mutant)| mutant).collect()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`. The bias of the remainder is far below what a sample of hundreds shows.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(file: &str, count: usize) -> Vec<Mutant> {
        let entry =
            |index| format!("{file}:{index}:1: x\n--- {file}\n+++ x\n@@ -1 +1 @@\n-a\n+b\n");
        (0..count)
            .map(|index| Mutant::parse(&entry(index)).unwrap())
            .collect()
    }

    fn names(deck: &[Mutant]) -> Vec<&str> {
        deck.iter().map(|mutant| &*mutant.name).collect()
    }

    #[test]
    fn an_entry_becomes_a_patch_of_one_file() {
        let mutant = &mutants("a.rs", 1)[0];
        assert_eq!((&*mutant.name, &*mutant.file), ("a.rs:0:1: x", "a.rs"));
        assert_eq!(mutant.patch, "--- a.rs\n+++ a.rs\n@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn every_start_of_the_order_has_each_file_by_its_share() {
        let all = || -> Vec<Mutant> {
            let files = [("a.rs", 300), ("b.rs", 100), ("c.rs", 1)];
            files
                .into_iter()
                .flat_map(|(file, count)| mutants(file, count))
                .collect()
        };
        let deck = shuffle(all(), 7);
        assert_eq!(deck.len(), 401);
        let first: Vec<&str> = deck[..3].iter().map(|mutant| &*mutant.file).collect();
        assert!(
            ["a.rs", "b.rs", "c.rs"]
                .iter()
                .all(|file| first.contains(file))
        );
        let share = deck[..41]
            .iter()
            .filter(|mutant| mutant.file == "a.rs")
            .count();
        assert!((28..=32).contains(&share), "{share} of 41");
        assert_eq!(names(&deck), names(&shuffle(all(), 7)));
        assert_ne!(names(&deck), names(&shuffle(all(), 8)));
    }
}
