//! Messages over one TCP connection: what Homa is compared with.
//!
//! A frame is the number of the RPC (8 bytes), the length of the message (4 bytes), both
//! big-endian, and the message. Frames are pipelined: any number may be under way.
//!
//! # Design
//! Short messages gather in a buffer that leaves with one write per turn, as careful TCP programs
//! do; a long one goes straight from the caller's memory. `TCP_NODELAY` is set, so nothing waits
//! for the acknowledgement of what went before.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use crate::answer::Answer;
use crate::workload::MESSAGE_MAX_BYTES;

const HEADER_BYTES: usize = 12;

/// Messages from this length on leave without being copied first; over TCP, if nothing is waiting.
pub(crate) const DIRECT_BYTES: usize = 16 * 1024;

/// What one read may take, so that one busy connection cannot keep the others waiting for long.
const READ_MAX_BYTES: usize = 256 * 1024;

/// One end of a connection that carries frames.
pub(crate) struct FrameConnection {
    stream: TcpStream,
    input: Input,
    output: Output,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Received {
    /// Some bytes; whole frames among them were delivered.
    Bytes,
    /// Nothing is there at the moment.
    Nothing,
    /// The other end will send no more.
    End,
}

impl FrameConnection {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// When the stream refuses to be non-blocking or to send without delay.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Input::default(),
            output: Output::default(),
        })
    }

    /// The socket, to wait on.
    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes a message for sending; `flush` sends what this did not.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&mut self, number: u64, message: &[u8]) -> io::Result<()> {
        self.output.send(&self.stream, number, message)
    }

    /// Sends what is waiting, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.output.flush(&self.stream)
    }

    /// Whether bytes wait until the socket takes more.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.waiting().is_empty()
    }

    /// Reads once and delivers every whole frame: number and message.
    ///
    /// # Errors
    /// The connection is broken, or the other end announced a message above the limit.
    pub(crate) fn receive(&mut self, deliver: &mut dyn FnMut(u64, &[u8])) -> io::Result<Received> {
        self.input.receive(&self.stream, &mut |number, message| {
            deliver(number, message);
            Ok(())
        })
    }

    /// Reads once and answers every whole frame.
    ///
    /// # Errors
    /// The connection is broken, or the other end announced a message above the limit.
    pub(crate) fn answer(&mut self, answer: Answer) -> io::Result<Received> {
        let Self {
            stream,
            input,
            output,
        } = self;
        input.receive(stream, &mut |number, message| {
            output.send(stream, number, &answer.to(message))
        })
    }
}

/// Bytes received that are no whole frame yet.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    filled: usize,
}

impl Input {
    fn receive(
        &mut self,
        mut stream: &TcpStream,
        deliver: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<Received> {
        self.make_room()?;
        let end = self.buffer.len().min(self.filled + READ_MAX_BYTES);
        match stream.read(&mut self.buffer[self.filled..end]) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        }
        self.deliver_frames(deliver)?;
        Ok(Received::Bytes)
    }

    /// Makes the buffer hold the whole frame that is under way, and never less than one read.
    fn make_room(&mut self) -> io::Result<()> {
        let frame = match Header::parse(&self.buffer[..self.filled])? {
            Some(header) => HEADER_BYTES + header.length,
            None => HEADER_BYTES,
        };
        let wanted = frame.max(READ_MAX_BYTES);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        Ok(())
    }

