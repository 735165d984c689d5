//! Documents beside the code: whatever test or file they name is there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Every file of Rust below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of tests: those that follow `#[test]` or tokio's, and those of conversations, before their
/// file.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let marked = |mark| text.split(mark).skip(1);
    let marks = ["#[test]", "#[tokio::test"];
    let functions = marks.into_iter().flat_map(marked).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split_once('(').map(|(name, _)| name)
    });
    let conversations = text.lines().filter_map(|line| {
        let (name, file) = line.trim().split_once(' ')?;
        file.ends_with(".txt\"").then_some(name)
    });
    functions.chain(conversations)
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A name of a test is a sentence, and so has a word or two more than any other name.
fn is_test(word: &str) -> bool {
    let is_name = word
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    is_name && word.matches('_').count() >= 3
}

/// The cells of a row of a table that is no heading.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text.lines().filter(|line| {
        line.starts_with("| ") && !line.contains("test |") && !line.contains("tests |")
    });
    rows.map(|line| line.trim_matches(['|', ' ']).split(" | ").collect())
}

/// A document of the project.
fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("docs").join(name)).unwrap()
}

/// The sources of all crates.
fn all_sources() -> Vec<String> {
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("crates"), &mut files);
    files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let sources = all_sources();
    let known: BTreeSet<&str> = sources.iter().flat_map(|text| tests(text)).collect();
    for name in ["protocol.md", "seed.md", "threat-model.md"] {
        let text = document(name);
        let named = quoted(&text).filter(|word| is_test(word));
        let missing: Vec<&str> = named.filter(|word| !known.contains(word)).collect();
        assert!(missing.is_empty(), "{name} names no test: {missing:#?}");
    }
}

#[test]
fn every_rule_of_the_protocol_names_a_test() {
    for row in rows(&document("protocol.md")) {
        let last = row.last().unwrap();
        assert!(
            quoted(last).any(is_test) || last.contains("namespaces"),
            "a rule without a test: {row:?}"
        );
    }
}

#[test]
fn every_point_of_the_seed_notes_has_a_decision_its_code_and_a_test() {
    let text = document("seed.md");
    let points: Vec<Vec<&str>> = rows(&text).collect();
    assert_eq!(points.len(), 43);
    for row in points {
        assert!(
            row.len() == 4 && row.iter().all(|cell| !cell.is_empty()),
            "{row:?}"
        );
        assert!(
            row[0].starts_with(|first: char| first.is_ascii_digit()),
            "{row:?}"
        );
        let tests: Vec<&str> = quoted(row[3]).collect();
        assert!(
            !tests.is_empty() && tests.iter().all(|test| is_test(test)),
            "{row:?}"
        );
    }
}

#[test]
fn every_file_that_the_protocol_names_exists() {
    let text = document("protocol.md");
    let places = [
        "",
        "crates/homa-proto/src",
        "crates/homa-net/src",
        "crates/homa-net/src/ip",
    ];
    let is_file = |word: &&str| word.ends_with(".rs") || word.ends_with('/');
    for word in quoted(&text).filter(is_file) {
        let exists = places
            .iter()
            .any(|place| Path::new(ROOT).join(place).join(word).exists());
        assert!(exists, "there is no {word}");
    }
}
