//! `homa dump` on captures of the reference module, of the simulator, and on files that are neither
//! whole nor captures.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn homa(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homa"))
        .args(words)
        .output()
        .unwrap()
}

/// A capture of the reference module.
fn capture(name: &str) -> PathBuf {
    let captures = "../homa-proto/tests/captures";
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(captures)
        .join(name)
}

fn dump(words: &[&str], name: &str) -> String {
    let output = homa(&[&["dump"][..], words, &[capture(name).to_str().unwrap()]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many packets there are of each type.
fn counts(name: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for object in objects(&dump(&["--json"], name)) {
        *counts
            .entry(object["type"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn every_packet_of_the_reference_is_shown_with_its_type() {
    assert_eq!(
        counts("short_rpc_100B.pcap"),
        expected([("DATA", 2), ("NEED_ACK", 1)])
    );
    let granted = [
        ("DATA", 144),
        ("GRANT", 143),
        ("RESEND", 1),
        ("BUSY", 1),
        ("NEED_ACK", 1),
    ];
    assert_eq!(counts("rpc_100KB.pcap"), expected(granted));
    assert_eq!(
        counts("rpc_100KB_window20000.pcap"),
        expected([("DATA", 144), ("GRANT", 36), ("NEED_ACK", 1)])
    );
    let lost = [
        ("DATA", 161),
        ("GRANT", 143),
        ("RESEND", 11),
        ("BUSY", 1),
        ("NEED_ACK", 1),
        ("ACK", 1),
    ];
    assert_eq!(counts("rpc_100KB_rxdrops.pcap"), expected(lost));
}

#[test]
fn hijacked_packets_are_shown_and_packets_captured_before_segmentation_in_segments() {
    let name = "rpc_100KB_hijack_gso.pcap";
    let cut = [
        ("DATA", 147),
        ("GRANT", 74),
        ("RESEND", 2),
        ("NEED_ACK", 2),
        ("ACK", 1),
    ];
    assert_eq!(counts(name), expected(cut));
    let objects = objects(&dump(&["--json"], name));
    assert!(objects.iter().any(|object| object["carrier"] == "tcp"));
    let pieces = objects.iter().filter(|object| object["segment"].is_u64());
    assert!(pieces.clone().count() > 60);
    assert!(
        pieces
            .clone()
            .all(|piece| piece["packet_length"].as_u64() <= Some(1_480))
    );
}

#[test]
fn a_line_says_what_the_packet_says() {
    let text = dump(&[], "short_rpc_100B.pcap");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "   0.000000000 ip     10.77.0.2:32773 > 10.77.0.3:4500 DATA id 28612 0..100 of 100 \
             incoming 100 cutoff_version 1, level 7",
            "   0.002250000 ip     10.77.0.3:4500 > 10.77.0.2:32773 DATA id 28613 0..100 of 100 \
             incoming 100 cutoff_version 1, level 7",
            "   0.005359000 ip     10.77.0.3:4500 > 10.77.0.2:32773 NEED_ACK id 28613, level 7",
        ]
    );
}

#[test]
fn every_field_of_a_header_is_told_as_it_is_on_the_wire() {
    let first = &objects(&dump(&["--json"], "short_rpc_100B.pcap"))[0];
    let fields = [
        ("sport", 32_773),
        ("dport", 4_500),
        ("sequence", 0),
        ("type_code", 0x10),
        ("doff", 14),
        ("flags", 6),
        ("window", 0),
        ("urgent", 0xb97d),
        ("sender_id", 28_612),
        ("message_length", 100),
        ("incoming", 100),
        ("cutoff_version", 1),
        ("retransmit", 0),
        ("seg_offset", u64::from(u32::MAX)),
        ("offset", 0),
        ("payload_length", 100),
    ];
    for (name, value) in fields {
        assert_eq!(first[name], value, "{name}");
    }
}

#[test]
fn the_timeline_of_an_rpc_tells_losses_grants_and_resends() {
    let text = dump(&["--rpcs"], "rpc_100KB_rxdrops.pcap");
    assert!(text.starts_with("RPC 4: 10.77.0.2:32769 > 10.77.0.3:4500, 17.689 ms\n"));
    assert!(
        text.contains(
            "request:  100000 bytes in 89 packets, 17 of them again, 72 grants, 10 resends"
        )
    );
    assert!(text.contains("< RESEND "));
    assert!(text.contains(" again, "));
    let rpcs = objects(&dump(&["--rpcs", "--json"], "rpc_100KB_rxdrops.pcap"));
    assert_eq!(rpcs[0]["type"], "rpc");
    assert_eq!(rpcs[0]["request"]["missing_bytes"], 0);
    assert_eq!(rpcs[0]["response"]["resends"], 1);
}

#[test]
fn the_packets_of_a_simulated_network_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.pcapng");
    let file = file.to_str().unwrap();
    let ran = homa(&[
        "sim",
        "swarm",
        "--seeds",
        "1",
        "--from",
        "3",
        "--capture",
        file,
    ]);
    assert!(ran.status.success(), "{ran:?}");
    let output = homa(&["dump", "--json", file]);
    assert!(output.status.success());
    let objects = objects(&String::from_utf8(output.stdout).unwrap());
    assert!(objects.len() > 100);
    assert!(objects.iter().all(|object| object["carrier"] == "udp"));
    assert!(objects.iter().any(|object| object["type"] == "GRANT"));
    let rpcs = homa(&["dump", "--rpcs", file]);
    assert!(rpcs.status.success());
    assert!(String::from_utf8(rpcs.stdout).unwrap().contains("gap: "));
}

#[test]
fn of_a_truncated_file_all_is_shown_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cut.pcap");
    let whole = fs::read(capture("short_rpc_100B.pcap")).unwrap();
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let output = homa(&["dump", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.ends_with("it ends within frame 3, or just before it\n"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1);
}

#[test]
fn a_foreign_file_is_told_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("letter.txt");
    for contents in ["", "Dear reader, this is no capture, however long it gets."] {
        fs::write(&file, contents).unwrap();
        let output = homa(&["dump", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.ends_with("it is neither pcap nor pcapng\n"), "{told}");
        assert_eq!(told.lines().count(), 1);
    }
    let missing = homa(&["dump", directory.path().join("none").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn an_interface_that_is_not_there_is_told_in_one_line() {
    let output = homa(&["dump", "--live", "none-such"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no interface is called none-such"), "{told}");
    assert_eq!(told.lines().count(), 1);
}

#[test]
fn a_packet_that_is_not_legal_is_malformed_for_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.pcap");
    let mut bytes = fs::read(capture("short_rpc_100B.pcap")).unwrap();
    // File header 24, frame header 16, Ethernet 14, IP 20: the type code is byte 11 of what follows.
    bytes[24 + 16 + 14 + 20 + 11] = 0x77;
    fs::write(&file, bytes).unwrap();
    let output = homa(&["dump", "--json", file.to_str().unwrap()]);
    assert!(output.status.success());
    let first = &objects(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!(
        (&first["type"], &first["reason"]),
        (&"malformed".into(), &"unknown_type".into())
    );
    assert_eq!(first["sender_id"], 28_612);
}
