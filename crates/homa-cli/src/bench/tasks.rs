//! A task for each RPC under way, as asynchronous programs have.

use core::cell::RefCell;
use core::ops::Deref;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use tokio::task::{LocalSet, spawn_local};

use super::meter::{Meter, Sample};
use super::suite::Job;
use crate::answer::Answer;

/// Runs the tasks on this thread; each calls again and again, and expects `answer`. `call` is given
/// the number of the task and the request.
///
/// # Errors
/// A call fails, or its response is wrong.
pub(super) async fn run<R: Deref<Target = [u8]> + 'static>(
    job: &Job,
    meter: Meter,
    answer: Answer,
    call: impl AsyncFn(usize, &[u8]) -> io::Result<R> + Clone + 'static,
) -> io::Result<Sample> {
    let meter = Rc::new(RefCell::new(meter));
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let started: Vec<_> = (0..job.outstanding)
                .map(|task| {
                    let request = vec![0x5a; job.message_bytes];
                    let (meter, call) = (Rc::clone(&meter), call.clone());
                    spawn_local(async move {
                        calls(request, &meter, answer, async |request: &[u8]| {
                            call(task, request).await
                        })
                        .await
                    })
                })
                .collect();
            for task in started {
                task.await.map_err(io::Error::other)??;
            }
            io::Result::Ok(())
        })
        .await?;
    let meter = Rc::into_inner(meter).expect("every task has ended");
    meter.into_inner().finish()
}

async fn calls<R: Deref<Target = [u8]>>(
    mut request: Vec<u8>,
    meter: &RefCell<Meter>,
    answer: Answer,
    call: impl AsyncFn(&[u8]) -> io::Result<R>,
) -> io::Result<()> {
    let mut count: u64 = 0;
    while meter.borrow_mut().goes_on() {
        count += 1;
        if let Some(number) = request.first_chunk_mut() {
            *number = count.to_be_bytes();
        }
        let response = call(&request).await?;
        if *response != *answer.to(&request) {
            let text = "a response is not what its request asks for";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        meter.borrow_mut().count(1, request.len() as u64);
    }
    Ok(())
}
