//! What else there is for RPCs: QUIC and gRPC, as programs in Rust use them.
//!
//! Each has a server that answers and a client that calls; both run in a current-thread runtime, as
//! the other variants in tokio do.

pub(super) mod quinn;
pub(super) mod tonic;

use std::io;

use super::meter::{Meter, Sample};
use super::suite::Job;
use super::tasks;
use crate::answer::Answer;
use crate::runtime;

/// A task for each RPC under way, over QUIC.
///
/// # Errors
/// A call fails.
pub(super) fn measure_quinn(job: &Job, meter: Meter, answer: Answer) -> io::Result<Sample> {
    runtime::current_thread()?.block_on(async {
        let client = quinn::connect(job).await?;
        tasks::run(job, meter, answer, async move |_, request: &[u8]| {
            client.call(request).await
        })
        .await
    })
}

/// A task for each RPC under way, over gRPC.
///
/// # Errors
/// A call fails.
pub(super) fn measure_tonic(job: &Job, meter: Meter, answer: Answer) -> io::Result<Sample> {
    runtime::current_thread()?.block_on(async {
        let client = tonic::Client::connect(job).await?;
        tasks::run(job, meter, answer, async move |_, request: &[u8]| {
            client.call(request).await
        })
        .await
    })
}
