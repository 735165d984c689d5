//! The real `lab`, slow enough for any machine.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_lab_measures_its_own_network_or_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_homa"));
    command.args([
        "lab", "check", "--hosts", "3", "--rate", "5", "--buffer", "60000", "--json",
    ]);
    let output = command.arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    if text.is_empty() {
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("cannot run the lab: "), "{errors}");
        return;
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let findings = json.as_array().unwrap();
    assert_eq!(findings.len(), 6, "{text}");
    // Which promises this machine can keep while other tests run is not the question here; the
    // exit code has to tell.
    let all_kept = findings.iter().all(|finding| finding["is_kept"] == true);
    assert_eq!(output.status.success(), all_kept, "{text}{errors}");
    // What the rule of the buffer holds does not depend on how busy the machine is.
    let shared = findings
        .iter()
        .find(|f| f["promise"] == "one queue takes half the buffer");
    let held = shared.unwrap()["found"].as_str().unwrap();
    assert!(!held.starts_with("0.0 %"), "{held}");
}

#[test]
fn the_lab_compares_protocols_or_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_homa"));
    command.args([
        "lab",
        "--workload",
        "w1",
        "--hosts",
        "3",
        "--rate",
        "5",
        "--load",
        "0.2",
    ]);
    command.args([
        "--buffer",
        "256000",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--allow-late",
    ]);
    command.args(["--protocols", "homa,tcp_cubic_pair", "--json"]);
    let output = command.arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("cannot lay the network: "), "{errors}");
        return;
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let rows = json["cases"][0]["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| &row["protocol"]).collect();
    assert_eq!(names, ["homa", "tcp_cubic_pair", "homa_virtual"]);
    // In virtual time no machine is too slow.
    assert!(rows[2]["delivered"].as_f64().unwrap() > 0.99, "{rows:?}");
    for row in rows {
        assert!(row["short_p99_us"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["mean_slowdown"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(
        json["ratios"]["w1/256k/homa/delivered"].as_f64().unwrap() > 0.5,
        "{json}"
    );
}
