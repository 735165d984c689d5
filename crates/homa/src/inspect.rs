//! What a running host does, told to people: its sockets, peers, RPCs, limits and counters, one JSON
//! object a line. `homa ss` asks processes for it.
//!
//! It decides what is told and in which words. Who may ask is decided in `door`.
//!
//! # Lines
//!
//! Each object has a `kind`; the other fields by kind:
//!
//! | kind | one for | fields |
//! |---|---|---|
//! | `host` | the host | `pid`, `program`, `engine`; how full each table is, and beside it its limit (`_max`) |
//! | `socket` | a socket | `local`, `accepts_requests`, `receive_buffer_bytes` |
//! | `peer` | a peer | `address`, `proven`, `rpcs`, `served`, `silent_us`, `round_trip_us`, `response_us`, `cutoffs`, `unscheduled_bytes`, `window_permille`, `in_flight_bytes`, `acks_owed` |
//! | `rpc` | an RPC under way | `id`, `peer`, `local`, `state`, `age_us`, `send_bytes`, `sent`, `send_granted`, `resends`, `receive_bytes`, `received`, `whole`, `receive_granted`, `stalled`, `retried` |
//! | `counters` | the host | everything it counted that is not zero, by name |
//!
//! A number that is not known is left out. `state` is one of `asking`, `hearing` (the response comes
//! in), `receiving`, `in-service`, `responding`, `awaiting-ack`, `refused`. `id` is a string, since it
//! has 64 bits.

mod door;
mod line;

use core::time::Duration;
use std::io::{self, Write};
use std::path::Path;

use homa_proto::{Engine, Instant, PeerView, RpcView, SocketView};

use crate::counters::Counters;
use crate::error::BindError;
use crate::host::Host;
use crate::shared::{Broken, Shared};
use line::Line;

pub(crate) use door::Door;
pub use door::NAME_PREFIX;

/// Places of a table that are looked at before others have the host again: some microseconds.
const PAGE: u32 = 64;

impl Host {
    /// Writes what the host does at the moment, one JSON object a line (see [`inspect`](crate::inspect)).
    ///
    /// The host goes on meanwhile: RPCs that begin or end are told or not.
    ///
    /// # Errors
    ///
    /// `out` takes no more, or the host is broken.
    pub fn inspect(&self, out: &mut dyn Write) -> io::Result<()> {
        tell(self.shared(), out)
    }
}

/// Writes all lines of a host.
pub(crate) fn tell(shared: &Shared, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(host_line(shared)?.as_bytes())?;
    for line in socket_lines(shared)? {
        out.write_all(line.as_bytes())?;
    }
    pages(shared, out, Engine::peer_places, |state, place, now| {
        let peer = state.engine.peer_at(place)?;
        Some(peer_line(&peer, now))
    })?;
    pages(shared, out, Engine::rpc_places, |state, place, now| {
        let rpc = state.engine.rpc_at(place)?;
        let local = state.links.get(rpc.socket)?.link.local_addr();
        let age = state.messages().age(rpc.rpc, now);
        Some(rpc_line(&rpc, local, age))
    })?;
    out.write_all(counters_line(&counters(shared)?).as_bytes())
}

/// Writes the lines of a table, a page of places at a time.
fn pages(
    shared: &Shared,
    out: &mut dyn Write,
    places: fn(&Engine) -> u32,
    line: impl Fn(&crate::state::State, u32, Instant) -> Option<String>,
) -> io::Result<()> {
    let mut from = 0;
    loop {
        let state = shared.lock().map_err(broken)?;
        let now = shared.parts.clock.now();
        let end = places(&state.engine);
        let page = from..end.min(from + PAGE);
        from = page.end;
        let lines: Vec<String> = page.filter_map(|place| line(&state, place, now)).collect();
        drop(state);
        for line in lines {
            out.write_all(line.as_bytes())?;
        }
        if from >= end {
            return Ok(());
        }
    }
}

/// Everything that a host counted.
pub(crate) fn counters(shared: &Shared) -> io::Result<Counters> {
    shared.counters().map_err(broken)
}

fn broken(_: Broken) -> io::Error {
    io::Error::other(BindError::Broken)
}

/// A number that goes up and down, and what it may grow to.
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) limit: Option<u64>,
}

