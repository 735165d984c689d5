//! What is told where the right to raw sockets is missing: one line that names it, and the way without.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::process::Command;

const HOMA: &str = env!("CARGO_BIN_EXE_homa");

/// `homa` without CAP_NET_RAW, whoever runs the tests: root gives it up.
fn without_right() -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(HOMA);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", HOMA]);
    command
}

/// What a command that must fail says.
fn told(words: &[&str]) -> String {
    let output = without_right().args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[test]
fn without_the_right_the_ip_link_names_it_and_udp() {
    let commands: [&[&str]; 3] = [
        &["serve", "--link", "ip", "--listen", "127.0.0.1:99"],
        &["call", "--link", "ip", "127.0.0.1:99", "x"],
        &["call", "--link", "ip", "[::1]:99", "x"],
    ];
    for words in commands {
        let told = told(words);
        assert!(told.contains("CAP_NET_RAW"), "{told}");
        assert!(
            told.contains("UDP (link udp), which takes no right"),
            "{told}"
        );
    }
}

#[test]
fn without_the_right_watching_an_interface_names_it_and_captures_from_inside() {
    let told = told(&["dump", "--live", "lo"]);
    assert!(told.contains("CAP_NET_RAW"), "{told}");
    assert!(told.contains("HOMA_CAPTURE=FILE"), "{told}");
}

#[test]
fn a_benchmark_without_the_right_leaves_the_ip_link_out_and_says_why() {
    let words = "bench rtt --only homa_ip,udp_spin --rounds 1 --seconds 0.02 --allow-dirty";
    let output = without_right().args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("Left out: homa_ip: ") && told.contains("CAP_NET_RAW"),
        "{told}"
    );
}
