//! Plays one file against one engine.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use homa_proto::wire::{Body, Form, Packet};
use homa_proto::{
    Address, Burst, Call, Config, Engine, Event, Instant, Path, RpcKey, Seed, SocketId,
};

use crate::packets::{self, SEGMENT};
use crate::replay::Tape;

/// Homa ports of a client and of a server.
const CLIENT_PORT: u16 = 32_768;
const SERVER_PORT: u16 = 99;

/// The engine's time does not begin at 0.
const START: Instant = Instant::from_nanos(1_000_000_000);

/// How late a deadline may be kept, in nanoseconds: the tick of the reference. Answers are never late.
const TICK: u64 = 1_000_000;

/// What the engine did, and when, in nanoseconds from the start.
struct Said {
    at: u64,
    text: String,
    /// The header of the packet, or of the first in a row.
    header: Vec<u8>,
    /// DATA: its end, so that what goes on there joins it.
    data: Option<Joined>,
}

/// DATA in a row.
#[derive(Clone, Copy)]
pub(crate) struct Joined {
    packet: Packet,
    start: u32,
    level: u8,
}

/// What the lines before the first with a time say.
#[derive(Default)]
struct Setting {
    config: Config,
    is_client: bool,
    form: Form,
    capture: Option<String>,
}

pub(crate) struct Player {
    engine: Engine,
    path: Path,
    pub(crate) is_server: bool,
    /// Homa ports of the client and of the server.
    ports: (u16, u16),
    form: Form,
    /// What comes from a capture.
    pub(crate) tape: Tape,
    now: u64,
    /// When the peer or the application last did something.
    acted: u64,
    said: VecDeque<Said>,
    /// The header of what a line was compared with last.
    header: Vec<u8>,
    rpc: Option<RpcKey>,
    words: BTreeMap<String, String>,
    /// Of the latest CUTOFFS of the engine, 0 before.
    pub(crate) version: u16,
    /// The client's number of the RPC that the engine sent of last, 0 before.
    pub(crate) rpc_id: u64,
}

/// Plays a conversation; panics at the first line that does not come true.
pub(crate) fn play(name: &str, text: &str) {
    let mut lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let mut setting = Setting::default();
    let mut player = None;
    for (number, line) in &mut lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = format!("{name}, line {}: {line}", number + 1);
        match words[0] {
            "role" => setting.is_client = words[1] == "client",
            "config" => match words[1] {
                "stripped_peers" => setting.config.stripped_peers = true,
                other => panic!("{place}: no switch is called {other}"),
            },
            "form" => setting.form = packets::form(words[1]),
            "capture" => setting.capture = Some(words[1].to_owned()),
            _ => player
                .get_or_insert_with(|| Player::new(&setting))
                .line(&place, &words),
        }
    }
    let player = player.expect("a conversation has lines");
    assert!(
        player.said.is_empty(),
        "{name}: at the end:{}",
        player.left()
    );
    let left_count = player.tape.packets.len();
    assert_eq!(left_count, 0, "{name}: packets of the capture are left");
}

/// Milliseconds as nanoseconds.
fn time(word: &str) -> Option<u64> {
    let milliseconds: f64 = word.parse().ok()?;
    Some((milliseconds * 1e6).round() as u64)
}

impl Player {
    fn new(setting: &Setting) -> Self {
        let is_server = !setting.is_client;
        let tape = setting.capture.as_deref();
        let tape = tape.map_or_else(Tape::default, |file| Tape::load(file, is_server));
        let ports = tape.ports.unwrap_or((CLIENT_PORT, SERVER_PORT));
        let (own, peer) = match is_server {
            true => (ports.1, ports.0),
            false => ports,
        };
        let mut engine = Engine::new(setting.config.clone(), Seed([1, 2])).unwrap();
        let socket: SocketId = engine.open_socket(own, is_server).unwrap();
        Self {
            engine,
            path: Path {
                socket,
                peer: Address::from(SocketAddr::from(([10, 0, 0, 2], peer))),
                local: Ipv6Addr::UNSPECIFIED,
            },
            is_server,
            ports,
            form: setting.form,
            tape,
            now: 0,
            acted: 0,
            said: VecDeque::new(),
            header: Vec::new(),
            rpc: None,
            words: BTreeMap::new(),
            version: 0,
            rpc_id: 0,
        }
    }

