//! Processes that are killed: no request runs twice in a server's life, clients are told the truth
//! and go on, and servers forget clients that are gone.
//!
//! The processes are this test binary again, started to play one of the two roles below.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use common::{answer, eventually, held, message};
use homa::blocking::{Client, Server};
use homa::{CallError, Completion, Host};

/// Tells a process the address at which it serves, or which it calls. Without it roles do nothing.
const ADDRESS: &str = "HOMA_TEST_ADDRESS";

const LIVES: usize = 50;
/// Calls under way at any time.
const DEPTH: u64 = 32;
/// Requests that a server runs before it is killed.
const RUNS: usize = 60;

/// A process in a role; it is killed when dropped.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(role: &str, address: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", role, "--nocapture", "--test-threads=1"])
            .env(ADDRESS, address.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        // Only one that has ended already cannot be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn role_address() -> Option<SocketAddr> {
    std::env::var(ADDRESS)
        .ok()
        .map(|text| text.parse().unwrap())
}

fn cookie_of(request: &[u8]) -> u64 {
    u64::from_le_bytes(request[..8].try_into().unwrap())
}

/// Answers requests until it is killed, and says of each first that it runs.
#[test]
fn role_server() {
    let Some(address) = role_address() else {
        return;
    };
    // The port may be held by the predecessor for a moment after its death.
    let mut bound = None;
    assert!(eventually(|| {
        bound = Server::bind(address).ok();
        bound.is_some()
    }));
    let server = bound.unwrap();
    let mut output = std::io::stdout();
    while let Ok(request) = server.recv() {
        let cookie = cookie_of(&request.message);
        let line = format!("ran {} {} {cookie}\n", request.id, request.peer);
        output.write_all(line.as_bytes()).unwrap();
        output.flush().unwrap();
        let _ = request.responder.reply(&answer(&request.message));
    }
}

/// Makes calls until it is killed.
#[test]
fn role_client() {
    let Some(address) = role_address() else {
        return;
    };
    let client = Client::new().unwrap();
    for cookie in 0.. {
        let length = [100, 20_000, 300_000][cookie as usize % 3];
        if client
            .submit(address, &message(cookie, length), cookie)
            .is_err()
        {
            let _ = client.next_completion(None);
        }
        if cookie == 30 {
            println!("calling");
        }
    }
}

/// What the client of the test knows.
#[derive(Default)]
struct Record {
    /// Cookies that some life of the server ran.
    ran: HashSet<u64>,
    /// Cookies of calls that claim not to have run.
    denied: HashSet<u64>,
    /// How many calls ended how.
    endings: HashMap<String, u64>,
}

impl Record {
    fn request(cookie: u64) -> Vec<u8> {
        let mut request = message(cookie, 8 + (cookie as usize * 131) % 3_000);
        request[..8].copy_from_slice(&cookie.to_le_bytes());
        request
    }

    fn note(&mut self, done: Completion) {
        let ending = match done.result {
            Ok(response) => {
                let right = *response == *answer(&Self::request(done.cookie));
                assert!(right, "call {} got a wrong answer", done.cookie);
                "Response".to_owned()
            }
            Err(error) => {
                if !error.may_have_run() {
                    self.denied.insert(done.cookie);
                }
                format!("{error:?}")
            }
        };
        *self.endings.entry(ending).or_default() += 1;
    }

    /// Reads what one life of the server ran; checks that it ran nothing twice.
    fn read(&mut self, life: &mut HashSet<String>, line: &str) {
        // The first line of a test process carries words of its harness before ours.
        let Some((_, run)) = line.split_once("ran ") else {
            return;
        };
        let (rpc, cookie) = run.rsplit_once(' ').unwrap();
        assert!(life.insert(rpc.to_owned()), "{rpc} ran twice in one life");
        self.ran.insert(cookie.parse().unwrap());
    }
}

#[test]
fn a_server_killed_fifty_times_runs_nothing_twice_and_its_client_goes_on() {
    let address = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new().unwrap();
    let mut record = Record::default();
    let mut next = 0;
    let mut open = 0;
    for _ in 0..LIVES {
        let mut server = Process::start("role_server", address);
        let mut life = HashSet::new();
        while life.len() < RUNS {
            while open < DEPTH {
                client
                    .submit(address, &Record::request(next), next)
                    .unwrap();
                (next, open) = (next + 1, open + 1);
            }
            let wait = Some(Duration::from_millis(1));
            while let Some(done) = client.next_completion(wait).unwrap() {
                open -= 1;
                record.note(done);
                if open < DEPTH / 2 {
                    break;
                }
            }
            server
                .lines
                .try_iter()
                .for_each(|line| record.read(&mut life, &line));
        }
        server.kill();
        server
            .lines
            .iter()
            .for_each(|line| record.read(&mut life, &line));
    }
    while open > 0 {
        record.note(client.next_completion(None).unwrap().unwrap());
        open -= 1;
    }
    let endings = &record.endings;
    let lies: Vec<_> = record.denied.intersection(&record.ran).collect();
    assert!(
        lies.is_empty(),
        "{lies:?} ran, and their calls deny it; {endings:?}"
    );
    assert!(
        endings["Response"] >= (LIVES * RUNS / 2) as u64,
        "{endings:?}"
    );
    assert!(
        endings.contains_key(&format!("{:?}", CallError::OutcomeUnknown)),
        "{endings:?}"
    );
}

#[test]
fn a_server_forgets_a_client_that_was_killed() {
    let host = Host::builder().build().unwrap();
    let server = Server::bind_on(&host, "127.0.0.1:0").unwrap();
    let mut client = Process::start("role_client", server.local_addr());
    let mut unanswered = Vec::new();
    while !client.lines.try_iter().any(|line| line.contains("calling")) {
        if let Some(request) = server.recv_timeout(Duration::from_millis(1)).unwrap() {
            unanswered.push(request);
        }
    }
    client.kill();
    // One is answered to nobody, one by nobody; the rest is being received, or served.
    for request in unanswered.drain(..unanswered.len() / 2) {
        let _ = request.responder.reply(&[1; 50_000]);
    }
    assert!(held(&host).1 > 0);
    assert!(eventually(|| {
        while let Ok(Some(request)) = server.recv_timeout(Duration::ZERO) {
            unanswered.push(request);
        }
        held(&host).1 == 0
    }));
    drop(unanswered);
    assert_eq!(held(&host), (0, 0, 0));
    assert_eq!(host.send_bytes_held(), 0);
}
