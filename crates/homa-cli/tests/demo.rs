//! The real demo, in short: what it prints, and what it writes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homa"));
    command.arg("demo").args(words).output().unwrap()
}

fn rows<'a>(json: &'a Value, protocol: &'a str) -> impl Iterator<Item = &'a Value> {
    let rows = json["rows"].as_array().unwrap().iter();
    rows.filter(move |row| row["protocol"] == protocol)
}

#[test]
fn it_measures_both_protocols_and_writes_what_it_promises() {
    let directory = tempfile::tempdir().unwrap();
    let [json, html] = ["demo.json", "demo.html"].map(|name| directory.path().join(name));
    let files = [
        "--json",
        json.to_str().unwrap(),
        "--html",
        html.to_str().unwrap(),
    ];
    // A light load, because this build is not optimised and other tests run beside it.
    let output = demo(
        &[
            &["--seconds", "2", "--load", "0.02", "--workload", "w4"],
            &files[..],
        ]
        .concat(),
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");

    let table = String::from_utf8(output.stdout).unwrap();
    for expected in ["Homa", "TCP", "p50 µs", "slow99", "≤1000000", "loopback"] {
        assert!(
            table.contains(expected),
            "{expected} is missing in:\n{table}"
        );
    }

    let json: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(
        (&json["workload"], &json["errors"], &json["corrupt"]),
        (&"w4".into(), &0.into(), &0.into())
    );
    for protocol in ["homa", "tcp"] {
        let count: u64 = rows(&json, protocol)
            .map(|row| row["count"].as_u64().unwrap())
            .sum();
        assert!(count > 0, "{protocol} carried nothing");
        assert!(rows(&json, protocol).count() >= 8);
        for row in rows(&json, protocol).filter(|row| row["count"] != 0) {
            let [p50, p99, slow50, slow99] = ["p50_us", "p99_us", "slowdown_p50", "slowdown_p99"]
                .map(|f| row[f].as_f64().unwrap());
            assert!(row["size_max"].is_u64() && 0.0 < p50 && p50 <= p99, "{row}");
            assert!(0.0 < slow50 && slow50 <= slow99, "{row}");
        }
    }

    let html = fs::read_to_string(html).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.matches("<svg").count() == 2);
    // The name of the SVG name space is no address that is fetched.
    let html = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!html.contains("http") && !html.contains("<script"));
}

#[test]
fn a_file_gives_the_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let [csv, json] = ["two.csv", "two.json"].map(|name| directory.path().join(name));
    fs::write(&csv, "size_bytes,cumulative_fraction\n100,0.5\n3000,1\n").unwrap();
    let (csv, json) = (csv.to_str().unwrap(), json.to_str().unwrap());
    let output = demo(&[
        "--seconds",
        "1",
        "--load",
        "0.01",
        "--workload",
        csv,
        "--json",
        json,
    ]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(json["workload"], "two");
    let sizes: Vec<u64> = rows(&json, "homa")
        .map(|row| row["size_max"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [100, 3000]);
}

#[test]
fn a_file_that_cannot_be_written_is_a_failure() {
    let output = demo(&[
        "--seconds",
        "1",
        "--load",
        "0.01",
        "--json",
        "/nowhere/demo.json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("/nowhere/demo.json: No such file or directory"),
        "{errors}"
    );
}
