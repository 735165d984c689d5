//! Wrong usage of the real command: exit code 2, one line on standard error, nothing on standard
//! output.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::process::{Command, Output};

fn homa(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homa"))
        .args(words)
        .output()
        .unwrap()
}

fn refused(words: &[&str]) -> String {
    let output = homa(words);
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    assert_eq!(output.stdout, b"", "{words:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("homa: "), "{text}");
    text
}

#[test]
fn without_words_the_commands_are_told() {
    assert_eq!(
        refused(&[]),
        "homa: a command is missing; type: homa serve|call|demo|bench|lab|sim|dump|ss\n"
    );
}

#[test]
fn unknown_words_are_refused() {
    refused(&["frobnicate"]);
    refused(&["demo", "now"]);
    refused(&["demo", "--fast"]);
    refused(&["bench", "throughput"]);
    refused(&["dump"]);
    refused(&["dump", "x.pcap", "--live", "lo"]);
}

#[test]
fn bad_values_are_refused() {
    refused(&["demo", "--seconds", "-1"]);
    refused(&["demo", "--seconds", "many"]);
    refused(&["demo", "--load", "3"]);
    refused(&["demo", "--seed", "x"]);
    refused(&["demo", "--workload", "w6"]);
    refused(&["bench", "rtt", "--rounds", "0"]);
    refused(&["call", "127.0.0.1:1", "x", "--timeout", "soon"]);
    refused(&["sim", "figures", "--variant", "levels-9"]);
    refused(&["sim", "figures", "--pictures", "/nowhere/at/all"]);
}

#[test]
fn a_swarm_that_cannot_be_is_refused() {
    let told = |words: &[&str], why: &str| {
        let text = refused(&[&["sim", "swarm"], words].concat());
        assert!(text.contains(why), "{text}");
    };
    told(&["--plant", "moth"], "no planted bug has this name");
    told(&["--plant", "all", "--cover", "10"], "cannot be used with");
    for shard in ["0/2", "3/2", "1/0", "1", "half"] {
        told(&["--shard", shard], "a shard is I/N");
    }
    told(&["--seeds", "3", "--shard", "4/5"], "leave this one empty");
    told(&["--from", "18446744073709551615"], "go beyond 64 bits");
    told(&["--topology", "ring:4"], "a topology is pair");
    told(&["--topology", "fat-tree:3"], "an even radix");
    told(&["--topology", "star:1"], "at least 2 hosts");
    told(&["--topology", "star:1000"], "at most 128 hosts");
    told(&["--engines", "5"], "5 is not in 1..=4");
}

#[test]
fn a_workload_file_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.csv");
    std::fs::write(&file, "size_bytes,cumulative_fraction\n10,0.5\n5,1\n").unwrap();
    let text = refused(&["demo", "--workload", file.to_str().unwrap()]);
    assert!(
        text.contains("mine.csv: line 3: size 5 does not rise above 10"),
        "{text}"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for words in [&["--help"][..], &["demo", "--help"], &["--version"]] {
        let output = homa(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{words:?}"
        );
    }
    let help = String::from_utf8(homa(&["--help"]).stdout).unwrap();
    assert!(!help.contains("internal"), "{help}");
}
