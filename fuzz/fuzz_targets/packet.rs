//! Any bytes as a packet: parsing them never panics, and what it answers is true.
//!
//! ```text
//! cargo install cargo-fuzz
//! mkdir -p fuzz/found
//! cargo +nightly fuzz run packet fuzz/found fuzz/corpus/packet -- -max_len=128 -max_total_time=60
//! ```
//!
//! The first folder takes what the fuzzer finds interesting; the second, committed, holds the
//! packets to start from. The tests of `homa-proto` replay it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/homa-proto/tests/wire/law.rs"]
mod law;

fuzz_target!(|packet: &[u8]| {
    let _ = law::check(packet);
});
