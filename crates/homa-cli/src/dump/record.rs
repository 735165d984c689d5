//! One Homa packet of a capture, and how it is shown: a line of text or an object of JSON.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use homa_proto::wire::{
    Body, Data, Malformed, Packet, Resend, ResendRange, RpcUnknown, UnknownReason,
};
use serde_json::{Map, Value};

use super::fields;
use super::file::Frame;
use super::layers::{Carried, Carrier};
use super::pieces::Piece;

/// A packet with when, where and how it travelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The frame that it came in, from 1.
    pub(crate) frame: u64,
    /// Nanoseconds since 1970, and since the first frame of the capture.
    pub(crate) at_ns: u64,
    pub(crate) since_start_ns: u64,
    pub(crate) carrier: Carrier,
    /// IP addresses with the Homa ports; port 0 where the header does not reach to them.
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    traffic_class: u8,
    piece: &'a Piece,
    /// What it says.
    pub(crate) packet: Result<Packet, Malformed>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(
        frame: &Frame<'_>,
        start_ns: u64,
        carried: &Carried<'_>,
        piece: &'a Piece,
    ) -> Self {
        let header = piece.header();
        let end = |ip: IpAddr, name| {
            let port = fields::common(header, name).unwrap_or(0);
            SocketAddr::new(ip, port as u16)
        };
        Self {
            frame: frame.number,
            at_ns: frame.at_ns,
            since_start_ns: frame.at_ns.saturating_sub(start_ns),
            carrier: carried.carrier,
            from: end(carried.from, "sport"),
            to: end(carried.to, "dport"),
            traffic_class: carried.traffic_class,
            piece,
            packet: Packet::parse(header, piece.length),
        }
    }

    /// The level that switches see.
    const fn priority(&self) -> u8 {
        self.traffic_class >> 5
    }

    /// All that is known, under the names on the wire.
    pub(crate) fn json(&self) -> Value {
        let header = self.piece.header();
        let mut object = Map::new();
        let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
        add("frame", self.frame.into());
        add("time_ns", self.at_ns.into());
        add("carrier", self.carrier.to_string().into());
        add("from", self.from.ip().to_string().into());
        add("to", self.to.ip().to_string().into());
        add("traffic_class", self.traffic_class.into());
        add("packet_length", self.piece.length.into());
        if let Some(segment) = self.piece.segment {
            add("segment", segment.into());
        }
        match self.packet {
            Ok(_) => {
                let name = fields::type_code(header).and_then(fields::type_name);
                add("type", name.unwrap_or_default().into());
            }
            Err(why) => {
                add("type", "malformed".into());
                add("reason", why.name().into());
                add("detail", why.to_string().into());
            }
        }
        fields::add(&mut object, header, self.piece.length);
        object.into()
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Seconds(self.since_start_ns);
        write!(f, "{time} {:6} {} > {} ", self.carrier, self.from, self.to)?;
        let header = self.piece.header();
        let name = fields::type_code(header).and_then(fields::type_name);
        match &self.packet {
            Ok(packet) => {
                let id = packet.common.sender_id.get();
                write!(
                    f,
                    "{} id {id}{}",
                    name.unwrap_or_default(),
                    Says(&packet.body)
                )?;
            }
            Err(why) => write!(f, "malformed {}: {why}", name.unwrap_or("packet"))?,
        }
        write!(f, ", level {}", self.priority())?;
        match self.piece.segment {
            Some(segment) => write!(f, ", segment {segment}"),
            None => Ok(()),
        }
    }
}

/// Nanoseconds, written as seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        write!(f, "{seconds:>4}.{nanos:09}")
    }
}

/// What a packet says behind its type and id.
pub(crate) struct Says<'a>(pub(crate) &'a Body);

impl fmt::Display for Says<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Body::Data(data) => says_data(data, f),
            Body::Grant(grant) => {
                let priority = grant.priority.get();
                write!(f, " offset {} priority {priority}", grant.offset)
            }
            Body::Resend(resend) => says_resend(resend, f),
            Body::RpcUnknown(unknown) => says_unknown(*unknown, f),
            Body::Cutoffs(cutoffs) => {
                let (list, version) = (cutoffs.cutoffs, cutoffs.version);
                write!(f, " unsched_cutoffs {list:?} cutoff_version {version}")
            }
            Body::Ack(acks) => {
                write!(f, " num_acks {}", acks.len())?;
                acks.iter().try_for_each(|ack| {
                    write!(f, " {} at port {}", ack.client_id.get(), ack.server_port)
                })
            }
            Body::Busy | Body::Freeze | Body::NeedAck => Ok(()),
        }
    }
}

fn says_data(data: &Data, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (start, end, length) = (data.offset, data.end(), data.message_length);
    write!(f, " {start}..{end} of {length} incoming {}", data.incoming)?;
    if data.retransmit {
        write!(f, " retransmit")?;
    }
    if data.incast {
        write!(f, " incast")?;
    }
    if data.cutoff_version != 0 {
        write!(f, " cutoff_version {}", data.cutoff_version)?;
    }
    match data.ack {
        Some(ack) => write!(
            f,
            " ack {} at port {}",
            ack.client_id.get(),
            ack.server_port
        ),
        None => Ok(()),
    }
}

fn says_resend(resend: &Resend, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match resend.range {
        ResendRange::Everything => write!(f, " everything")?,
        ResendRange::Bytes { offset, length } => {
            let end = u64::from(offset) + u64::from(length);
            write!(f, " {offset}..{end}")?;
        }
    }
    match resend.priority {
        Some(priority) => write!(f, " priority {}", priority.get()),
        None => Ok(()),
    }
}

fn says_unknown(unknown: RpcUnknown, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match unknown.reason {
        None => "",
        Some(UnknownReason::Dropped) => " reason dropped",
        Some(UnknownReason::Overloaded) => " reason overloaded",
        Some(UnknownReason::Aborted) => " reason aborted",
    })
}
