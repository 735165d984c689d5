//! QUIC and gRPC, one call at a time.

use core::ops::Deref;
use std::io;

use super::RoundTrips;
use crate::bench::meter::{Meter, Sample};
use crate::bench::rivals::{quinn, tonic};
use crate::bench::suite::Job;
use crate::runtime;

/// Round trips over QUIC.
pub(super) fn measure_quinn(job: &Job, meter: Meter) -> io::Result<Sample> {
    runtime::current_thread()?.block_on(async {
        let client = quinn::connect(job).await?;
        measure(job, meter, async |request: &[u8]| {
            client.call(request).await
        })
        .await
    })
}

/// Round trips over gRPC.
pub(super) fn measure_tonic(job: &Job, meter: Meter) -> io::Result<Sample> {
    runtime::current_thread()?.block_on(async {
        let client = tonic::Client::connect(job).await?;
        measure(job, meter, async |request: &[u8]| {
            client.call(request).await
        })
        .await
    })
}

async fn measure<R: Deref<Target = [u8]>>(
    job: &Job,
    mut meter: Meter,
    call: impl AsyncFn(&[u8]) -> io::Result<R>,
) -> io::Result<Sample> {
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        let response = call(request).await?;
        trips.response(&response)?;
    }
    meter.finish()
}
