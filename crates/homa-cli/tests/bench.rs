//! The real `bench rtt`, in short.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn it_measures_every_variant_and_writes_ratios() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rtt.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_homa"));
    command
        .args(["bench", "rtt", "--rounds", "1", "--json"])
        .arg(&file);
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let table = String::from_utf8(output.stdout).unwrap();
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for protocol in ["homa", "udp", "tcp"] {
        for waiting in ["spin", "block", "tokio"] {
            let name = format!("{protocol}_{waiting}");
            let rows = json["rows"].as_array().unwrap();
            let row = rows.iter().find(|row| row["variant"] == *name).unwrap();
            assert!(row["p50_us"].as_f64().unwrap() > 0.0, "{row}");
            assert!(table.lines().any(|line| line.starts_with(&name)), "{table}");
            let ratio = &json["ratios"][format!("{name}/udp_{waiting}")];
            assert_eq!(ratio.is_f64(), protocol != "udp", "{name}: {ratio}");
        }
    }
    assert!(json["ratios"]["homa_spin/tcp_spin"].is_f64());
}
