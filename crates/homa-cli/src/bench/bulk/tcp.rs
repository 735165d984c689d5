//! One TCP connection that streams.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::{Arrived, Flow, RECEIPT_BYTES};
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample, spin_patiently};
use crate::bench::sockets::{tcp_client, tcp_server};
use crate::bench::suite::{Job, Waiting};
use crate::congestion::Congestion;

/// Starts a receiver.
pub(super) fn serve(job: &Job, waiting: Waiting, congestion: Congestion) -> io::Result<Vec<u16>> {
    tcp_server(job, waiting, congestion, |job, stream| {
        let (mut stream, mut arrived) = (&stream, Arrived::default());
        // Bytes land in a message, as those of Homa do.
        let (mut message, mut filled) = (vec![0; job.message_bytes], 0);
        loop {
            let count = spin_patiently(|| stream.read(&mut message[filled..]))?;
            filled = (filled + count) % message.len();
            let receipt = match count {
                0 => Some(arrived.receipt()),
                count => arrived.add(count),
            };
            if let Some(receipt) = receipt {
                stream.write_all(&receipt)?;
            }
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    })
}

/// Sends as much as goes through.
pub(super) fn measure(
    job: &Job,
    mut meter: Meter,
    waiting: Waiting,
    congestion: Congestion,
) -> io::Result<Sample> {
    let stream = tcp_client(job, waiting, congestion)?;
    let (mut flow, mut receipts) = (Flow::new(&mut meter), Receipts::new());
    let (message, mut written) = (vec![0x5a; job.message_bytes], 0);
    while flow.meter.goes_on() {
        // Less than that would be many small writes.
        if flow.room() >= RECEIPT_BYTES {
            let end = message.len().min(written + flow.room() as usize);
            let count = written_of((&stream).write(&message[written..end]))?;
            flow.sent += count as u64;
            written = (written + count) % message.len();
            if waiting == Waiting::Block {
                continue;
            }
        }
        receipts.hear(&stream, &mut flow)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let end = Instant::now();
    while flow.finish().is_err() && end.elapsed() < RESPONSE_MAX {
        receipts.hear(&stream, &mut flow)?;
    }
    flow.finish()?;
    meter.finish()
}

fn written_of(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Receipts, which may come in parts or several at once.
struct Receipts {
    bytes: [u8; 64],
    filled: usize,
}

impl Receipts {
    const fn new() -> Self {
        Self {
            bytes: [0; 64],
            filled: 0,
        }
    }

    fn hear(&mut self, mut stream: &TcpStream, flow: &mut Flow<'_>) -> io::Result<()> {
        match stream.read(&mut self.bytes[self.filled..]) {
            Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let (receipts, rest) = self.bytes[..self.filled].as_chunks::<8>();
        for receipt in receipts {
            flow.receipt(u64::from_be_bytes(*receipt))?;
        }
        let start = self.filled - rest.len();
        self.bytes.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }
}
