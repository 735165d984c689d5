//! Homa with many calls under way, for threads and for tasks.

use std::io;

use homa::blocking::Client;

use super::slots::{Slots, peer_of};
use crate::answer::Answer;
use crate::bench::homa::{OPTIONS, host, serve as serve_one};
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample};
use crate::bench::suite::{Job, Waiting};
use crate::bench::tasks;
use crate::runtime;

/// Starts an echo server.
pub(super) fn serve(job: &Job, waiting: Waiting) -> io::Result<Vec<u16>> {
    Ok(vec![serve_one(job, waiting, Answer::Echo)?])
}

/// One thread that spins.
pub(super) fn measure(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let client = Client::on(&host(Waiting::Spin)?).map_err(io::Error::other)?;
    let mut slots = Slots::new(job.outstanding);
    let mut request = vec![0; job.message_bytes];
    let submit = |slot: usize, request: &[u8]| {
        let server = peer_of(slot, &job.servers);
        let submitted = client.submit_with(server, request, slot as u64, OPTIONS);
        submitted.map_err(io::Error::other)
    };
    for slot in 0..job.outstanding {
        slots.write(slot, &mut request);
        submit(slot, &request)?;
    }
    while meter.goes_on() {
        let next = client.next_completion(Some(RESPONSE_MAX));
        let done = next.map_err(io::Error::other)?;
        let done = done.ok_or(io::ErrorKind::TimedOut)?;
        let response = done.result.map_err(io::Error::other)?;
        let slot = slots.answered(&response)?;
        meter.count(1, response.len() as u64);
        slots.write(slot, &mut request);
        submit(slot, &request)?;
    }
    meter.finish()
}

/// A task for each call.
pub(super) fn measure_tokio(job: &Job, meter: Meter) -> io::Result<Sample> {
    let servers = job.servers.clone();
    runtime::current_thread()?.block_on(async {
        let client = homa::Client::new().map_err(io::Error::other)?;
        tasks::run(
            job,
            meter,
            Answer::Echo,
            async move |task, request: &[u8]| {
                let server = peer_of(task, &servers);
                let response = client.call_with(server, request, OPTIONS).await;
                response.map_err(io::Error::other)
            },
        )
        .await
    })
}
