//! One TCP connection, spinning: a write for each message, or one for all that are ready.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::slots::Slots;
use crate::bench::meter::{Meter, Sample, spin, spin_patiently};
use crate::bench::sockets::{tcp_client, tcp_server};
use crate::bench::suite::{Job, Waiting};
use crate::congestion::Congestion;

/// Bytes that one read takes.
const READ_BYTES: usize = 1 << 16;

/// Starts a server that answers each message with a write of its own.
pub(super) fn serve_per_message(job: &Job, congestion: Congestion) -> io::Result<Vec<u16>> {
    tcp_server(job, Waiting::Spin, congestion, |job, stream| {
        echo(&stream, job.message_bytes, job.message_bytes)
    })
}

/// Starts a server that answers all messages of a read with one write.
pub(super) fn serve_batched(job: &Job, congestion: Congestion) -> io::Result<Vec<u16>> {
    tcp_server(job, Waiting::Spin, congestion, |job, stream| {
        echo(&stream, job.message_bytes, READ_BYTES)
    })
}

fn echo(stream: &TcpStream, message_bytes: usize, write_bytes: usize) -> io::Result<()> {
    let mut input = Input::new();
    loop {
        spin_patiently(|| input.read(stream, message_bytes))?;
        input
            .messages()
            .chunks(write_bytes)
            .try_for_each(|part| write(stream, part))?;
    }
}

/// A write for each message.
pub(super) fn measure_per_message(
    job: &Job,
    meter: Meter,
    congestion: Congestion,
) -> io::Result<Sample> {
    measure(job, meter, congestion, job.message_bytes)
}

/// One write for all messages that are ready.
pub(super) fn measure_batched(
    job: &Job,
    meter: Meter,
    congestion: Congestion,
) -> io::Result<Sample> {
    measure(job, meter, congestion, READ_BYTES)
}

fn measure(
    job: &Job,
    mut meter: Meter,
    congestion: Congestion,
    write_bytes: usize,
) -> io::Result<Sample> {
    let stream = tcp_client(job, Waiting::Spin, congestion)?;
    let mut slots = Slots::new(job.outstanding);
    let mut first = vec![0; job.outstanding * job.message_bytes];
    for (slot, message) in first.chunks_mut(job.message_bytes).enumerate() {
        slots.write(slot, message);
    }
    first
        .chunks(write_bytes)
        .try_for_each(|part| write(&stream, part))?;
    let mut input = Input::new();
    while meter.goes_on() {
        spin(|| input.read(&stream, job.message_bytes))?;
        let messages = input.messages();
        for message in messages.chunks_mut(job.message_bytes) {
            slots.turn_round(message)?;
            meter.count(1, job.message_bytes as u64);
        }
        messages
            .chunks(write_bytes)
            .try_for_each(|part| write(&stream, part))?;
    }
    meter.finish()
}

/// Writes all of it; a full socket is tried again.
fn write(mut stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = spin(|| stream.write(bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Bytes of a stream of messages that all have one length.
struct Input {
    buffer: Vec<u8>,
    /// A part of a message at the start of the buffer.
    part: usize,
    /// The whole messages that the last read gave.
    whole: usize,
}

impl Input {
    fn new() -> Self {
        Self {
            buffer: vec![0; READ_BYTES],
            part: 0,
            whole: 0,
        }
    }

    /// Reads once.
    fn read(&mut self, mut stream: &TcpStream, message_bytes: usize) -> io::Result<()> {
        if self.whole > 0 {
            self.buffer
                .copy_within(self.whole..self.whole + self.part, 0);
            self.whole = 0;
        }
        match stream.read(&mut self.buffer[self.part..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                let filled = self.part + count;
                self.whole = filled / message_bytes * message_bytes;
                self.part = filled - self.whole;
                Ok(())
            }
        }
    }

    /// The whole messages that the last read gave.
    fn messages(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.whole]
    }
}
