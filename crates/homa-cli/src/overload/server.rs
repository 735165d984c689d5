//! The server that is overloaded, and how both ends look at their memory.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io;
use std::thread;
use std::time::Instant;

use homa::Host;
use homa::blocking::Server;
use serde::{Deserialize, Serialize};

use super::{EMPTY_MAX, LOOK, MESSAGE_BYTES, OverloadServer, host};
use crate::child;
use crate::failure::Failure;

/// What the server tells first.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
}

/// How far the application may be behind its pace and still catch up.
const LAG_MAX: Duration = Duration::from_millis(20);

/// The memory of one end over the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Stand {
    /// Most bytes held of the receive budget, and of the send budget.
    pub(super) receive_bytes_peak: u64,
    pub(super) send_bytes_peak: u64,
    /// Most RPCs under way.
    pub(super) rpcs_peak: u32,
    /// Bytes of the process's memory at the beginning, and the most of it.
    pub(super) resident_bytes_before: u64,
    pub(super) resident_bytes_peak: u64,
    /// Whether every table was empty in the end.
    pub(super) emptied: bool,
}

impl Stand {
    /// Before anything happens.
    pub(super) fn new() -> Self {
        let resident = resident_bytes().unwrap_or_default();
        Self {
            receive_bytes_peak: 0,
            send_bytes_peak: 0,
            rpcs_peak: 0,
            resident_bytes_before: resident,
            resident_bytes_peak: resident,
            emptied: false,
        }
    }

    /// Looks at a host and at this process.
    pub(super) fn look(&mut self, host: &Host) {
        let resident = resident_bytes().unwrap_or_default();
        self.resident_bytes_peak = self.resident_bytes_peak.max(resident);
        self.send_bytes_peak = self.send_bytes_peak.max(host.send_bytes_held());
        if let Ok(usage) = host.usage() {
            self.receive_bytes_peak = self.receive_bytes_peak.max(usage.budget_used_bytes);
            self.rpcs_peak = self.rpcs_peak.max(usage.client_rpcs + usage.server_rpcs);
        }
    }

    pub(super) fn emptied(self, emptied: bool) -> Self {
        Self { emptied, ..self }
    }
}

/// Bytes of memory that this process has.
fn resident_bytes() -> io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = pages.split(' ').nth(1).and_then(|it| it.parse().ok());
    let page = rustix::param::page_size() as u64;
    pages
        .map(|pages| pages * page)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether every table of the host is empty before `patience` ends: RPCs, gaps, budgets, the ids of
/// what ran, and peers.
pub(super) fn wait_until_empty(host: &Host, patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let empty = host.usage().is_ok_and(|usage| {
            let rpcs = usage.client_rpcs + usage.server_rpcs;
            let rest = usage.peers + usage.ranges + usage.tombstone_blocks;
            rpcs + rest == 0 && usage.budget_used_bytes == 0 && host.send_bytes_held() == 0
        });
        if empty || begun.elapsed() > patience {
            return empty;
        }
        thread::sleep(LOOK);
    }
}

/// Serves until the parent says go, then tells its memory once it is empty.
///
/// # Errors
/// The address cannot be had, or the parent is gone.
pub(crate) fn run(arguments: &OverloadServer) -> Result<(), Failure> {
    let host = host().map_err(Failure::work("cannot start"))?;
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind_on(&host, local).map_err(Failure::work("cannot listen"))?;
    child::tell(&Listening {
        address: server.local_addr(),
    })?;
    let service = Duration::from_micros(arguments.service.into());
    let worker = server.clone();
    thread::spawn(move || work(&worker, service));
    let watched = host.clone();
    let watch = thread::spawn(move || watch(&watched));
    child::wait_for_word()?;
    server.close();
    drop(server);
    let stand = watch
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    child::tell(&stand.emptied(wait_until_empty(&host, EMPTY_MAX)))
}

/// An application that takes its time and no processor, as one that waits for a disk does. One that
/// computed would need a processor of its own to be no slower under twice the load, of which this end
/// and the client have more work, than before: then it is the processors that are overloaded.
fn work(server: &Server, service: Duration) {
    let response = [7; MESSAGE_BYTES];
    let mut free = Instant::now();
    while let Ok(request) = server.recv() {
        let now = Instant::now();
        // What a sleep was too long the next ones are shorter.
        free = free.max(now - LAG_MAX) + service;
        thread::sleep(free.saturating_duration_since(now));
        // A client that gave up misses nothing.
        let _ = request.responder.reply(&response);
    }
}

/// Looks at the host until nothing has been under way for a second, after something was.
fn watch(host: &Host) -> Stand {
    let mut stand = Stand::new();
    let mut idle = 0;
    while stand.rpcs_peak == 0 || idle < 20 {
        thread::sleep(LOOK);
        stand.look(host);
        let busy = host.usage().is_ok_and(|usage| usage.server_rpcs > 0);
        idle = if busy { 0 } else { idle + 1 };
    }
    stand
}
