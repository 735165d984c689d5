//! `homa sim swarm`: what it prints and writes, and its exit codes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn swarm(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homa"))
        .args(["sim", "swarm"])
        .args(words)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What many seeds reached, as the JSON file tells it.
fn coverage(file: &Path, words: &[&str]) -> BTreeMap<String, u64> {
    let output = swarm(&[words, &["--json", file.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    serde_json::from_value(value["coverage"].clone()).unwrap()
}

#[test]
fn shards_are_the_whole_together_and_runs_are_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("swarm.json");
    // Seeds have 64 bits.
    let seeds = ["--seeds", "7", "--from", "18446744073709551600"];
    let whole = coverage(&file, &seeds);
    assert_eq!(coverage(&file, &seeds), whole);
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let part = coverage(&file, &[&seeds[..], &["--shard", shard]].concat());
        for (name, count) in part {
            *sum.entry(name).or_default() += count;
        }
    }
    assert_eq!(sum, whole);
}

#[test]
fn what_too_few_seeds_reach_is_told() {
    let output = swarm(&["--seeds", "2", "--cover", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("reached by 0 seeds only: "));
}

#[test]
fn a_planted_bug_that_goes_unnoticed_is_a_failure_and_one_that_is_caught_is_not() {
    let caught = swarm(&["--seeds", "20", "--plant", "overshoots-grants"]);
    assert_eq!(caught.status.code(), Some(0));
    let last = text(&caught);
    assert!(
        last.lines()
            .last()
            .unwrap()
            .starts_with("1 of 1 planted bugs caught"),
        "{last}"
    );
    // Without faults damaged packets do not exist.
    let missed = swarm(&["--seeds", "2", "--fair", "--plant", "trusts-any-sum"]);
    assert_eq!(missed.status.code(), Some(1));
    assert!(text(&missed).contains("0 of 1 planted bugs caught"));
}

#[test]
fn a_capture_is_written_of_any_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.pcapng");
    let output = swarm(&["--seeds", "1", "--capture", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(bytes[..4], 0x0a0d_0d0a_u32.to_le_bytes());
}
