//! Long messages received straight into where they belong, and what comes instead.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::thread;

use common::{answer, message};
use homa::blocking::{Client, Server};
use homa::faults::{self, Faults};
use homa::memory::{self, Memory, pair};
use homa::{
    Ahead, Capabilities, Host, Laid, Link, LinkCounters, Received, Refusal, Transmit, Undeliverable,
};

/// A link that joins what another one brings, as the kernel does, and lays it out.
struct Laying {
    link: Faults<Memory>,
    waiting: VecDeque<Buffer>,
    rest: Vec<u8>,
}

/// The longest buffer.
const MAX_BATCH_BYTES: usize = 65_507;

/// What arrived together.
struct Buffer {
    from: SocketAddr,
    to: Option<IpAddr>,
    traffic_class: u8,
    segment_bytes: usize,
    bytes: Vec<u8>,
}

impl Laying {
    fn new(link: Memory, config: faults::Config) -> Box<Self> {
        Box::new(Self {
            link: Faults::new(link, config),
            waiting: VecDeque::new(),
            rest: Vec::new(),
        })
    }

    fn fetch(&mut self) -> io::Result<()> {
        let waiting = &mut self.waiting;
        let mut keep = |received: Received<'_>| {
            if let Some(last) = waiting.back_mut()
                && last.segment_bytes == received.segment_bytes
                && last.bytes.len().is_multiple_of(last.segment_bytes)
                && last.bytes.len() + received.bytes.len() <= MAX_BATCH_BYTES
            {
                return last.bytes.extend_from_slice(received.bytes);
            }
            waiting.push_back(Buffer {
                from: received.from,
                to: received.to,
                traffic_class: received.traffic_class,
                segment_bytes: received.segment_bytes,
                bytes: received.bytes.to_vec(),
            });
        };
        self.link.receive(&mut keep).map(drop)
    }
}

impl Buffer {
    fn received(&self) -> Received<'_> {
        Received {
            from: self.from,
            to: self.to,
            traffic_class: self.traffic_class,
            segment_bytes: self.segment_bytes,
            bytes: &self.bytes,
        }
    }
}

impl Link for Laying {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        self.link.send(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.fetch()?;
        let buffers = self.waiting.drain(..);
        Ok(buffers
            .map(|buffer| {
                sink(buffer.received());
                buffer.received().datagram_count()
            })
            .sum())
    }

    fn peek<'a>(&mut self, start: &'a mut [u8]) -> io::Result<Option<Received<'a>>> {
        if self.waiting.is_empty() {
            self.fetch()?;
        }
        let Some(first) = self.waiting.front() else {
            return Ok(None);
        };
        let length = first.bytes.len().min(start.len());
        start[..length].copy_from_slice(&first.bytes[..length]);
        Ok(Some(Received {
            bytes: &start[..length],
            from: first.from,
            to: first.to,
            traffic_class: first.traffic_class,
            segment_bytes: first.segment_bytes,
        }))
    }

    fn receive_ahead(&mut self, ahead: &mut Ahead<'_>) -> io::Result<Option<Laid<'_>>> {
        let Some(buffer) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let (mut bytes, mut rest) = (0, &buffer.bytes[..]);
        let payload_bytes = ahead.segment_bytes - ahead.header_bytes;
        let headers = ahead.headers.chunks_exact_mut(ahead.header_bytes);
        let payload = ahead.payload.chunks_exact_mut(payload_bytes);
        for (header, payload) in headers.zip(payload) {
            for place in [header, payload] {
                let (piece, behind) = rest.split_at(place.len().min(rest.len()));
                place[..piece.len()].copy_from_slice(piece);
                (bytes, rest) = (bytes + piece.len(), behind);
            }
        }
        self.rest = rest.to_vec();
        let rest = Received {
            from: buffer.from,
            to: buffer.to,
            traffic_class: buffer.traffic_class,
            segment_bytes: buffer.segment_bytes,
            bytes: &self.rest,
        };
        Ok(Some(Laid { rest, bytes }))
    }

    fn receives_ahead(&self) -> bool {
        true
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        self.link.poll_errors(sink)
    }

    fn local_addr(&self) -> SocketAddr {
        self.link.local_addr()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        self.link.route_mtu(to)
    }

    fn counters(&self) -> LinkCounters {
        self.link.counters()
    }
}

/// Echoes messages of these lengths, several at a time, over a wire with such faults; returns what
/// client and server received in place and out of place.
fn echo(lengths: &[usize], at_once: u64, faults: faults::Config) -> [(u64, u64); 2] {
    let config = memory::Config {
        capacity_bytes: 64 << 20,
        ..memory::Config::default()
    };
    let (near, far) = pair(&config).unwrap();
    let [client_host, server_host] = [0; 2].map(|_| Host::builder().build().unwrap());
    let client = Client::on_link(&client_host, Laying::new(near, faults)).unwrap();
    let server = Server::on_link(&server_host, Laying::new(far, faults)).unwrap();
    let worker = thread::spawn({
        let server = server.clone();
        move || {
            while let Ok(request) = server.recv() {
                let _ = request.responder.reply(&answer(&request.message));
            }
        }
    });
    for &length in lengths {
        for cookie in 0..at_once {
            let request = message(cookie, length);
            client.submit(config.addresses.1, &request, cookie).unwrap();
        }
        for _ in 0..at_once {
            let done = client.next_completion(None).unwrap().unwrap();
            let expected = answer(&message(done.cookie, length));
            assert!(*done.result.unwrap() == expected, "{length} bytes changed");
        }
    }
    server.close();
    worker.join().unwrap();
    [client_host, server_host].map(|host| {
        let counters = host.counters().unwrap().host;
        (counters.bytes_in_place, counters.bytes_out_of_place)
    })
}

#[test]
fn most_of_a_long_message_is_received_where_it_belongs() {
    for (in_place, out_of_place) in echo(&[1_000_000; 4], 1, faults::Config::default()) {
        // Not the first bytes of each, by which the others are known.
        assert!(in_place > 3_200_000, "{in_place}");
        assert!(out_of_place < 400_000, "{out_of_place}");
    }
}

#[test]
fn messages_that_take_turns_arrive_unchanged() {
    for (in_place, out_of_place) in
        echo(&[1_000_000, 999_999, 300_001], 5, faults::Config::default())
    {
        assert!(in_place > out_of_place, "{in_place} and {out_of_place}");
    }
}

#[test]
fn what_is_lost_late_or_doubled_does_no_harm_where_the_rest_is_expected() {
    for seed in 0..6 {
        let faults = faults::Config {
            drop_millionths: 3_000,
            reorder_millionths: 3_000,
            duplicate_millionths: 3_000,
            seed,
        };
        let [client, server] = echo(&[1_000_000, 100_000, 1_416, 500_000], 3, faults);
        for (in_place, out_of_place) in [client, server] {
            assert!(
                in_place > 0 && out_of_place > 0,
                "{in_place} and {out_of_place}"
            );
        }
    }
}
