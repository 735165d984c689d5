//! `homa dump --rpcs`: the packets of each RPC together, DATA in a row told as one, with what was
//! missing and when it came.
//!
//! Memory is bounded: where there are too many RPCs or rows, the RPC that began first is told before
//! its time, and what follows of it begins a timeline of its own.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use homa_proto::wire::{Ack, Body, Data, RpcId};
use serde_json::{Value, json};

use super::message::{Message, Missing};
use super::record::{Record, Says, Seconds};

/// The most RPCs and rows in memory.
const RPCS_MAX: usize = 1 << 16;
const ROWS_MAX: usize = 1 << 19;

/// What tells one RPC from all others of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: SocketAddr,
    server: IpAddr,
    /// As the client knows it.
    id: u64,
}

/// All RPCs that are not told yet.
#[derive(Default)]
pub(super) struct Timelines {
    rpcs: HashMap<Key, Timeline>,
    /// In the order in which they began.
    order: BTreeMap<u64, Key>,
    begun: u64,
    row_count: usize,
}

/// One RPC.
struct Timeline {
    key: Key,
    server_port: u16,
    start_ns: u64,
    end_ns: u64,
    request: Message,
    response: Message,
    /// Whether a packet of another RPC acknowledged this one.
    is_acked: bool,
    rows: Vec<Row>,
}

/// What happened at a moment, or in a row.
struct Row {
    at_ns: u64,
    /// Whether the client said it.
    by_client: bool,
    what: What,
}

enum What {
    /// DATA without a hole, in one or more packets.
    Data {
        start: u32,
        end: u32,
        count: u32,
        retransmit: bool,
    },
    /// Bytes that should have come before those behind them.
    Gap { start: u32, end: u32 },
    /// Missing bytes that came, so long after they were missed.
    Filled { start: u32, end: u32, after_ns: u64 },
    /// The server may forget the RPC; told in a packet of another RPC.
    Acked { by: u64 },
    /// A packet without payload.
    Control(Body),
}

impl Timelines {
    /// Takes a packet in. What is malformed belongs to no RPC and is told at once.
    pub(super) fn add(
        &mut self,
        record: &Record<'_>,
        as_json: bool,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Ok(packet) = &record.packet else {
            return if as_json {
                writeln!(out, "{}", record.json())
            } else {
                writeln!(out, "{record}")
            };
        };
        let by_client = packet.common.sender_id.is_client();
        let (client, server) = if by_client {
            (record.from, record.to)
        } else {
            (record.to, record.from)
        };
        let key = key(client, server.ip(), packet.common.sender_id);
        while self.rpcs.len() >= RPCS_MAX || self.row_count >= ROWS_MAX {
            self.tell_first(as_json, out)?;
        }
        let at_ns = record.since_start_ns;
        let timeline = self.timeline(key, server.port(), at_ns);
        let before = timeline.rows.len();
        timeline.add(at_ns, by_client, &packet.body);
        self.row_count += timeline.rows.len() - before;
        for ack in acks(&packet.body) {
            self.acked(
                key_of_ack(ack, client, server.ip()),
                at_ns,
                packet.common.sender_id,
            );
        }
        Ok(())
    }

    fn timeline(&mut self, key: Key, server_port: u16, at_ns: u64) -> &mut Timeline {
        let (begun, order) = (&mut self.begun, &mut self.order);
        self.rpcs.entry(key).or_insert_with(|| {
            *begun += 1;
            order.insert(*begun, key);
            Timeline {
                key,
                server_port,
                start_ns: at_ns,
                end_ns: at_ns,
                request: Message::default(),
                response: Message::default(),
                is_acked: false,
                rows: Vec::new(),
            }
        })
    }

    fn acked(&mut self, key: Key, at_ns: u64, by: RpcId) {
        let Some(timeline) = self.rpcs.get_mut(&key) else {
            return;
        };
        let by = by.get() & !1;
        // A packet may repeat the ack of its own RPC, and many packets carry the same one.
        if by != key.id && !timeline.is_acked {
            timeline.is_acked = true;
            timeline.push(at_ns, true, What::Acked { by });
            self.row_count += 1;
        }
    }

    fn tell_first(&mut self, as_json: bool, out: &mut impl Write) -> io::Result<()> {
        let Some((_, key)) = self.order.pop_first() else {
            return Ok(());
        };
        let Some(timeline) = self.rpcs.remove(&key) else {
            return Ok(());
        };
        self.row_count -= timeline.rows.len();
        if as_json {
            writeln!(out, "{}", timeline.json())
        } else {
            write!(out, "{timeline}")
        }
    }

    /// Tells all that are left.
    pub(super) fn end(mut self, as_json: bool, out: &mut impl Write) -> io::Result<()> {
        while !self.order.is_empty() {
            self.tell_first(as_json, out)?;
        }
        Ok(())
    }
}

fn key(client: SocketAddr, server: IpAddr, id: RpcId) -> Key {
    let id = id.get() & !1;
    Key { client, server, id }
}

/// The RPC that an ack names: of the same client's port, as far as one can tell.
fn key_of_ack(ack: Ack, client: SocketAddr, server: IpAddr) -> Key {
    key(client, server, ack.client_id)
}

