//! Every field of every packet under its name on the wire, as the bytes say it.
//!
//! The codec of the engine is not enough here: it reads what a receiver needs, and corrects what it
//! may. Whether a packet is legal is still its word. `wireshark/homa.lua` shows the same fields under
//! the same names.

use serde_json::{Map, Value};

/// One number in a header.
struct Field {
    name: &'static str,
    /// Bytes before it in the packet.
    at: usize,
    bytes: usize,
}

const fn field(name: &'static str, at: usize, bytes: usize) -> Field {
    Field { name, at, bytes }
}

const COMMON: &[Field] = &[
    field("sport", 0, 2),
    field("dport", 2, 2),
    field("sequence", 4, 4),
    field("ack", 8, 3),
    field("type_code", 11, 1),
    field("doff", 12, 1),
    field("flags", 13, 1),
    field("window", 14, 2),
    field("checksum", 16, 2),
    field("urgent", 18, 2),
    field("sender_id", 20, 8),
];

const DATA: &[Field] = &[
    field("message_length", 28, 4),
    field("incoming", 32, 4),
    field("ack_client_id", 36, 8),
    field("ack_server_port", 44, 2),
    field("cutoff_version", 46, 2),
    field("retransmit", 48, 1),
    field("incast", 49, 1),
    field("seg_offset", 52, 4),
];

const GRANT: &[Field] = &[field("offset", 28, 4), field("priority", 32, 1)];
const RESEND: &[Field] = &[
    field("offset", 28, 4),
    field("length", 32, 4),
    field("priority", 36, 1),
];
const RPC_UNKNOWN: &[Field] = &[field("unknown_reason", 28, 1)];
const ACK: &[Field] = &[field("num_acks", 28, 2)];

/// Bytes of an entry of CUTOFFS, and of an ack in ACK.
const CUTOFF_BYTES: usize = 4;
const ACK_BYTES: usize = 10;
/// The most acks in one packet.
const ACKS_MAX: u64 = 5;

/// Name of a packet type by its code.
pub(crate) const fn type_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x10 => "DATA",
        0x11 => "GRANT",
        0x12 => "RESEND",
        0x13 => "RPC_UNKNOWN",
        0x14 => "BUSY",
        0x15 => "CUTOFFS",
        0x16 => "FREEZE",
        0x17 => "NEED_ACK",
        0x18 => "ACK",
        _ => return None,
    })
}

/// The type code of a packet, if it is there.
pub(crate) fn type_code(header: &[u8]) -> Option<u8> {
    header.get(11).copied()
}

/// A number that every packet has, by its name; `None` where the header is cut short.
pub(crate) fn common(header: &[u8], name: &str) -> Option<u64> {
    let field = COMMON.iter().find(|field| field.name == name)?;
    number(header, field.at, field.bytes)
}

/// Adds every field that `header` holds, and what follows from them, to `object`.
pub(crate) fn add(object: &mut Map<String, Value>, header: &[u8], length: u32) {
    let code = type_code(header).unwrap_or(0);
    let own = match code {
        0x10 => DATA,
        0x11 => GRANT,
        0x12 => RESEND,
        0x13 => RPC_UNKNOWN,
        0x18 => ACK,
        _ => &[],
    };
    for field in COMMON.iter().chain(own) {
        if let Some(value) = number(header, field.at, field.bytes) {
            object.insert(field.name.to_owned(), meaning(field.name, value));
        }
    }
    match code {
        0x10 => add_payload(object, header, length),
        0x15 => add_cutoffs(object, header),
        0x18 => add_acks(object, header),
        _ => {}
    }
}

/// A number as it is meant: lengths in words, negative lengths, single bits.
fn meaning(name: &str, value: u64) -> Value {
    match name {
        "doff" => (value >> 4).into(),
        "incast" => (value & 1).into(),
        "length" => i64::from((value as u32).cast_signed()).into(),
        _ => value.into(),
    }
}

fn add_payload(object: &mut Map<String, Value>, header: &[u8], length: u32) {
    let (Some(sequence), Some(segment)) = (number(header, 4, 4), number(header, 52, 4)) else {
        return;
    };
    let is_in_sequence = segment == u64::from(u32::MAX);
    let offset = if is_in_sequence { sequence } else { segment };
    object.insert("offset".to_owned(), offset.into());
    let payload = length.saturating_sub(56);
    object.insert("payload_length".to_owned(), payload.into());
}

fn add_cutoffs(object: &mut Map<String, Value>, header: &[u8]) {
    let cutoffs: Vec<u64> = (0..8)
        .map_while(|level| number(header, 28 + level * CUTOFF_BYTES, CUTOFF_BYTES))
        .collect();
    object.insert("unsched_cutoffs".to_owned(), cutoffs.into());
    if let Some(version) = number(header, 60, 2) {
        object.insert("cutoff_version".to_owned(), version.into());
    }
}

fn add_acks(object: &mut Map<String, Value>, header: &[u8]) {
    let count = number(header, 28, 2).unwrap_or(0).min(ACKS_MAX) as usize;
    let acks: Vec<Value> = (0..count)
        .map_while(|index| {
            let at = 30 + index * ACK_BYTES;
            let (id, port) = (number(header, at, 8)?, number(header, at + 8, 2)?);
            Some(serde_json::json!({"client_id": id, "server_port": port}))
        })
        .collect();
    object.insert("acks".to_owned(), acks.into());
}

fn number(header: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = header.get(at..at + bytes)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    )
}
