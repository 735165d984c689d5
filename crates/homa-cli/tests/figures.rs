//! `homa sim figures`: one table, and what is written of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_sweep_is_told_in_numbers_and_drawn_in_pictures_that_need_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_homa"))
        .args(["sim", "figures", "--brief", "--seeds", "1", "--load", "0.5"])
        .args(["--workload", "w1", "--topology", "leaf-spine:2x2x1"])
        .args(["--variant", "default,overcommit-1,overcommit-2"])
        .args(["--protocol", "homa,srpt,dctcp"])
        .args(["--json".as_ref(), file("figures.json").as_os_str()])
        .args(["--html".as_ref(), file("figures.html").as_os_str()])
        .args(["--pictures".as_ref(), directory.path().as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let figures: Value = serde_json::from_slice(&fs::read(file("figures.json")).unwrap()).unwrap();
    let rows = figures["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert!(row["p99_slowdown_short_half"].as_f64().unwrap() >= 1.0);
        let moments = row["over_time"].as_array().unwrap();
        assert!(moments.len() > 10, "{row}");
        let loads = moments
            .iter()
            .map(|moment| moment["load"].as_f64().unwrap());
        let mean = loads.sum::<f64>() / moments.len() as f64;
        assert!((0.1..1.0).contains(&mean), "{row}");
    }
    let page = fs::read_to_string(file("figures.html")).unwrap();
    let pictures = [
        "p99",
        "p50",
        "levels",
        "queues",
        "time",
        "wasted",
        "overcommitment",
    ];
    assert_eq!(page.matches("<svg").count(), pictures.len());
    for name in pictures {
        let picture = fs::read_to_string(file(&format!("w1-0.5-{name}.svg"))).unwrap();
        let picture = picture.replace("http://www.w3.org/2000/svg", "");
        assert!(
            picture.starts_with("<svg") && !picture.contains("http"),
            "{name}"
        );
    }
}
