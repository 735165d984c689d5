//! A task for each RPC under way, as asynchronous programs have.

use core::cell::RefCell;
use core::ops::Deref;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use tokio::task::{LocalSet, spawn_local};

use super::slots::Slots;
use crate::bench::meter::{Meter, Sample};
use crate::bench::suite::Job;

/// Runs the tasks on this thread; each calls again and again. `call` is given the number of the
/// task and the request.
pub(super) async fn run<R: Deref<Target = [u8]> + 'static>(
    job: &Job,
    meter: Meter,
    call: impl AsyncFn(usize, &[u8]) -> io::Result<R> + Clone + 'static,
) -> io::Result<Sample> {
    let meter = Rc::new(RefCell::new(meter));
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let started: Vec<_> = (0..job.outstanding)
                .map(|task| {
                    let request = vec![0; job.message_bytes];
                    spawn_local(calls(task, request, Rc::clone(&meter), call.clone()))
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
    task: usize,
    mut request: Vec<u8>,
    meter: Rc<RefCell<Meter>>,
    call: impl AsyncFn(usize, &[u8]) -> io::Result<R>,
) -> io::Result<()> {
    let mut count = 0;
    while meter.borrow_mut().goes_on() {
        Slots::write_number(count, &mut request);
        count += 1;
        let response = call(task, &request).await?;
        if *response != *request {
            let text = "a response is not its request";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        meter.borrow_mut().count(1, request.len() as u64);
    }
    Ok(())
}
