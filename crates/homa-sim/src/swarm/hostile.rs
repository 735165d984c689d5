//! A hostile host: packets that are well formed and say what is not so.

use homa_proto::wire::{
    Ack, Acks, Body, Common, Cutoffs, Data, Grant, MAX_HEADER_BYTES, Packet as Wire, Priority,
    Resend, ResendRange, RpcId, RpcUnknown, UnknownReason,
};

use super::agent::TOP;
use super::plan::{OTHER_PORT, PORT};
use crate::packet::Packet;
use crate::random::Random;
use crate::world::{ports, sender_id};

/// A lie to one of `hosts`, about an RPC that was overheard or about none.
pub(crate) fn lie(
    random: &mut Random,
    hostile: u32,
    hosts: u32,
    overheard: &[Packet],
    segment: u32,
) -> Option<Packet> {
    let about = random
        .chance(800)
        .then(|| overheard.get(random.below(overheard.len().max(1) as u64) as usize))
        .flatten();
    let (to, common) = match about {
        Some(packet) => {
            let (source, dest) = ports(packet.header());
            let id = RpcId::new(sender_id(packet.header()));
            // To its receiver in the name of its sender, or to its sender in that of its receiver.
            if packet.to != hostile && (packet.from == hostile || random.chance(500)) {
                (packet.to, common(source, dest, id))
            } else {
                (packet.from, common(dest, source, id.flipped()))
            }
        }
        None => {
            let to = random.below(hosts.into()) as u32;
            let port = random.pick(&[PORT, OTHER_PORT, 9]);
            (to, common(PORT, port, RpcId::new(random.bits())))
        }
    };
    if to == hostile {
        return None;
    }
    let common = if random.chance(100) {
        Common {
            dest_port: if common.dest_port == PORT {
                OTHER_PORT
            } else {
                PORT
            },
            ..common
        }
    } else {
        common
    };
    let (body, payload) = draw_body(random, segment);
    let mut header = [0; MAX_HEADER_BYTES];
    let length = Wire { common, body }.emit(&mut header);
    let mut packet = Packet::new(&header[..length], hostile, to, TOP);
    packet.payload_bytes = payload;
    if random.chance(400) {
        mangle(random, &mut packet);
    }
    Some(packet)
}

/// Makes a packet one that no sender may send.
fn mangle(random: &mut Random, packet: &mut Packet) {
    let fields: &[(usize, &[u8])] = match packet.header()[11] {
        DATA => &[(28, &[0; 4]), (52, &[0xff, 0xff, 0xff, 0xf0])],
        GRANT => &[(32, &[9])],
        RESEND => &[
            (32, &[0; 4]),
            (32, &[0xff, 0xff, 0xff, 0xf0]),
            (28, &[0xff, 0xff, 0xff, 0xf0, 0x7f, 0xff, 0xff, 0xff]),
            (36, &[8]),
        ],
        _ => &[(11, &[0x1f])],
    };
    match random.below(8) {
        0 => packet.header_mut()[11] = 0x42,
        1 => packet.header_mut()[11] = ACK,
        2 => packet.payload_bytes = 0,
        _ => {
            let (place, bytes) = random.pick(fields);
            if let Some(field) = packet.header_mut().get_mut(place..place + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        }
    }
}

/// Codes of packet types, at byte 11.
const DATA: u8 = 0x10;
const GRANT: u8 = 0x11;
const RESEND: u8 = 0x12;
/// The longest header: most other packets with this code are cut off.
const ACK: u8 = 0x18;

/// A question about an RPC that never was, which its receiver answers.
pub(crate) fn stray(random: &mut Random, hostile: u32, to: u32) -> Packet {
    let wire = Wire {
        common: common(PORT, PORT, RpcId::new(random.bits() & !1)),
        body: Body::Resend(Resend {
            range: ResendRange::Everything,
            priority: Some(TOP),
        }),
    };
    control(&wire, hostile, to)
}

const fn common(source_port: u16, dest_port: u16, sender_id: RpcId) -> Common {
    Common {
        source_port,
        dest_port,
        sender_id,
    }
}

fn draw_body(random: &mut Random, segment: u32) -> (Body, u32) {
    let number = random.magnitude(u64::from(u32::MAX)) as u32;
    let body = match random.below(9) {
        0 | 1 => return draw_data(random, segment),
        2 => Body::Grant(Grant {
            offset: number,
            priority: Priority::new(random.below(8) as u8).unwrap_or(TOP),
        }),
        3 => Body::Resend(Resend {
            range: if random.chance(300) {
                ResendRange::Everything
            } else {
                ResendRange::Bytes {
                    offset: random.below(2_000_000) as u32,
                    length: (number >> 1).max(1),
                }
            },
            priority: Some(TOP),
        }),
        4 => Body::RpcUnknown(RpcUnknown {
            reason: random.pick(&[
                None,
                Some(UnknownReason::Dropped),
                Some(UnknownReason::Overloaded),
                Some(UnknownReason::Aborted),
            ]),
        }),
        5 => Body::Busy,
        6 => Body::Cutoffs(Cutoffs {
            cutoffs: core::array::from_fn(|_| random.bits() as u32),
            version: random.bits() as u16,
        }),
        7 => random.pick(&[Body::NeedAck, Body::Freeze]),
        _ => {
            let mut acks = Acks::EMPTY;
            for _ in 0..random.below(6) {
                acks.push(Ack {
                    client_id: RpcId::new((random.bits() | 2) & !1),
                    server_port: PORT,
                });
            }
            Body::Ack(acks)
        }
    };
    (body, 0)
}

fn draw_data(random: &mut Random, segment: u32) -> (Body, u32) {
    let payload = random.between(1, segment.into()) as u32;
    let offset = if random.chance(600) {
        0
    } else {
        random.magnitude(2_000_000) as u32
    };
    let rest = if random.chance(400) {
        0
    } else {
        random.magnitude(2_000_000) as u32
    };
    let message_length = offset + payload + rest;
    let data = Data {
        message_length,
        incoming: random.below(u64::from(message_length) + 1) as u32,
        ack: random.chance(200).then(|| Ack {
            client_id: RpcId::new((random.bits() | 2) & !1),
            server_port: PORT,
        }),
        cutoff_version: if random.chance(300) {
            random.bits() as u16
        } else {
            0
        },
        retransmit: random.chance(200),
        incast: random.chance(200),
        offset,
        payload_length: payload,
    };
    (Body::Data(data), payload)
}

/// The RESEND for everything with which a stalled client answers `need_ack`.
pub(crate) fn resend_all(need_ack: &Packet) -> Packet {
    let (source, dest) = ports(need_ack.header());
    let id = RpcId::new(sender_id(need_ack.header())).flipped();
    let wire = Wire {
        common: common(dest, source, id),
        body: Body::Resend(Resend {
            range: ResendRange::Everything,
            priority: Some(TOP),
        }),
    };
    control(&wire, need_ack.to, need_ack.from)
}

/// The NEED_ACK of a server at `from` for an RPC of the client at `to`.
pub(crate) fn need_ack(from: u32, to: u32, id: u64) -> Packet {
    let wire = Wire {
        common: common(PORT, PORT, RpcId::new(id | 1)),
        body: Body::NeedAck,
    };
    control(&wire, from, to)
}

fn control(wire: &Wire, from: u32, to: u32) -> Packet {
    let mut header = [0; MAX_HEADER_BYTES];
    let length = wire.emit(&mut header);
    Packet::new(&header[..length], from, to, TOP)
}
