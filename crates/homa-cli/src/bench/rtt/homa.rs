//! Homa, one call at a time.

use std::io;

use homa::blocking;

use super::RoundTrips;
use crate::answer::Answer;
use crate::bench::homa::{OPTIONS, host};
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::{Job, Waiting};
use crate::runtime;

/// Starts an echo server.
pub(super) fn serve(job: &Job, waiting: Waiting) -> io::Result<Vec<u16>> {
    Ok(vec![crate::bench::homa::serve(job, waiting, Answer::Echo)?])
}

/// Makes round trips.
pub(super) fn measure(job: &Job, mut meter: Meter, waiting: Waiting) -> io::Result<Sample> {
    if waiting == Waiting::Tokio {
        return runtime::current_thread()?.block_on(measure_tokio(job, meter));
    }
    let client = blocking::Client::on(&host(waiting)?).map_err(io::Error::other)?;
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
