//! `homa serve` and `homa call` as scripts use them: real processes, exit codes, pipes, signals.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod running;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use running::{HOMA, Server};
use rustix::process::Signal;

fn call(address: &str, words: &[&str]) -> Output {
    Command::new(HOMA)
        .args(["call", address])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_argument_is_echoed_to_standard_output() {
    let server = Server::start(&[]);
    let output = call(&server.address, &["hello"]);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"hello"[..]),
        "{output:?}"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn standard_input_is_sent_as_it_is() {
    let server = Server::start(&[]);
    let mut command = Command::new(HOMA);
    command
        .args(["call", &server.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes);
}

#[test]
fn files_go_in_and_come_out() {
    let directory = tempfile::tempdir().unwrap();
    let [request, response] = ["request", "response"].map(|name| directory.path().join(name));
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    fs::write(&request, &bytes).unwrap();
    let server = Server::start(&[]);
    let files = [request.to_str().unwrap(), response.to_str().unwrap()];
    let output = call(&server.address, &["--file", files[0], "--out", files[1]]);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(0), 0),
        "{}",
        errors(&output)
    );
    assert!(fs::read(&response).unwrap() == bytes);
}

#[test]
fn longer_messages_are_a_matter_of_configuration_at_both_ends() {
    let directory = tempfile::tempdir().unwrap();
    let [request, response] = ["request", "response"].map(|name| directory.path().join(name));
    let bytes: Vec<u8> = (0..16_u32 << 20).map(|index| (index % 251) as u8).collect();
    fs::write(&request, &bytes).unwrap();
    let files = [request.to_str().unwrap(), response.to_str().unwrap()];
    let server = Server::start(&["--max-message", "16777216"]);
    let short = call(&server.address, &["--file", files[0], "--out", files[1]]);
    assert_eq!(short.status.code(), Some(1));
    assert!(
        errors(&short).contains("may have 1000000"),
        "{}",
        errors(&short)
    );
    let output = call(
        &server.address,
        &[
            "--max-message",
            "16777216",
            "--file",
            files[0],
            "--out",
            files[1],
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(fs::read(&response).unwrap() == bytes);
}

#[test]
fn a_directory_is_served_by_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("hello.txt"), "hello from a file\n").unwrap();
    let server = Server::start(&["--dir", directory.path().to_str().unwrap()]);
    let output = call(&server.address, &["hello.txt"]);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"hello from a file\n"[..])
    );
    let missing = call(&server.address, &["none.txt"]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
    assert!(
        errors(&missing).contains("dropped the request"),
        "{}",
        errors(&missing)
    );
    assert_eq!(
        call(&server.address, &["../hello.txt"]).status.code(),
        Some(1)
    );
    let (_, said) = server.stop(Signal::INT);
    assert!(said.contains("\"none.txt\": No such file"), "{said}");
    assert!(
        said.contains("\"../hello.txt\": it leads out of the directory"),
        "{said}"
    );
}

#[test]
fn signals_end_a_server_cleanly() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = Server::start(&[]);
        assert_eq!(call(&server.address, &["x"]).status.code(), Some(0));
        assert_eq!(server.stop(signal), (Some(0), String::new()));
    }
}

#[test]
fn several_engines_answer_at_one_address_and_end_at_one_signal() {
    let server = Server::start(&["--engines", "3"]);
    for word in ["one", "two", "three", "four", "five", "six"] {
        let output = call(&server.address, &[word]);
        assert_eq!(output.stdout, word.as_bytes(), "{}", errors(&output));
    }
    assert_eq!(server.stop(Signal::TERM), (Some(0), String::new()));
}

#[test]
fn what_cannot_be_called_is_a_failure_in_one_line() {
    let server = Server::start(&[]);
    let address = server.address.clone();
    server.stop(Signal::INT);
    let refused = call(&address, &["x", "--timeout", "5"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(errors(&refused).lines().count(), 1, "{}", errors(&refused));
    assert!(
        errors(&refused).contains("nobody listens"),
        "{}",
        errors(&refused)
    );
    let no_file = call(&address, &["--file", "/nowhere/x"]);
    assert_eq!(no_file.status.code(), Some(1));
    assert!(
        errors(&no_file).contains("/nowhere/x: No such file"),
        "{}",
        errors(&no_file)
    );
}

#[test]
fn an_empty_message_is_wrong_usage() {
    let output = call("127.0.0.1:9", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output).contains("at least one byte"),
        "{}",
        errors(&output)
    );
}

#[test]
fn an_address_in_use_is_told() {
    let server = Server::start(&[]);
    let output = Command::new(HOMA)
        .args(["serve", "--listen", &server.address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("is in use"), "{}", errors(&output));
}

#[test]
fn what_is_no_address_is_wrong_usage() {
    for words in [
        ["serve", "--listen", "4000"],
        ["serve", "--listen", "host:port"],
    ] {
        let output = Command::new(HOMA).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            errors(&output).contains("127.0.0.1:4000"),
            "{}",
            errors(&output)
        );
    }
    assert_eq!(call("nowhere", &["x"]).status.code(), Some(2));
}
