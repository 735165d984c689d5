//! Several engines in one process, each on a thread and a processor of its own, with a client that
//! calls many peers. Nothing is shared between them, so nothing but the kernel can hold them back.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::mpsc;
use std::thread;

use homa::blocking::Client;

use super::homa::{Calls, serve as serve_echo};
use crate::bench::homa::host;
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::{Job, Waiting};
use crate::cpu;

/// How often the counts of the engines are added up: seldom enough to cost nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Starts a server for each engine; their ports in the order of the engines.
pub(super) fn serve(job: &Job, engines: usize) -> io::Result<Vec<u16>> {
    let waiting = waiting(job);
    let started = (0..engines).map(|engine| -> io::Result<Vec<u16>> {
        let (job, (tell, told)) = (job.clone(), mpsc::channel());
        // The threads of the host that is made here stay on this processor too.
        thread::spawn(move || {
            let pinned = cpu::pin(&[job.cpus[engine]]);
            // Whoever started this waits for it.
            let _ = tell.send(pinned.and_then(|()| serve_echo(&job, waiting)));
        });
        told.recv().map_err(io::Error::other)?
    });
    let ports: io::Result<Vec<Vec<u16>>> = started.collect();
    Ok(ports?.concat())
}

/// Calls with every engine at once.
pub(super) fn measure(job: &Job, mut meter: Meter, engines: usize) -> io::Result<Sample> {
    let counts: Vec<AtomicU64> = (0..engines).map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    // Addresses come port by port, and each engine's server has a port of its own.
    let peers = job.servers.chunks(job.servers.len() / engines);
    thread::scope(|scope| {
        let callers: Vec<_> = (counts.iter().zip(peers).zip(&job.cpus))
            .map(|((count, servers), cpu)| {
                let is_over = &is_over;
                scope.spawn(move || {
                    cpu::pin(&[*cpu])?;
                    call(job, servers, count, is_over)
                })
            })
            .collect();
        let mut told = 0;
        while meter.goes_on() && !callers.iter().any(|caller| caller.is_finished()) {
            thread::sleep(LOOK_INTERVAL);
            let total = counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .sum();
            meter.count(total - told, (total - told) * job.message_bytes as u64);
            told = total;
        }
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            let ended = caller.join();
            ended.map_err(|_| io::Error::other("an engine's thread panicked"))??;
        }
        meter.finish()
    })
}

/// One engine's calls.
fn call(
    job: &Job,
    servers: &[SocketAddr],
    count: &AtomicU64,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let client = Client::on(&host(waiting(job))?).map_err(io::Error::other)?;
    let mut calls = Calls::start(&client, servers, job)?;
    while !is_over.load(Ordering::Relaxed) {
        let came = calls.turn_round()?;
        // Nobody else writes it.
        count.store(
            count.load(Ordering::Relaxed) + came as u64,
            Ordering::Relaxed,
        );
    }
    Ok(())
}

/// Two that share a processor must let each other run.
fn waiting(job: &Job) -> Waiting {
    if job.clocks.placement.is_shared() {
        Waiting::Block
    } else {
        Waiting::Spin
    }
}
