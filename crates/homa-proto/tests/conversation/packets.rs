//! Packets as words, both ways.

use core::fmt::Write;

use homa_proto::wire::{
    Ack, Acks, Body, Common, Cutoffs, Data, Form, Grant, MAX_HEADER_BYTES, OffsetForm, Packet,
    Priority, Resend, ResendRange, RpcId, RpcUnknown,
};

/// Payload bytes of a packet of the peer: an MTU of 1,500 bytes over IPv4.
pub(crate) const SEGMENT: u32 = 1_424;

/// Header and length of a packet on the wire.
pub(crate) type Raw = (Vec<u8>, u32);

/// The packets that a line describes. Ports are `source` and `dest`; `id` is the sender's.
pub(crate) fn read(
    words: &[&str],
    source: u16,
    dest: u16,
    is_client: bool,
    form: Form,
) -> Vec<Raw> {
    let after = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1).copied()
    };
    let number = |name: &str| -> u64 {
        let word = after(name).unwrap_or_else(|| panic!("{words:?} lacks `{name}`"));
        word.parse()
            .unwrap_or_else(|_| panic!("{word} is no number"))
    };
    let rpc = RpcId::new(number("rpc"));
    let common = Common {
        source_port: source,
        dest_port: dest,
        sender_id: if is_client { rpc } else { rpc.flipped() },
    };
    let priority = || Priority::new(number("priority") as u8).expect("0 to 7");
    let mut extra = 0;
    let body = match words[0] {
        "DATA" => return data(words, common, form, &number),
        "GRANT" => {
            extra = u32::from(words.contains(&"old"));
            Body::Grant(Grant {
                offset: number("offset") as u32,
                priority: priority(),
            })
        }
        "RESEND" => Body::Resend(Resend {
            range: range(words).map_or(ResendRange::Everything, |(start, end)| {
                ResendRange::Bytes {
                    offset: start,
                    length: end - start,
                }
            }),
            priority: (!words.contains(&"short")).then(priority),
        }),
        "RPC_UNKNOWN" => Body::RpcUnknown(RpcUnknown { reason: None }),
        "BUSY" => Body::Busy,
        "FREEZE" => Body::Freeze,
        "NEED_ACK" => Body::NeedAck,
        "CUTOFFS" => Body::Cutoffs(Cutoffs {
            cutoffs: [i32::MAX as u32, 0, 0, 0, 1_000_000, 15_000, 2_800, 200],
            version: number("version") as u16,
        }),
        "ACK" => Body::Ack(Acks::EMPTY),
        other => panic!("no packet is called {other}"),
    };
    vec![emit(&Packet { common, body }, form, extra)]
}

fn data(words: &[&str], common: Common, form: Form, number: &dyn Fn(&str) -> u64) -> Vec<Raw> {
    let (mut start, end) = range(words).expect("DATA has a range");
    let optional = |name| {
        if words.contains(&name) {
            number(name)
        } else {
            0
        }
    };
    let mut packets = Vec::new();
    while start < end {
        let payload_length = (end - start).min(SEGMENT);
        let body = Body::Data(Data {
            message_length: number("of") as u32,
            incoming: number("incoming") as u32,
            ack: words.contains(&"ack").then(|| Ack {
                client_id: RpcId::new(number("ack")),
                server_port: number("port") as u16,
            }),
            cutoff_version: optional("version") as u16,
            retransmit: words.contains(&"retransmit"),
            incast: false,
            offset: start,
            payload_length,
        });
        packets.push(emit(&Packet { common, body }, form, payload_length));
        start += payload_length;
    }
    packets
}

fn emit(packet: &Packet, form: Form, more: u32) -> Raw {
    let form = match form.offset {
        // A stripped build writes the sequence field in the first segment alone.
        OffsetForm::SegmentOnly { .. } => Form {
            offset: OffsetForm::SegmentOnly { sequence: 0 },
            ..form
        },
        _ => form,
    };
    let mut header = [0; MAX_HEADER_BYTES];
    let bytes = packet.emit_as(form, &mut header);
    (header[..bytes].to_vec(), bytes as u32 + more)
}

/// The word `a..b`.
fn range(words: &[&str]) -> Option<(u32, u32)> {
    words.iter().find_map(|word| {
        let (start, end) = word.split_once("..")?;
        Some((start.parse().ok()?, end.parse().ok()?))
    })
}

/// The form of a peer by its word.
pub(crate) fn form(word: &str) -> Form {
    match word {
        "both" => Form::default(),
        "sequence" => Form {
            offset: OffsetForm::SequenceOnly,
            ..Form::default()
        },
        "stripped" => Form {
            offset: OffsetForm::SegmentOnly { sequence: 0 },
            marker: false,
            ..Form::default()
        },
        other => panic!("no form is called {other}"),
    }
}

/// A packet of the engine, in words.
pub(crate) fn write(packet: &Packet, level: u8) -> String {
    let rpc = packet.common.sender_id.get() & !1;
    let mut text = match &packet.body {
        Body::Data(data) => {
            let (start, end) = (data.offset, data.end());
            let mut text = format!("DATA rpc {rpc} {start}..{end} of {}", data.message_length);
            write!(text, " incoming {}", data.incoming).unwrap();
            if data.retransmit {
                text.push_str(" retransmit");
            }
            if data.cutoff_version != 0 {
                write!(text, " version {}", data.cutoff_version).unwrap();
            }
            if let Some(ack) = data.ack {
                let (id, port) = (ack.client_id.get(), ack.server_port);
                write!(text, " ack {id} port {port}").unwrap();
            }
            text
        }
        Body::Grant(grant) => {
            let priority = grant.priority.get();
            format!(
                "GRANT rpc {rpc} offset {} priority {priority}",
                grant.offset
            )
        }
        Body::Resend(resend) => {
            let range = match resend.range {
                ResendRange::Everything => "everything".to_owned(),
                ResendRange::Bytes { offset, length } => format!("{offset}..{}", offset + length),
            };
            let priority = resend.priority.map_or(0, Priority::get);
            format!("RESEND rpc {rpc} {range} priority {priority}")
        }
        Body::RpcUnknown(unknown) => format!("RPC_UNKNOWN rpc {rpc} reason {:?}", unknown.reason),
        Body::Busy => format!("BUSY rpc {rpc}"),
        Body::NeedAck => format!("NEED_ACK rpc {rpc}"),
        Body::Freeze => format!("FREEZE rpc {rpc}"),
        Body::Cutoffs(cutoffs) => format!("CUTOFFS rpc {rpc} version {}", cutoffs.version),
        Body::Ack(acks) => format!("ACK rpc {rpc} acks {}", acks.len()),
    };
    write!(text, " level {level}").unwrap();
    text
}
