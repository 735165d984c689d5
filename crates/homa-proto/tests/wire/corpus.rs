//! The corpus of the fuzz target, replayed without the fuzzer.

use std::collections::BTreeSet;
use std::{fs, path::Path};

use homa_proto::wire::Malformed;

use crate::golden::goldens;
use crate::law;

#[test]
fn the_fuzz_corpus_obeys_the_law_and_holds_every_golden_packet_and_every_refusal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/packet");
    let entries = fs::read_dir(folder).unwrap();
    let files: BTreeSet<Vec<u8>> = entries
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let mut refused = [0; Malformed::COUNT];
    for packet in &files {
        if let Err(reason) = law::check(packet) {
            refused[reason.index()] += 1;
        }
    }
    assert!(refused.iter().all(|&count| count > 0), "{refused:?}");
    for golden in goldens() {
        assert!(
            files.contains(&golden.bytes),
            "{} is not in the corpus",
            golden.name
        );
    }
}
