//! The endpoint of `homa serve --metrics`. A parser of OpenMetrics reads it in `cargo xtask test metrics`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod running;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use running::{HOMA, Server};

/// A server, and where it tells its metrics.
fn start() -> (Server, String) {
    let mut server = Server::start(&["--engines", "2", "--metrics", "127.0.0.1:0"]);
    let line = server.line();
    let metrics = line.strip_prefix("metrics at http://").unwrap().to_owned();
    (server, metrics)
}

fn ask(at: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn every_engine_tells_each_metric_once_and_nothing_else_is_answered() {
    let (server, metrics) = start();
    let (at, path) = metrics.split_once('/').unwrap();
    for _ in 0..4 {
        let call = Command::new(HOMA)
            .args(["call", &server.address, "x"])
            .output();
        assert!(call.unwrap().status.success());
    }
    let (head, body) = ask(at, &format!("GET /{path}"));
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("\n# EOF\n"));
    let types: Vec<&str> = body.lines().filter(|it| it.starts_with("# TYPE")).collect();
    assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
    assert!(types.len() > 80, "{}", types.len());
    let value = |host: usize| -> u64 {
        let name = format!("homa_requests_delivered_total{{host=\"{host}\"}} ");
        let line = body.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().parse().unwrap()
    };
    assert_eq!(value(0) + value(1), 4);

    assert!(ask(at, "GET /").0.starts_with("HTTP/1.1 404"));
    assert!(ask(at, "POST /metrics").0.starts_with("HTTP/1.1 405"));
}

#[test]
fn an_address_for_metrics_that_is_taken_is_told_in_one_line() {
    let (_server, metrics) = start();
    let (at, _) = metrics.split_once('/').unwrap();
    let output = Command::new(HOMA)
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics", at])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.starts_with(&format!("homa: --metrics {at}: ")),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1);
}