/// How full everything of a host is.
pub(crate) fn gauges(shared: &Shared) -> io::Result<Vec<Gauge>> {
    let mut state = shared.lock().map_err(broken)?;
    // What came back is entered at the next turn only.
    state.settle_and_alert(shared.parts.clock.now());
    let config = state.engine.config().clone();
    let usage = state.engine.usage();
    drop(state);
    let (budget, pool) = (&shared.parts.budget, &shared.parts.pool);
    let limited = |name, value: u64, limit: u64| Gauge {
        name,
        value,
        limit: Some(limit),
    };
    let table = |name, value: u32, limit: u32| limited(name, value.into(), limit.into());
    let (rpcs, served) = (usage.client_rpcs, usage.server_rpcs);
    let (peers, gaps, blocks) = (usage.peers, usage.ranges, usage.tombstone_blocks);
    let (held, limit) = (usage.budget_used_bytes, config.receive_budget_bytes);
    let granted = usage.active_messages as u64;
    let incoming_max = config.max_incoming_bytes.into();
    Ok(vec![
        table("client_rpcs", rpcs, config.max_client_rpcs),
        table("server_rpcs", served, config.max_server_rpcs),
        table("peers", peers, config.max_peers),
        table("gaps", gaps, config.max_gaps),
        table("tombstone_blocks", blocks, config.max_tombstone_blocks),
        limited("receive_bytes", held, limit),
        limited("send_bytes", budget.held(), budget.limit()),
        limited("incoming_bytes", usage.incoming_bytes, incoming_max),
        limited("granted_messages", granted, config.overcommitment.into()),
        Gauge {
            name: "pool_idle_bytes",
            value: pool.idle_bytes() as u64,
            limit: None,
        },
        Gauge {
            name: "stalled",
            value: usage.stalled.into(),
            limit: None,
        },
    ])
}

fn host_line(shared: &Shared) -> io::Result<String> {
    let config = shared.lock().map_err(broken)?.engine.config().clone();
    let mut line = Line::new("host");
    line.number("pid", std::process::id());
    line.text("program", &program());
    line.number("engine", config.engine);
    for Gauge { name, value, limit } in gauges(shared)? {
        line.number(name, value);
        line.maybe(&format!("{name}_max"), limit);
    }
    line.maybe("link_bits_per_second", config.link_bits_per_second);
    Ok(line.end())
}

/// The name of this process, as it was called.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn socket_lines(shared: &Shared) -> io::Result<Vec<String>> {
    let state = shared.lock().map_err(broken)?;
    let tell = |view: SocketView| {
        let link = &state.links.get(view.socket)?.link;
        let mut line = Line::new("socket");
        line.text("local", &link.local_addr().to_string());
        line.flag("accepts_requests", view.accepts_requests);
        let buffer = link.capabilities().receive_buffer_bytes;
        line.number("receive_buffer_bytes", buffer as u64);
        Some(line.end())
    };
    Ok(state.engine.sockets().filter_map(tell).collect())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn peer_line(peer: &PeerView, now: Instant) -> String {
    let mut line = Line::new("peer");
    line.text("address", &peer.address.to_socket_addr().to_string());
    line.flag("proven", peer.is_proven);
    line.number("rpcs", peer.rpcs);
    line.number("served", peer.server_rpcs);
    line.number("silent_us", micros(now - peer.heard));
    line.maybe("round_trip_us", peer.round_trip.map(micros));
    line.maybe("response_us", peer.response_time.map(micros));
    if let Some(cutoffs) = &peer.cutoffs {
        line.numbers("cutoffs", cutoffs);
    }
    line.maybe("grant_us", peer.grant_time.map(micros));
    line.number("unscheduled_bytes", peer.unscheduled_bytes);
    line.number("window_permille", peer.window_permille);
    line.number("in_flight_bytes", peer.in_flight_bytes);
    line.number("acks_owed", peer.acks_owed);
    line.end()
}

fn rpc_line(rpc: &RpcView, local: core::net::SocketAddr, age: Option<Duration>) -> String {
    let mut line = Line::new("rpc");
    line.text("id", &rpc.id.get().to_string());
    line.text("peer", &rpc.peer.to_socket_addr().to_string());
    line.text("local", &local.to_string());
    line.text("state", rpc.stage.word());
    line.maybe("age_us", age.map(micros));
    if let Some(sending) = rpc.sending {
        line.number("send_bytes", sending.length);
        line.number("sent", sending.sent);
        line.number("send_granted", sending.granted);
        line.flag("resends", sending.resends);
    }
    if let Some(receiving) = rpc.receiving {
        line.number("receive_bytes", receiving.length);
        line.number("received", receiving.received);
        line.number("whole", receiving.whole);
        line.number("receive_granted", receiving.granted);
        line.flag("stalled", receiving.stalled);
    }
    line.flag("retried", rpc.retried);
    line.end()
}

fn counters_line(counters: &Counters) -> String {
    let mut line = Line::new("counters");
    for (name, value) in counters.iter().filter(|&(_, value)| value > 0) {
        line.number(name, value);
    }
    line.end()
}
