//! Laws that hold whatever is said and done: random games, and the corpus of the fuzzer.

use std::{fs, path::Path};

use crate::play::play;
use crate::world::Random;

/// Games of each kind; a release build plays the millions of packets that a debug build has no time
/// for.
const GAMES: u64 = if cfg!(debug_assertions) { 400 } else { 20_000 };

#[test]
fn random_games_break_no_law() {
    for seed in 0..GAMES {
        let mut random = Random(seed);
        let length = random.below(4_000) as usize;
        let script: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        play(&script);
    }
}
