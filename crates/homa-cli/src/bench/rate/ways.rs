//! Other ways to make the same calls, to see what each is worth: one word at a time, all words at once
//! from a task, several threads on one socket.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::thread;

use homa::blocking;
use homa::{Client, Completion, Source, Submission};

use super::slots::{Slots, peer_of};
use crate::answer::Answer;
use crate::bench::homa::{self as library, OPTIONS, Tell, bind, host, start_in_tokio};
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample};
use crate::bench::suite::{Job, Waiting};
use crate::runtime;

/// How often the counts of threads are added up: seldom enough to cost nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Starts an echo server that takes and answers one request at a time.
pub(super) fn serve_singly(job: &Job) -> io::Result<Vec<u16>> {
    Ok(vec![library::serve(job, Waiting::Spin, Answer::Echo)?])
}

/// One thread that submits calls and takes completions one at a time.
pub(super) fn measure_singly(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let client = blocking::Client::on(&host(Waiting::Spin)?).map_err(io::Error::other)?;
    let mut slots = Slots::new(job.outstanding);
    let mut request = vec![0; job.message_bytes];
    let submit = |slot: usize, slots: &Slots, request: &mut [u8]| {
        slots.write(slot, request);
        let server = peer_of(slot, &job.servers);
        let submitted = client.submit_with(server, request, slot as u64, OPTIONS);
        submitted.map_err(io::Error::other)
    };
    (0..job.outstanding).try_for_each(|slot| submit(slot, &slots, &mut request))?;
    while meter.goes_on() {
        let next = client.next_completion(Some(RESPONSE_MAX));
        let done = next.map_err(io::Error::other)?.ok_or(ErrorKind::TimedOut)?;
        let slot = slots.answered(&done.result.map_err(io::Error::other)?)?;
        meter.count(1, job.message_bytes as u64);
        submit(slot, &slots, &mut request)?;
    }
    meter.finish()
}

/// Starts an echo server whose one task takes and answers all requests that there are.
pub(super) fn serve_in_a_task(job: &Job) -> io::Result<Vec<u16>> {
    let listen = SocketAddr::new(job.listen, 0);
    let port = start_in_tokio(async move |tell: Tell| {
        let server = bind(listen, &tell).await?;
        let mut requests = Vec::new();
        loop {
            let came = server.recv_all(&mut requests).await;
            came.map_err(io::Error::other)?;
            let replies = requests.drain(..);
            // A client that is gone misses nothing.
            let replies = replies.map(|request| (request.responder, request.message));
            server.reply_all(replies).await;
        }
    })?;
    Ok(vec![port])
}

/// One task that submits all calls and takes all completions that there are.
pub(super) fn measure_in_a_task(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    runtime::current_thread()?.block_on(async {
        let client = Client::new().map_err(io::Error::other)?;
        let mut slots = Slots::new(job.outstanding);
        let mut requests = vec![vec![0; job.message_bytes]; job.outstanding];
        let mut free: Vec<usize> = (0..job.outstanding).collect();
        let mut done: Vec<Completion> = Vec::new();
        loop {
            for &slot in &free {
                slots.write(slot, &mut requests[slot]);
            }
            let calls = free.drain(..).map(|slot| Submission {
                server: peer_of(slot, &job.servers),
                request: Source::Copied(&requests[slot]),
                cookie: slot as u64,
                options: OPTIONS,
            });
            client.submit_all(calls).map_err(io::Error::other)?;
            if !meter.goes_on() {
                return meter.finish();
            }
            let came = client.completions(&mut done).await;
            let count = came.map_err(io::Error::other)?;
            for done in done.drain(..) {
                let response = done.result.map_err(io::Error::other)?;
                free.push(slots.answered(&response)?);
            }
            meter.count(count as u64, (count * job.message_bytes) as u64);
        }
    })
}

/// Several threads of one client, each with one call at a time. They wait by sleeping: they share a
/// processor.
pub(super) fn measure_threads(job: &Job, mut meter: Meter, threads: usize) -> io::Result<Sample> {
    let client = blocking::Client::on(&host(Waiting::Block)?).map_err(io::Error::other)?;
    let (ended, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| call(&client, job, &ended, &is_over)))
            .collect();
        let mut told = 0;
        while meter.goes_on() && !callers.iter().any(|caller| caller.is_finished()) {
            thread::sleep(LOOK_INTERVAL);
            let total = ended.load(Ordering::Relaxed);
            meter.count(total - told, (total - told) * job.message_bytes as u64);
            told = total;
        }
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            let ended = caller.join();
            ended.map_err(|_| io::Error::other("a thread panicked"))??;
        }
        meter.finish()
    })
}

/// One thread's calls.
fn call(
    client: &blocking::Client,
    job: &Job,
    ended: &AtomicU64,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let mut slots = Slots::new(1);
    let mut request = vec![0; job.message_bytes];
    while !is_over.load(Ordering::Relaxed) {
        slots.write(0, &mut request);
        let response = client.call_with(job.server(), &request, OPTIONS);
        slots.answered(&response.map_err(io::Error::other)?)?;
        ended.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
