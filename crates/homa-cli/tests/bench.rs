//! The real `bench`, in short: what it prints, what it writes, and how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod running;

use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use running::{HOMA, Running, children_of, processes, typed};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

/// Turns as short as they may be; other tests run beside them, so every sample is allowed.
const SHORT: [&str; 6] = [
    "--rounds",
    "1",
    "--seconds",
    "0.02",
    "--allow-dirty",
    "--json",
];

fn bench(words: &[&str]) -> Output {
    let mut command = Command::new(HOMA);
    command.arg("bench").args(words).output().unwrap()
}

/// Runs a benchmark and returns its table and its file.
fn measure(words: &[&str]) -> (String, Value) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bench.json");
    let output = bench(&[words, &SHORT, &[file.to_str().unwrap()]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let json = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), json)
}

fn expect_ratios(json: &Value, keys: &[&str]) {
    for key in keys {
        let ratio = json["ratios"][key].as_f64();
        assert!(ratio.is_some_and(|ratio| ratio > 0.0), "{key}: {json}");
    }
}

fn expect_rows(table: &str, json: &Value, names: &[&str]) {
    for name in names {
        let rows = json["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["variant"] == *name).unwrap();
        for figure in ["figure", "client_cpu_s", "server_cpu_s"] {
            assert!(row[figure].as_f64().unwrap() > 0.0, "{figure}: {row}");
        }
        assert!(table.lines().any(|line| line.starts_with(name)), "{table}");
    }
}

#[test]
fn rtt_measures_every_way_of_waiting() {
    let (table, json) = measure(&["rtt"]);
    let names = [
        "homa_spin",
        "homa_block",
        "homa_tokio",
        "udp_spin",
        "udp_block",
        "udp_tokio",
        "tcp_spin",
        "tcp_block",
        "tcp_tokio",
    ];
    expect_rows(&table, &json, &names);
    let keys = [
        "homa_spin/udp_spin",
        "homa_spin/tcp_spin",
        "homa_block/udp_block",
        "homa_tokio/udp_tokio",
        "homa_tokio/tcp_tokio",
    ];
    expect_ratios(&json, &keys);
}

#[test]
fn bulk_measures_floors_of_both_sizes() {
    let (table, json) = measure(&["bulk"]);
    expect_rows(
        &table,
        &json,
        &[
            "homa",
            "udp_gso_gro_1472",
            "udp_gso_gro_1416",
            "udp_mmsg_1472",
        ],
    );
    expect_ratios(&json, &["homa/udp_gso_gro", "homa/tcp", "homa/homa_copied"]);
}

#[test]
fn rate_measures_many_rpcs_at_once() {
    let (table, json) = measure(&["rate"]);
    expect_rows(&table, &json, &["homa", "udp_single", "tcp_batched"]);
    expect_ratios(
        &json,
        &[
            "homa/udp_gso_gro",
            "homa/tcp_per_message",
            "homa_tokio/tcp_tokio",
            "homa/homa_singly",
            "homa_tokio_all/homa_tokio",
        ],
    );
}

#[test]
fn threads_on_one_socket_are_compared_with_one() {
    let (table, json) = measure(&["rate", "--threads"]);
    expect_rows(&table, &json, &["threads_1", "threads_2", "threads_4"]);
    expect_ratios(&json, &["threads_2/threads_1", "threads_4/threads_1"]);
}

#[test]
fn mix_compares_short_messages_and_slowdowns_at_each_load() {
    // A light load, because this build is not optimised.
    let (table, json) = measure(&["mix", "--load", "0.01,0.02"]);
    expect_ratios(
        &json,
        &[
            "0.01/tcp/homa_p99_short",
            "0.02/tcp/homa_mean",
            "tcp/homa_p99_short",
            "tcp/homa_mean",
        ],
    );
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{table}");
    for row in rows {
        assert!(
            row["short_p99_us"].as_f64() >= row["short_p50_us"].as_f64(),
            "{row}"
        );
        assert!(row["mean_slowdown"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn a_page_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bench.html");
    let words = [
        "rtt",
        "--only",
        "udp_spin",
        "--html",
        file.to_str().unwrap(),
    ];
    assert!(bench(&[&words, &SHORT[..5]].concat()).status.success());
    let page = fs::read_to_string(file).unwrap();
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("<svg"),
        "{page}"
    );
}

#[test]
fn many_peers_leave_out_what_talks_to_one() {
    let (table, json) = measure(&["rate", "--peers", "64"]);
    assert_eq!(json["peers"], 64);
    expect_ratios(&json, &["homa/udp_mmsg"]);
    assert!(!table.contains("tcp_batched"), "{table}");
}

#[test]
fn one_variant_can_be_measured_alone() {
    let (table, json) = measure(&["rtt", "--only", "udp_spin"]);
    assert_eq!(json["rows"].as_array().unwrap().len(), 1, "{table}");
    assert_eq!(json["ratios"].as_object().unwrap().len(), 0);
    let output = bench(&["rtt", "--only", "sctp"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("no variant of rtt is called sctp; there are homa_spin"),
        "{errors}"
    );
}

#[test]
fn without_the_kernel_module_one_line_says_how_to_load_it() {
    for what in ["rtt", "bulk"] {
        let words = [what, "--link", "kernel", "--only", "udp_block"];
        let output = bench(&[&words, &SHORT[..5]].concat());
        // A machine that has it measures.
        if output.status.success() {
            continue;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains("modprobe homa"), "{errors}");
    }
}

#[test]
fn a_virtual_cable_is_laid_or_the_missing_right_is_named() {
    let words = ["rate", "--over", "veth-wire", "--only", "homa,udp_gso_gro"];
    let output = bench(&[&words, &SHORT[..5]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {
            let table = String::from_utf8(output.stdout).unwrap();
            assert!(
                table.contains("over a veth pair with MTU 1500, tso and"),
                "{table}"
            );
            assert!(table.contains("homa/udp_gso_gro"), "{table}");
        }
        code => {
            assert_eq!(code, Some(1), "{errors}");
            assert!(
                errors.contains("takes root") && errors.contains("--over loopback"),
                "{errors}"
            );
        }
    }
}

#[test]
fn nothing_is_left_of_a_run_that_is_interrupted() {
    for over in ["loopback", "veth"] {
        let mut command = typed();
        command.args(["bench", "rtt", "--rounds", "100", "--allow-dirty"]);
        command.args(["--over", over]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut bench = Running(command.spawn().unwrap());
        let pid = bench.pid();
        let children = loop {
            let children = children_of(pid);
            if children.len() == 2 || bench.0.try_wait().unwrap().is_some() {
                break children;
            }
        };
        // Where cables may not be laid, it has ended by itself.
        let _ = kill_process(pid, Signal::INT);
        let begun = Instant::now();
        let status = loop {
            assert!(begun.elapsed() < Duration::from_secs(10), "over {over}");
            match bench.0.try_wait().unwrap() {
                Some(status) => break status,
                None => thread::yield_now(),
            }
        };
        assert!(!status.success());
        let namespaces: Vec<_> = children
            .iter()
            .filter_map(|child| namespace_of(*child))
            .collect();
        let own = namespace_of(std::process::id() as i32).unwrap();
        let is_left = |process| {
            children.contains(&process)
                || namespace_of(process).is_some_and(|of| of != own && namespaces.contains(&of))
        };
        let begun = Instant::now();
        while processes().any(is_left) {
            assert!(begun.elapsed() < Duration::from_secs(10), "over {over}");
            thread::yield_now();
        }
    }
}

/// The name of a process's network namespace: it ends when no process has it.
fn namespace_of(process: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

#[test]
fn the_doctor_says_what_spoils_a_measurement_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("doctor.json");
    let output = bench(&["doctor", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let subjects = [
        "congestion control",
        "pinning",
        "offloads",
        "steal",
        "foreign load",
        "frequency",
        "buffer limits",
    ];
    for subject in subjects {
        assert!(text.contains(subject), "{subject}: {text}");
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for finding in json.as_array().unwrap() {
        let is_fine = finding["verdict"] == "fine";
        assert_eq!(finding["advice"] == "", is_fine, "{finding}");
    }
}

#[test]
fn several_engines_are_compared_with_one() {
    if thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
        let (_, json) = measure(&["rate", "--engines", "2"]);
        assert_eq!(json["peers"], 64);
        expect_ratios(&json, &["engines_2/engines_1"]);
    }
    let output = bench(&["rate", "--engines", "3"]);
    assert_eq!(output.status.code(), Some(2));
}