fn acks(body: &Body) -> impl Iterator<Item = Ack> {
    let (one, many) = match body {
        Body::Data(data) => (data.ack, None),
        Body::Ack(acks) => (None, Some(*acks)),
        _ => (None, None),
    };
    let many: Vec<Ack> = many.iter().flat_map(|acks| acks.iter()).collect();
    one.into_iter().chain(many)
}

impl Timeline {
    fn push(&mut self, at_ns: u64, by_client: bool, what: What) {
        self.end_ns = self.end_ns.max(at_ns);
        self.rows.push(Row {
            at_ns,
            by_client,
            what,
        });
    }

    fn add(&mut self, at_ns: u64, by_client: bool, body: &Body) {
        match body {
            Body::Data(data) => self.add_data(at_ns, by_client, data),
            _ => {
                // GRANT and RESEND are about the message that goes the other way.
                let about = if by_client {
                    &mut self.response
                } else {
                    &mut self.request
                };
                match body {
                    Body::Grant(_) => about.grant_count += 1,
                    Body::Resend(_) => about.resend_count += 1,
                    _ => {}
                }
                self.push(at_ns, by_client, What::Control(*body));
            }
        }
    }

    fn add_data(&mut self, at_ns: u64, by_client: bool, data: &Data) {
        let message = if by_client {
            &mut self.request
        } else {
            &mut self.response
        };
        let news = message.add(at_ns, data);
        if let Some((start, end)) = news.gap {
            self.push(at_ns, by_client, What::Gap { start, end });
        }
        self.add_row_of_data(at_ns, by_client, data);
        for Missing {
            start,
            end,
            since_ns,
        } in news.filled
        {
            let after_ns = at_ns.saturating_sub(since_ns);
            self.push(
                at_ns,
                by_client,
                What::Filled {
                    start,
                    end,
                    after_ns,
                },
            );
        }
    }

    /// Makes the last row longer if the packet goes on where it ends.
    fn add_row_of_data(&mut self, at_ns: u64, by_client: bool, data: &Data) {
        if let Some(row) = self.rows.last_mut()
            && row.by_client == by_client
            && let What::Data {
                end,
                count,
                retransmit,
                ..
            } = &mut row.what
            && *end == data.offset
            && *retransmit == data.retransmit
        {
            *end = data.end();
            *count += 1;
            self.end_ns = self.end_ns.max(at_ns);
            return;
        }
        let what = What::Data {
            start: data.offset,
            end: data.end(),
            count: 1,
            retransmit: data.retransmit,
        };
        self.push(at_ns, by_client, what);
    }

    const fn server(&self) -> SocketAddr {
        SocketAddr::new(self.key.server, self.server_port)
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({
            "type": "rpc",
            "id": self.key.id,
            "client": self.key.client.to_string(),
            "server": self.server().to_string(),
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "request": self.request.json(),
            "response": self.response.json(),
            "events": rows,
        })
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, client, server) = (self.key.id, self.key.client, self.server());
        let took_ms = (self.end_ns - self.start_ns) as f64 / 1e6;
        writeln!(f, "RPC {id}: {client} > {server}, {took_ms:.3} ms")?;
        writeln!(f, "  request:  {}", self.request)?;
        writeln!(f, "  response: {}", self.response)?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        writeln!(f)
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut value = match &self.what {
            What::Data {
                start,
                end,
                count,
                retransmit,
            } => {
                json!({"event": "data", "start": start, "end": end, "packets": count, "retransmit": retransmit})
            }
            What::Gap { start, end } => json!({"event": "gap", "start": start, "end": end}),
            What::Filled {
                start,
                end,
                after_ns,
            } => json!({"event": "filled", "start": start, "end": end, "after_ns": after_ns}),
            What::Acked { by } => json!({"event": "acked", "by": by}),
            What::Control(body) => {
                json!({"event": name(body), "says": Says(body).to_string().trim_start()})
            }
        };
        value["at_ns"] = self.at_ns.into();
        value["by"] = if self.by_client { "client" } else { "server" }.into();
        value
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.by_client { '>' } else { '<' };
        write!(f, "{} {side} ", Seconds(self.at_ns))?;
        match &self.what {
            What::Data {
                start,
                end,
                count,
                retransmit,
            } => {
                let again = if *retransmit { " again" } else { "" };
                let plural = if *count == 1 { "" } else { "s" };
                write!(f, "DATA {start}..{end}{again}, {count} packet{plural}")
            }
            What::Gap { start, end } => write!(f, "gap: {start}..{end} is missing"),
            What::Filled {
                start,
                end,
                after_ns,
            } => {
                let after_ms = *after_ns as f64 / 1e6;
                write!(f, "gap filled: {start}..{end}, after {after_ms:.3} ms")
            }
            What::Acked { by } => write!(f, "acknowledged by a packet of RPC {by}"),
            What::Control(body) => write!(f, "{}{}", name(body), Says(body)),
        }
    }
}

const fn name(body: &Body) -> &'static str {
    match body {
        Body::Data(_) => "DATA",
        Body::Grant(_) => "GRANT",
        Body::Resend(_) => "RESEND",
        Body::RpcUnknown(_) => "RPC_UNKNOWN",
        Body::Busy => "BUSY",
        Body::Cutoffs(_) => "CUTOFFS",
        Body::Freeze => "FREEZE",
        Body::NeedAck => "NEED_ACK",
        Body::Ack(_) => "ACK",
    }
}