    /// The engine's time.
    fn instant(&self) -> Instant {
        START + Duration::from_nanos(self.now)
    }

    fn line(&mut self, place: &str, words: &[&str]) {
        let at = time(words[0]).unwrap_or_else(|| panic!("{place}: no time"));
        assert!(
            at >= self.now || matches!(words[1], ">" | "bytes" | "event"),
            "{place}: time runs back"
        );
        match words[1] {
            ">" => self.expect(place, at, &words[2..]),
            "bytes" => self.expect_bytes(place, &words[2..]),
            "<<" => {
                assert!(self.said.is_empty(), "{place}\nbefore it:{}", self.left());
                self.replay(place, at, &words[2..]);
            }
            "event" => self.expect(place, at, &words[1..]),
            action => {
                self.advance(at);
                assert!(self.said.is_empty(), "{place}\nbefore it:{}", self.left());
                self.acted = at;
                self.act(action, &words[2..], place);
                self.drain();
            }
        }
    }

    fn act(&mut self, action: &str, words: &[&str], place: &str) {
        let now = self.instant();
        let length = || {
            words[0]
                .parse()
                .unwrap_or_else(|_| panic!("{place}: no length"))
        };
        match action {
            "quiet" => {}
            "<" => self.hear(words),
            "call" => {
                let call = Call {
                    path: self.path,
                    dest_port: self.ports.1,
                    length: length(),
                    segment_bytes: SEGMENT,
                    deadline: None,
                    idempotent: false,
                };
                self.rpc = Some(self.engine.call(now, call).unwrap());
            }
            "reply" => {
                let rpc = self.rpc.expect("a request came");
                self.engine.reply(now, rpc, length(), SEGMENT).unwrap();
            }
            other => panic!("{place}: nothing is called {other}"),
        }
    }

    fn hear(&mut self, words: &[&str]) {
        let known = |word: &&str| {
            self.words
                .get(*word)
                .map_or(*word, String::as_str)
                .to_owned()
        };
        let words: Vec<String> = words.iter().map(known).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (client, server) = self.ports;
        let (source, dest) = match self.is_server {
            true => (client, server),
            false => (server, client),
        };
        for (header, length) in packets::read(&words, source, dest, self.is_server, self.form) {
            self.hand_over(&header, length);
        }
    }

    /// The link hands a packet to the engine.
    fn hand_over(&mut self, header: &[u8], length: u32) {
        let now = self.instant();
        if let Some(placement) = self.engine.handle_packet(now, self.path, header, length) {
            placement.commit();
        }
    }

    /// A packet of the capture comes at its time.
    pub(crate) fn hear_captured(&mut self, at: u64, header: &[u8], length: u32) {
        self.advance(at);
        self.acted = at;
        self.hand_over(header, length);
        self.drain();
    }

    /// The next thing that the engine says is this, then.
    fn expect(&mut self, place: &str, at: u64, words: &[&str]) {
        if self.said.is_empty() {
            self.advance_to_next(at + TICK - 1);
        }
        let Some(said) = self.said.pop_front() else {
            panic!("{place}: by then the engine said nothing");
        };
        let found: Vec<&str> = said.text.split(' ').collect();
        let same = found.len() == words.len()
            && found.iter().zip(words).all(|(found, word)| match *word {
                "*" => true,
                name if name.starts_with('$') => {
                    self.words
                        .entry(name.to_owned())
                        .or_insert_with(|| (*found).to_owned())
                        == found
                }
                word => word == *found,
            });
        assert!(same, "{place}\nthe engine said: {}", said.text);
        let late = said.at.checked_sub(at);
        let is_in_time = said.at == at || said.at > self.acted && late.is_some_and(|l| l < TICK);
        assert!(is_in_time, "{place}\nit was said at {} ms", ms(said.at));
        self.header = said.header;
    }

    /// The packet of the line before begins with these bytes; `..` stands for any.
    fn expect_bytes(&self, place: &str, words: &[&str]) {
        let same = |(byte, word): (&u8, &&str)| *word == ".." || *word == format!("{byte:02x}");
        let equal_count = self.header.iter().zip(words).take_while(|pair| same(*pair));
        assert!(
            equal_count.count() == words.len(),
            "{place}\nthe bytes are {:02x?}",
            self.header
        );
    }

