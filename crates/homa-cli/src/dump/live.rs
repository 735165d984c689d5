//! `homa dump --live`: the packets of an interface while they pass.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use homa::sniff::Sniffer;
use tokio::io::unix::AsyncFd;
use tokio::time::{self, Instant};

use super::Show;
use super::file::Frame;
use crate::failure::Failure;
use crate::runtime;
use crate::stop::Stop;

/// LINKTYPE_RAW: a frame begins with its IP header.
const RAW_IP: i32 = 101;

/// Longer than anybody watches.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// Packets between two looks at the clock and the signals.
const BATCH: usize = 256;

/// Shows what crosses the interface, until told to stop or for a time.
///
/// # Errors
/// The right is missing, there is no such interface, or it goes away.
pub(super) fn watch(
    interface: &str,
    time: Option<Duration>,
    show: &mut Show,
) -> Result<(), Failure> {
    let runtime = runtime::current_thread().map_err(Failure::work("cannot start"))?;
    let sniffer = Sniffer::open(interface).map_err(Failure::work(interface))?;
    runtime.block_on(watch_until(sniffer, time.unwrap_or(FOR_EVER), show))
}

async fn watch_until(mut sniffer: Sniffer, time: Duration, show: &mut Show) -> Result<(), Failure> {
    let mut stop = Stop::new().map_err(Failure::work("cannot watch for signals"))?;
    let fd = sniffer.fd().try_clone_to_owned();
    let ready = fd
        .and_then(readiness)
        .map_err(Failure::work("cannot wait"))?;
    let (end, mut number) = (Instant::now() + time, 0);
    loop {
        let mut guard = tokio::select! {
            guard = ready.readable() => guard.map_err(Failure::work("cannot wait"))?,
            () = stop.wait() => return Ok(()),
            () = time::sleep_until(end) => return Ok(()),
        };
        for _ in 0..BATCH {
            let Some(packet) = sniffer.receive().map_err(Failure::work("cannot watch"))? else {
                guard.clear_ready();
                break;
            };
            number += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let frame = Frame {
                number,
                at_ns: now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)),
                link_type: RAW_IP,
                bytes: packet,
                length: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            };
            show.frame(&frame);
        }
        if !show.flush() {
            return Ok(());
        }
    }
}

#[allow(
    deprecated,
    reason = "what replaces it takes `unsafe`, for types that may close their descriptor early"
)]
fn readiness(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
