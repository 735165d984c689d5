//! Homa, one long message after the other.

use std::io;
use std::sync::Arc;

use homa::blocking::Client;
use homa::{Source, Submission};

use crate::answer::Answer;
use crate::bench::homa::{OPTIONS, host};
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample};
use crate::bench::suite::{Job, Waiting};

/// While a message ends, the next one begins. How much of them is on its way is the protocol's
/// affair: its receiver grants no more than `Config::max_incoming_bytes`, less than the others have.
const MESSAGES: u64 = 2;

/// Starts a server that confirms each message.
pub(super) fn serve(job: &Job, waiting: Waiting) -> io::Result<Vec<u16>> {
    let port = crate::bench::homa::serve(job, waiting, Answer::Receipt)?;
    Ok(vec![port])
}

/// Sends as many messages as go through, from where they lie, as the others do.
pub(super) fn measure(job: &Job, meter: Meter, waiting: Waiting) -> io::Result<Sample> {
    measure_from(job, meter, waiting, |message| {
        Source::Shared(Arc::clone(message))
    })
}

/// The same with a copy of each message, which the application may change at once.
pub(super) fn measure_copied(job: &Job, meter: Meter) -> io::Result<Sample> {
    measure_from(job, meter, Waiting::Spin, |message| Source::Copied(message))
}

fn measure_from(
    job: &Job,
    mut meter: Meter,
    waiting: Waiting,
    source: fn(&Arc<[u8]>) -> Source<'_>,
) -> io::Result<Sample> {
    let client = Client::on(&host(waiting)?).map_err(io::Error::other)?;
    let message: Arc<[u8]> = vec![0x5a; job.message_bytes].into();
    let submit = |cookie| {
        let call = Submission {
            server: job.server(),
            request: source(&message),
            cookie,
            options: OPTIONS,
        };
        client.submit_all([call]).map_err(io::Error::other)
    };
    (0..MESSAGES).try_for_each(submit)?;
    while meter.goes_on() {
        let cookie = next(&client)?;
        meter.count(1, message.len() as u64);
        submit(cookie)?;
    }
    (0..MESSAGES).try_for_each(|_| next(&client).map(drop))?;
    meter.finish()
}

fn next(client: &Client) -> io::Result<u64> {
    let next = client.next_completion(Some(RESPONSE_MAX));
    let done = next.map_err(io::Error::other)?;
    let done = done.ok_or(io::ErrorKind::TimedOut)?;
    done.result.map_err(io::Error::other)?;
    Ok(done.cookie)
}
