//! Homa with many calls under way, for threads and for tasks.

use core::net::SocketAddr;
use std::io;

use homa::blocking::{Client, Server};
use homa::{Completion, Source, Submission};

use super::slots::{Slots, peer_of};
use crate::answer::Answer;
use crate::bench::homa::{OPTIONS, host};
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample};
use crate::bench::sockets::spawn_server;
use crate::bench::suite::{Job, Waiting};
use crate::bench::tasks;
use crate::runtime;

/// Starts an echo server that takes and answers all requests that there are.
pub(super) fn serve(job: &Job, waiting: Waiting) -> io::Result<Vec<u16>> {
    let listen = SocketAddr::new(job.listen, 0);
    let server = Server::bind_on(&host(waiting)?, listen).map_err(io::Error::other)?;
    let port = server.local_addr().port();
    spawn_server(move || {
        let mut requests = Vec::new();
        loop {
            server
                .recv_all(&mut requests, None)
                .map_err(io::Error::other)?;
            let replies = requests.drain(..);
            // A client that is gone misses nothing.
            server.reply_all(replies.map(|request| (request.responder, request.message)));
        }
    });
    Ok(vec![port])
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
        let count = calls.turn_round()?;
        meter.count(count as u64, (count * job.message_bytes) as u64);
    }
    meter.finish()
}

/// Calls of one client, as many under way as wanted.
pub(super) struct Calls<'a> {
    client: &'a Client,
    servers: &'a [SocketAddr],
    slots: Slots,
    /// A request for each slot.
    requests: Vec<Vec<u8>>,
    done: Vec<Completion>,
    free: Vec<usize>,
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
            requests: vec![vec![0; job.message_bytes]; job.outstanding],
            done: Vec::new(),
            free: (0..job.outstanding).collect(),
        };
        calls.submit()?;
        Ok(calls)
    }

    /// Waits for responses and starts other calls in their place; returns how many came.
    ///
    /// # Errors
    /// A call fails, or its response is wrong.
    pub(super) fn turn_round(&mut self) -> io::Result<usize> {
        let came = self.client.completions(&mut self.done, Some(RESPONSE_MAX));
        let count = came.map_err(io::Error::other)?;
        if count == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for done in self.done.drain(..) {
            let response = done.result.map_err(io::Error::other)?;
            self.free.push(self.slots.answered(&response)?);
        }
        self.submit()?;
        Ok(count)
    }

    fn submit(&mut self) -> io::Result<()> {
        for &slot in &self.free {
            self.slots.write(slot, &mut self.requests[slot]);
        }
        let (requests, servers) = (&self.requests, self.servers);
        let calls = self.free.drain(..).map(|slot| Submission {
            server: peer_of(slot, servers),
            request: Source::Copied(&requests[slot]),
            cookie: slot as u64,
            options: OPTIONS,
        });
        self.client.submit_all(calls).map_err(io::Error::other)
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
