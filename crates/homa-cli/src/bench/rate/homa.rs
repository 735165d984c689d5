//! Homa with many calls under way, for threads and for tasks.

use core::net::SocketAddr;
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

/// Starts an echo server with a task for each request.
pub(super) fn serve_in_tasks(job: &Job) -> io::Result<Vec<u16>> {
    Ok(vec![crate::bench::homa::serve_in_tasks(job, Answer::Echo)?])
}

/// One thread that spins.
pub(super) fn measure(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let client = Client::on(&host(Waiting::Spin)?).map_err(io::Error::other)?;
    let mut calls = Calls::start(&client, &job.servers, job)?;
    while meter.goes_on() {
        calls.turn_round()?;
        meter.count(1, job.message_bytes as u64);
    }
    meter.finish()
}

/// Calls of one client, as many under way as wanted.
pub(super) struct Calls<'a> {
    client: &'a Client,
    servers: &'a [SocketAddr],
    slots: Slots,
    request: Vec<u8>,
}

impl<'a> Calls<'a> {
    /// Starts the first ones.
    ///
    /// # Errors
    /// The client takes no more.
    pub(super) fn start(
        client: &'a Client,
        servers: &'a [SocketAddr],
        job: &Job,
    ) -> io::Result<Self> {
        let mut calls = Self {
            client,
            servers,
            slots: Slots::new(job.outstanding),
            request: vec![0; job.message_bytes],
        };
        (0..job.outstanding).try_for_each(|slot| calls.submit(slot))?;
        Ok(calls)
    }

    /// Waits for a response and starts another call in its place.
    ///
    /// # Errors
    /// A call fails, or its response is wrong.
    pub(super) fn turn_round(&mut self) -> io::Result<()> {
        let next = self.client.next_completion(Some(RESPONSE_MAX));
        let done = next.map_err(io::Error::other)?;
        let done = done.ok_or(io::ErrorKind::TimedOut)?;
        let response = done.result.map_err(io::Error::other)?;
        let slot = self.slots.answered(&response)?;
        self.submit(slot)
    }

    fn submit(&mut self, slot: usize) -> io::Result<()> {
        self.slots.write(slot, &mut self.request);
        let server = peer_of(slot, self.servers);
        let submitted = self
            .client
            .submit_with(server, &self.request, slot as u64, OPTIONS);
        submitted.map_err(io::Error::other)
    }
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