    /// Goes on to a time, keeping what is due before and then.
    fn advance(&mut self, until: u64) {
        while self.keep_deadline(until) {}
        self.now = self.now.max(until);
    }

    /// Goes on until the engine says something, or to a time.
    fn advance_to_next(&mut self, until: u64) {
        while self.said.is_empty() && self.keep_deadline(until) {}
    }

    /// Keeps the next deadline, if it comes by then.
    fn keep_deadline(&mut self, until: u64) -> bool {
        let due = self
            .engine
            .poll_timeout()
            .map(|(at, _)| at.nanos_since(START));
        let Some(due) = due.filter(|&due| due <= until) else {
            return false;
        };
        self.now = self.now.max(due);
        self.engine.handle_timeout(self.instant());
        self.drain();
        true
    }

    /// What the engine said and no line expected.
    fn left(&self) -> String {
        let said = self.said.iter();
        said.map(|said| format!("\n{:<7} {}", ms(said.at), said.text))
            .collect()
    }

    fn drain(&mut self) {
        let (now, mut burst) = (self.instant(), Burst::new().unwrap());
        while self.engine.poll_transmit(now, &mut burst) {
            let level = burst.priority().get();
            for packet in burst.packets() {
                let parsed = Packet::parse(packet.header, packet.length() as u32).unwrap();
                self.rpc_id = parsed.common.sender_id.get() & !1;
                if let Body::Cutoffs(cutoffs) = parsed.body {
                    self.version = cutoffs.version;
                }
                self.say(parsed, level, packet.header);
            }
        }
        while let Some(event) = self.engine.poll_event() {
            let text = self.told(event);
            self.said.push_back(Said {
                at: self.now,
                text,
                header: Vec::new(),
                data: None,
            });
        }
    }

    fn say(&mut self, packet: Packet, level: u8, header: &[u8]) {
        let mut joined = Joined::new(packet, level);
        if let Some(last) = self.said.back_mut()
            && last.at == self.now
            && let Some(before) = last.data.filter(|before| joined.goes_on_from(before))
        {
            joined.start = before.start;
            last.text = joined.text();
            last.data = Some(joined);
            return;
        }
        let is_data = matches!(packet.body, Body::Data(_));
        self.said.push_back(Said {
            at: self.now,
            text: joined.text(),
            header: header.to_vec(),
            data: is_data.then_some(joined),
        });
    }

    fn told(&mut self, event: Event) -> String {
        match event {
            Event::Request { rpc, length, .. } => {
                self.rpc = Some(rpc);
                format!("event request {length}")
            }
            Event::Response { length, .. } => format!("event response {length}"),
            Event::Failed { failure, .. } => format!("event failed {failure:?}"),
            Event::Ended { delivered, .. } => format!("event ended delivered {delivered}"),
        }
    }
}

impl Joined {
    /// A row of one packet.
    pub(crate) fn new(packet: Packet, level: u8) -> Self {
        let start = match packet.body {
            Body::Data(data) => data.offset,
            _ => 0,
        };
        Self {
            packet,
            start,
            level,
        }
    }

    /// Whether it is DATA of the same message, kind and level and begins where the other ends.
    pub(crate) fn goes_on_from(&self, before: &Self) -> bool {
        match (&before.packet.body, &self.packet.body) {
            (Body::Data(old), Body::Data(new)) => {
                before.packet.common == self.packet.common
                    && before.level == self.level
                    && old.end() == new.offset
                    && (old.incoming, old.retransmit, old.ack, old.cutoff_version)
                        == (new.incoming, new.retransmit, new.ack, new.cutoff_version)
            }
            _ => false,
        }
    }

    /// The row with one more packet.
    pub(crate) const fn with(self, packet: Packet) -> Self {
        Self { packet, ..self }
    }

    /// The words of a packet, or of DATA from where the row began.
    pub(crate) fn text(&self) -> String {
        let mut packet = self.packet;
        if let Body::Data(data) = &mut packet.body {
            data.payload_length = data.end() - self.start;
            data.offset = self.start;
        }
        packets::write(&packet, self.level)
    }
}

pub(crate) fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
