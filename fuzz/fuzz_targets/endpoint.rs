//! Two engines and a stranger, driven by any bytes: calls, packets delivered, lost, doubled, damaged
//! or made up, time and deadlines. No panic, no table beyond its limit, no packet uncounted, no
//! request run twice, and in the end everything is empty.
//!
//! ```text
//! mkdir -p fuzz/found
//! cargo +nightly fuzz run endpoint fuzz/found fuzz/corpus/endpoint -- -max_total_time=60
//! ```
//!
//! The first folder takes what the fuzzer finds interesting; the second, committed, holds the
//! games to start from. The tests of `homa-proto` replay it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/homa-proto/tests/pair/play.rs"]
mod game;

fuzz_target!(|script: &[u8]| game::play(script));
