//! Plays one file against one engine.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use homa_proto::wire::{Body, Form, Packet};
use homa_proto::{
    Address, Burst, Call, Config, Engine, Event, Instant, Path, RpcKey, Seed, SocketId,
};

use crate::packets::{self, SEGMENT};

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
    /// DATA: its end, so that what goes on there joins it.
    data: Option<Joined>,
}

/// DATA in a row.
#[derive(Clone, Copy)]
struct Joined {
    packet: Packet,
    start: u32,
    level: u8,
}

struct Player {
    engine: Engine,
    path: Path,
    is_server: bool,
    form: Form,
    now: u64,
    /// When the peer or the application last did something.
    acted: u64,
    said: VecDeque<Said>,
    rpc: Option<RpcKey>,
    words: BTreeMap<String, String>,
}

/// Plays a conversation; panics at the first line that does not come true.
pub(crate) fn play(name: &str, text: &str) {
    let mut lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let mut config = Config::default();
    let (mut is_server, mut form) = (true, Form::default());
    let mut player = None;
    for (number, line) in &mut lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = format!("{name}, line {}: {line}", number + 1);
        match words[0] {
            "role" => is_server = words[1] == "server",
            "config" => match words[1] {
                "stripped_peers" => config.stripped_peers = true,
                other => panic!("{place}: no switch is called {other}"),
            },
            "form" => form = packets::form(words[1]),
            _ => player
                .get_or_insert_with(|| Player::new(config.clone(), is_server, form))
                .line(&place, &words),
        }
    }
    let player = player.expect("a conversation has lines");
    assert!(
        player.said.is_empty(),
        "{name}: at the end:{}",
        player.left()
    );
}

/// Milliseconds as nanoseconds.
fn time(word: &str) -> Option<u64> {
    let milliseconds: f64 = word.parse().ok()?;
    Some((milliseconds * 1e6).round() as u64)
}

impl Player {
    fn new(config: Config, is_server: bool, form: Form) -> Self {
        let mut engine = Engine::new(config, Seed([1, 2])).unwrap();
        let (own, peer) = if is_server {
            (SERVER_PORT, CLIENT_PORT)
        } else {
            (CLIENT_PORT, SERVER_PORT)
        };
        let socket: SocketId = engine.open_socket(own, is_server).unwrap();
        Self {
            engine,
            path: Path {
                socket,
                peer: Address::from(SocketAddr::from(([10, 0, 0, 2], peer))),
                local: Ipv6Addr::UNSPECIFIED,
            },
            is_server,
            form,
            now: 0,
            acted: 0,
            said: VecDeque::new(),
            rpc: None,
            words: BTreeMap::new(),
        }
    }

    /// The engine's time.
    fn instant(&self) -> Instant {
        START + Duration::from_nanos(self.now)
    }

    fn line(&mut self, place: &str, words: &[&str]) {
        let at = time(words[0]).unwrap_or_else(|| panic!("{place}: no time"));
        assert!(
            at >= self.now || matches!(words[1], ">" | "event"),
            "{place}: time runs back"
        );
        match words[1] {
            ">" => self.expect(place, at, &words[2..]),
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
                    dest_port: SERVER_PORT,
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
        let (source, dest) = if self.is_server {
            (CLIENT_PORT, SERVER_PORT)
        } else {
            (SERVER_PORT, CLIENT_PORT)
        };
        for (header, length) in packets::read(&words, source, dest, self.is_server, self.form) {
            let now = self.instant();
            if let Some(placement) = self.engine.handle_packet(now, self.path, &header, length) {
                placement.commit();
            }
        }
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
                self.say(parsed, level);
            }
        }
        while let Some(event) = self.engine.poll_event() {
            let text = self.told(event);
            self.said.push_back(Said {
                at: self.now,
                text,
                data: None,
            });
        }
    }

    fn say(&mut self, packet: Packet, level: u8) {
        let mut joined = Joined {
            packet,
            start: match packet.body {
                Body::Data(data) => data.offset,
                _ => 0,
            },
            level,
        };
        if let Some(last) = self.said.back_mut()
            && last.at == self.now
            && let Some(before) = last.data.filter(|before| goes_on(before, &joined))
        {
            joined.start = before.start;
            last.text = text_of(&joined);
            last.data = Some(joined);
            return;
        }
        let is_data = matches!(packet.body, Body::Data(_));
        self.said.push_back(Said {
            at: self.now,
            text: text_of(&joined),
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

/// Whether DATA is of the same message, kind and level and begins where the other ends.
fn goes_on(before: &Joined, next: &Joined) -> bool {
    match (&before.packet.body, &next.packet.body) {
        (Body::Data(old), Body::Data(new)) => {
            before.packet.common == next.packet.common
                && before.level == next.level
                && old.end() == new.offset
                && (old.incoming, old.retransmit, old.ack, old.cutoff_version)
                    == (new.incoming, new.retransmit, new.ack, new.cutoff_version)
        }
        _ => false,
    }
}

/// The words of a packet, or of DATA from where the row began.
fn text_of(joined: &Joined) -> String {
    let mut packet = joined.packet;
    if let Body::Data(data) = &mut packet.body {
        data.payload_length = data.end() - joined.start;
        data.offset = joined.start;
    }
    packets::write(&packet, joined.level)
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
