//! Receiving long messages straight into where they belong.
//!
//! It decides whether what has arrived is the next of a message that is on its way. What is not goes
//! the usual way.
//!
//! # Design
//!
//! *A look at the first header tells where a buffer belongs*, for one system call more. Guessing
//! without was tried: two messages of one client that are granted together take turns in an order that
//! their receiver does not know, and a wrong guess costs a copy more.
//!
//! *A packet is what it seems if its header says so*, all of it: it must be that of a segment that was
//! handled the usual way, moved to its place. The others of its buffer are seen only when they lie
//! there, and those that do not belong there are put together again. The engine is asked about each
//! like about any other.
//!
//! *Only behind all that is there of a message*, so that no byte that came is ever written over. What
//! does not belong there is no part of the message until its own bytes have come.

use std::io;

use homa_net::{Laid, Received};
use homa_proto::wire::{DATA_HEADER_BYTES, DataHeader, follows};
use homa_proto::{Engine, Path, RpcKey};

use super::{Placer, path, receive_own};
use crate::counters::HostCounters;
use crate::links::Socket;

/// Messages whose segments are known.
const EXPECTED_MAX: usize = 8;
/// Bytes that keep a host busy for some 50 µs: after that others get their turn.
const ENOUGH_BYTES: usize = 100 << 10;

/// What is expected on a socket, and memory for what comes.
#[derive(Default)]
pub(crate) struct Ahead {
    pub(super) expected: Expectations,
    headers: Vec<u8>,
    /// What has to be put together again.
    flat: Vec<u8>,
}

impl Ahead {
    /// Whether anything is expected.
    #[inline]
    pub(super) fn expects(&self) -> bool {
        !self.expected.messages.is_empty()
    }
}

/// Long messages on their way.
#[derive(Default)]
pub(super) struct Expectations {
    messages: Vec<Expected>,
}

/// What is known of the segments of a message.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) path: Path,
    pub(super) rpc: RpcKey,
    /// Of the segment whose payload begins at `offset`.
    pub(super) header: DataHeader,
    pub(super) offset: u32,
    pub(super) message_length: u32,
    pub(super) segment_bytes: usize,
}

impl Expected {
    /// Whether this is the header of the segment that begins at `start`.
    fn is_at(&self, start: u32, header: &DataHeader) -> bool {
        let distance = start.checked_sub(self.offset);
        distance.is_some_and(|distance| follows(&self.header, header, distance))
    }

    /// How many of the first packets that were laid out are segments of this message from byte
    /// `start` on.
    fn count_right(&self, path: Path, laid: &Laid<'_>, headers: &[u8], start: u32) -> usize {
        if path != self.path || laid.rest.segment_bytes != self.segment_bytes {
            return 0;
        }
        let has_last = laid.bytes % self.segment_bytes > DATA_HEADER_BYTES;
        let count = laid.bytes / self.segment_bytes + usize::from(has_last);
        let (headers, _) = headers.as_chunks();
        let payload_bytes = self.segment_bytes - DATA_HEADER_BYTES;
        let starts = (start..self.message_length).step_by(payload_bytes);
        let pairs = headers.iter().zip(starts).take(count);
        pairs
            .take_while(|&(header, start)| self.is_at(start, header))
            .count()
    }
}

impl Expectations {
    /// Segments of a message came, and more may.
    pub(super) fn add(&mut self, segments: Expected) {
        let known = self.messages.iter_mut().find(|it| it.rpc == segments.rpc);
        match known {
            Some(known) => *known = segments,
            None => {
                if self.messages.len() == EXPECTED_MAX {
                    self.messages.remove(0);
                }
                self.messages.push(segments);
            }
        }
    }

    /// The message whose next bytes this buffer begins with, and where they begin. Messages that are
    /// over are forgotten.
    fn find(
        &mut self,
        engine: &Engine,
        path: Path,
        first: &Received<'_>,
    ) -> Option<(Expected, u32)> {
        let header = first.bytes.first_chunk();
        let mut found = None;
        self.messages.retain(|it| {
            let Some(unreached) = engine.unreached(it.rpc) else {
                return false;
            };
            let is_it = |header| it.path == path && it.is_at(unreached.start, header);
            if first.segment_bytes == it.segment_bytes && header.is_some_and(is_it) {
                found = Some((*it, unreached.start));
            }
            true
        });
        found
    }
}

/// Takes what has arrived on a link on which long messages are on their way.
#[inline(never)]
pub(super) fn receive(
    socket: &mut Socket,
    placer: &mut Placer<'_>,
    counters: &mut HostCounters,
) -> io::Result<usize> {
    let (mut count, mut bytes) = (0, 0);
    while bytes < ENOUGH_BYTES && socket.link.receives_ahead() {
        let mut start = [0; DATA_HEADER_BYTES];
        let Some(first) = socket.link.peek(&mut start)? else {
            break;
        };
        let path = path(socket.id, first.from, first.to);
        let found = socket.ahead.expected.find(placer.engine, path, &first);
        let Some((expected, start)) = found else {
            return Ok(count + receive_own(socket, placer)?);
        };
        let received = receive_at(socket, placer, counters, &expected, start)?;
        let Some((datagrams, received)) = received else {
            break;
        };
        count += datagrams;
        bytes += received;
    }
    match count {
        // What cannot be looked at must not stand in the way of all else.
        0 => receive_own(socket, placer),
        _ => Ok(count),
    }
}

/// Takes one buffer, whose payload should be that of `expected` from byte `start` on. Returns how many
/// datagrams and how many bytes that was.
fn receive_at(
    socket: &mut Socket,
    placer: &mut Placer<'_>,
    counters: &mut HostCounters,
    expected: &Expected,
    start: u32,
) -> io::Result<Option<(usize, usize)>> {
    let (id, server) = (socket.id, socket.server);
    let Ahead {
        expected: expectations,
        headers,
        flat,
    } = &mut socket.ahead;
    headers.resize(homa_net::MAX_SEGMENTS * DATA_HEADER_BYTES, 0);
    flat.clear();
    let room = placer
        .messages
        .room(expected.rpc, start..expected.message_length);
    let mut into = homa_net::Ahead {
        segment_bytes: expected.segment_bytes,
        header_bytes: DATA_HEADER_BYTES,
        headers,
        payload: room.unwrap_or_default(),
    };
    let Some(laid) = socket.link.receive_ahead(&mut into)? else {
        return Ok(None);
    };
    let path = path(id, laid.rest.from, laid.rest.to);
    let right = expected.count_right(path, &laid, into.headers, start);
    let right_bytes = laid.bytes.min(right * expected.segment_bytes);
    let wrong_bytes = laid.bytes - right_bytes;
    if wrong_bytes > 0 {
        laid.gather(&mut into, right, flat);
    }
    counters.bytes_in_place += right_bytes as u64;
    counters.bytes_out_of_place += wrong_bytes as u64;
    if let (1.., Some(header)) = (right, headers.first_chunk()) {
        let payload = (right_bytes - right * DATA_HEADER_BYTES) as u32;
        let range = start..start + payload;
        placer.settle_run(server, expected, header, range, right as u32);
    }
    let mut others = laid.rest;
    if wrong_bytes > 0 {
        others.bytes = flat;
    }
    others.segment_bytes = others.segment_bytes.min(others.bytes.len());
    let bytes = right_bytes + others.bytes.len();
    if others.bytes.is_empty() {
        return Ok(Some((right, bytes)));
    }
    placer.place_runs(server, path, &others, expectations);
    Ok(Some((right + others.datagram_count(), bytes)))
}
