//! Homa, one call at a time.

use core::net::SocketAddr;
use std::io;

use homa::{Host, LinkKind, blocking};

use super::RoundTrips;
use crate::answer::Answer;
use crate::bench::homa::{OPTIONS, host, host_over, serve_blocking};
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::{Job, Waiting};
use crate::runtime;

/// Starts an echo server.
pub(super) fn serve(job: &Job, waiting: Waiting) -> io::Result<Vec<u16>> {
    Ok(vec![crate::bench::homa::serve(job, waiting, Answer::Echo)?])
}

/// Makes round trips.
pub(super) fn measure(job: &Job, meter: Meter, waiting: Waiting) -> io::Result<Sample> {
    if waiting == Waiting::Tokio {
        return runtime::current_thread()?.block_on(measure_tokio(job, meter));
    }
    measure_blocking(job, meter, &host(waiting)?)
}

/// Starts an echo server on IP protocol 146.
pub(super) fn serve_ip(job: &Job) -> io::Result<Vec<u16>> {
    let host = host_over(LinkKind::Ip, Waiting::Spin)?;
    let listen = SocketAddr::new(job.listen, 0);
    Ok(vec![serve_blocking(&host, listen, Answer::Echo)?])
}

/// Makes round trips on IP protocol 146.
pub(super) fn measure_ip(job: &Job, meter: Meter) -> io::Result<Sample> {
    measure_blocking(job, meter, &host_over(LinkKind::Ip, Waiting::Spin)?)
}

fn measure_blocking(job: &Job, mut meter: Meter, host: &Host) -> io::Result<Sample> {
    let client = blocking::Client::on(host).map_err(io::Error::other)?;
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        let response = client.call_with(job.server(), request, OPTIONS);
        trips.response(&response.map_err(io::Error::other)?)?;
    }
    meter.finish()
}

async fn measure_tokio(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let client = homa::Client::new().map_err(io::Error::other)?;
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        let response = client.call_with(job.server(), request, OPTIONS).await;
        trips.response(&response.map_err(io::Error::other)?)?;
    }
    meter.finish()
}
