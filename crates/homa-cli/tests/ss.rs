//! `homa ss` beside running processes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod running;

use core::net::SocketAddr;
use core::time::Duration;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use homa::Host;
use homa::blocking::{Client, Server};
use running::HOMA;
use serde_json::Value;

fn ss(words: &[&str]) -> Output {
    Command::new(HOMA).arg("ss").args(words).output().unwrap()
}

/// What a process tells; nothing while it has no host.
fn told(pid: impl ToString) -> Vec<Value> {
    let output = ss(&["--json", "--pid", &pid.to_string()]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}

fn of<'a>(objects: &'a [Value], kind: &'a str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
fn a_running_server_shows_its_socket_its_peers_and_its_limits() {
    let server = running::Server::start(&[]);
    let client = Client::new().unwrap();
    let response = client.call(&server.address, b"hello").unwrap();
    assert_eq!(*response, *b"hello");

    let objects = told(server.id());
    let host = of(&objects, "host")[0];
    assert_eq!(
        (&host["program"], &host["engine"]),
        (&"homa".into(), &0.into())
    );
    assert_eq!(host["pid"], server.id());
    assert!(host["receive_bytes_max"].as_u64().unwrap() > 0);
    let sockets = of(&objects, "socket");
    assert_eq!(
        (sockets.len(), &sockets[0]["local"]),
        (1, &server.address.as_str().into())
    );
    assert_eq!(sockets[0]["accepts_requests"], true);
    assert_eq!(of(&objects, "peer").len(), 1);
    assert_eq!(of(&objects, "counters")[0]["requests_delivered"], 1);

    let text = ss(&["--counters", "--pid", &server.id().to_string()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains(&format!("socket {}  takes requests", server.address)),
        "{text}"
    );
    assert!(text.contains("1 requests_delivered"), "{text}");
}

#[test]
fn rpcs_under_way_show_how_far_they_are() {
    let build = || Host::builder().inspectable(true).build().unwrap();
    let (near, far) = (build(), build());
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind_on(&far, local).unwrap();
    let client = Client::on(&near).unwrap();
    let call = client.start(server.local_addr(), &[7; 3_000]).unwrap();
    let request = server.recv().unwrap();

    let objects = told(std::process::id());
    let rpcs = of(&objects, "rpc");
    let state = |state: &str| *rpcs.iter().find(|it| it["state"] == state).unwrap();
    let (asking, served) = (state("asking"), state("in-service"));
    assert_eq!(
        (&asking["send_bytes"], &asking["sent"]),
        (&3_000.into(), &3_000.into())
    );
    assert_eq!(asking["peer"], server.local_addr().to_string());
    assert!(asking["age_us"].is_u64() && served["age_us"].is_u64());
    assert_eq!(served["id"], request.id.to_string());
    assert_eq!(served["local"], server.local_addr().to_string());
    assert_eq!(of(&objects, "host").len(), 2);

    request.responder.reply(b"done").unwrap();
    call.wait().unwrap();
    drop((near, far, client, server));
    let nobody = ss(&["--pid", &std::process::id().to_string()]);
    let errors = String::from_utf8(nobody.stderr).unwrap();
    assert!(errors.lines().count() <= 1, "{errors}");
}

#[test]
fn a_running_demo_shows_both_of_its_processes_and_what_they_have_under_way() {
    let mut command = Command::new(HOMA);
    // Long ago it has shown all there is; the test ends it.
    command.args([
        "demo",
        "--seconds",
        "60",
        "--load",
        "0.02",
        "--protocol",
        "homa",
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = running::Running(command.spawn().unwrap());
    let begun = Instant::now();
    let (client, server) = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing to see");
        assert!(demo.0.try_wait().unwrap().is_none(), "the demo ended");
        let client = told(demo.0.id());
        let child = running::children_of(demo.pid()).first().copied();
        let server = child.map(told).unwrap_or_default();
        if !of(&client, "rpc").is_empty() && !of(&server, "peer").is_empty() {
            break (client, server);
        }
    };
    assert_eq!(of(&client, "host")[0]["pid"], demo.0.id());
    let socket = of(&server, "socket")[0];
    assert_eq!(socket["accepts_requests"], true);
    assert_eq!(of(&client, "peer")[0]["address"], socket["local"]);
    let rpc = of(&client, "rpc")[0];
    assert!(rpc["sent"].as_u64() <= rpc["send_bytes"].as_u64(), "{rpc}");
    let peer = of(&server, "peer")[0];
    assert!(peer["unscheduled_bytes"].as_u64().unwrap() > 0, "{peer}");
}

#[test]
fn where_nobody_can_be_asked_one_line_says_so() {
    // Process ids end below 2^22.
    let output = ss(&["--pid", "4194304"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        errors,
        "homa: process 4194304 has no host that can be asked: `homa` commands can, other programs if \
         started with HOMA_INSPECT=1\n"
    );
}
