//! Packets of a capture, as the peer of the engine sent them, each at its time.
//!
//! What another run of the same peer would write otherwise is written so: the number of an RPC that is
//! the engine's own, and the version that DATA echoes, which is that of the CUTOFFS the engine sent.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use homa_proto::wire::{MAX_HEADER_BYTES, Packet};

use crate::captured::{self, Captured};
use crate::player::{Joined, Player, ms};

/// Where things stand in a packet.
const TYPE_AT: usize = 11;
const SENDER_ID_AT: usize = 20;
const VERSION_AT: usize = 46;
/// Type code of DATA.
const DATA: u8 = 0x10;

/// The captured packets of the peer that did not come yet.
#[derive(Default)]
pub(crate) struct Tape {
    pub(crate) packets: VecDeque<Captured>,
    /// Homa ports of the client and of the server.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Tape {
    /// Loads what the peer sent: the client if the engine is the server.
    pub(crate) fn load(file: &str, is_server: bool) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let bytes =
            fs::read(directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut packets = VecDeque::from(captured::packets(&bytes));
        // The client's numbers are even.
        let is_clients = |packet: &Captured| packet.bytes[SENDER_ID_AT + 7] & 1 == 0;
        packets.retain(|packet| is_clients(packet) == is_server);
        let ports = packets.front().map(|packet| {
            let port = |at| u16::from_be_bytes([packet.bytes[at], packet.bytes[at + 1]]);
            if is_server {
                (port(0), port(2))
            } else {
                (port(2), port(0))
            }
        });
        Self { packets, ports }
    }
}

impl Player {
    /// The next packets of the capture are these: DATA in a row, or `COUNT times` the same. They come,
    /// unless they are `lost`, the first at `at`.
    pub(crate) fn replay(&mut self, place: &str, at: u64, words: &[&str]) {
        let (words, is_lost) = match words {
            [words @ .., "lost"] => (words, true),
            _ => (words, false),
        };
        let (words, mut count) = match words {
            [words @ .., count, "times"] => (words, count.parse().expect("a count")),
            _ => (words, 1),
        };
        let wanted = words.join(" ");
        let next = self.tape.packets.front();
        let start = next.map_or_else(|| panic!("{place}: the capture is over"), |next| next.at_ns);
        assert_eq!(start, at, "{place}\nit came at {} ms", ms(start));
        let mut row: Option<Joined> = None;
        while count > 0 {
            let captured = self.tape.packets.pop_front().expect("the capture goes on");
            let packet = parse(&captured.bytes);
            let joined = Joined::new(packet, 0);
            let joined = match row {
                Some(row) if joined.goes_on_from(&row) => row.with(packet),
                None => joined,
                Some(row) => panic!("{place}\nthe row that came: {}", row.text()),
            };
            let came = joined.text();
            let came = came.trim_end_matches(" level 0");
            let is_whole = came == wanted;
            row = (!is_whole).then_some(joined);
            count -= u32::from(is_whole);
            if !is_lost {
                self.come(&captured);
            }
            let is_hopeless = row.is_some() && captured.bytes[TYPE_AT] != DATA;
            assert!(!is_hopeless, "{place}\nwhat came: {came}");
        }
    }

    fn come(&mut self, captured: &Captured) {
        let length = captured.bytes.len();
        let mut header = captured.bytes[..length.min(MAX_HEADER_BYTES)].to_vec();
        if !self.is_server {
            let id = self.rpc_id | 1;
            header[SENDER_ID_AT..SENDER_ID_AT + 8].copy_from_slice(&id.to_be_bytes());
        }
        if header[TYPE_AT] == DATA {
            header[VERSION_AT..VERSION_AT + 2].copy_from_slice(&self.version.to_be_bytes());
        }
        self.hear_captured(captured.at_ns, &header, length as u32);
    }
}

fn parse(bytes: &[u8]) -> Packet {
    let header = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
    Packet::parse(header, bytes.len() as u32).expect("a captured packet is legal")
}