    fn deliver_frames(
        &mut self,
        deliver: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut start = 0;
        while let Some(header) = Header::parse(&self.buffer[start..self.filled])? {
            let message = start + HEADER_BYTES;
            let end = message + header.length;
            if end > self.filled {
                break;
            }
            deliver(header.number, &self.buffer[message..end])?;
            start = end;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }
}

/// Bytes that the socket has not taken yet.
#[derive(Default)]
struct Output {
    buffer: Vec<u8>,
    sent: usize,
}

impl Output {
    fn waiting(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    fn send(&mut self, mut stream: &TcpStream, number: u64, message: &[u8]) -> io::Result<()> {
        let header = Header {
            number,
            length: message.len(),
        }
        .to_bytes();
        if message.len() >= DIRECT_BYTES {
            self.flush(stream)?;
        }
        let mut written = 0;
        if message.len() >= DIRECT_BYTES && self.waiting().is_empty() {
            let parts = [IoSlice::new(&header), IoSlice::new(message)];
            written = taken(stream.write_vectored(&parts))?;
        }
        self.buffer
            .extend_from_slice(&header[written.min(HEADER_BYTES)..]);
        self.buffer
            .extend_from_slice(&message[written.saturating_sub(HEADER_BYTES)..]);
        Ok(())
    }

    fn flush(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        while self.sent < self.buffer.len() {
            match taken(stream.write(&self.buffer[self.sent..]))? {
                0 => return Ok(()),
                count => self.sent += count,
            }
        }
        self.buffer.clear();
        self.sent = 0;
        Ok(())
    }
}

/// How much a write took; a full socket is no error.
fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

/// What stands before a message.
struct Header {
    number: u64,
    length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some((number, rest)) = bytes.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let Some((length, _)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MESSAGE_MAX_BYTES {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a frame is too long",
            ));
        }
        Ok(Some(Self {
            number: u64::from_be_bytes(*number),
            length,
        }))
    }

    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.length).expect("messages are limited to a million bytes");
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&length.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (FrameConnection, FrameConnection) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        (
            FrameConnection::new(near).unwrap(),
            FrameConnection::new(far).unwrap(),
        )
    }

    fn echo_all(
        near: &mut FrameConnection,
        far: &mut FrameConnection,
        count: usize,
    ) -> Vec<(u64, Vec<u8>)> {
        let mut responses = Vec::new();
        for _ in 0..100_000 {
            near.flush().unwrap();
            far.answer(Answer::Echo).unwrap();
            far.flush().unwrap();
            near.receive(&mut |number, message| responses.push((number, message.to_vec())))
                .unwrap();
            if responses.len() == count {
                return responses;
            }
        }
        panic!("only {} of {count} responses came", responses.len());
    }

    #[test]
    fn messages_of_all_lengths_come_back_in_order_and_whole() {
        let (mut near, mut far) = pair();
        let lengths = [
            1,
            0,
            100,
            DIRECT_BYTES - 1,
            DIRECT_BYTES,
            300_000,
            7,
            MESSAGE_MAX_BYTES,
            2,
        ];
        let sent: Vec<(u64, Vec<u8>)> = (0_u64..)
            .zip(lengths)
            .map(|(n, length)| (n, vec![n as u8 + 1; length]))
            .collect();
        for (number, message) in &sent {
            near.send(*number, message).unwrap();
        }
        assert!(near.has_output());
        assert!(echo_all(&mut near, &mut far, sent.len()) == sent);
        assert!(!near.has_output());
    }

    #[test]
    fn many_short_messages_are_pipelined() {
        let (mut near, mut far) = pair();
        for number in 0..10_000 {
            near.send(number, &number.to_le_bytes()).unwrap();
        }
        let responses = echo_all(&mut near, &mut far, 10_000);
        assert!(
            responses
                .iter()
                .zip(0_u64..)
                .all(|(r, n)| r.0 == n && r.1 == n.to_le_bytes())
        );
    }

    #[test]
    fn a_frame_above_the_limit_is_refused() {
        let (near, mut far) = pair();
        near.stream().write_all(&[0xff; HEADER_BYTES]).unwrap();
        let refused = (0..1_000_000)
            .find_map(|_| far.answer(Answer::Echo).err())
            .unwrap();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_of_the_stream_is_told() {
        let (near, mut far) = pair();
        drop(near);
        let seen = (0..1_000_000)
            .map(|_| far.answer(Answer::Echo).unwrap())
            .find(|r| *r != Received::Nothing);
        assert_eq!(seen, Some(Received::End));
    }
}
