//! What holds for every sequence of bytes that claims to be a packet. The fuzz target checks the
//! same.

use homa_proto::wire::{
    ACK_HEADER_BYTES, Body, COMMON_HEADER_BYTES, CUTOFFS_HEADER_BYTES, DATA_HEADER_BYTES, Form,
    GRANT_HEADER_BYTES, MAX_HEADER_BYTES, Malformed, OffsetForm, Packet, RESEND_HEADER_BYTES,
    ResendRange, STRIPPED_RESEND_HEADER_BYTES,
};

/// Parses `packet` as a link would hand it over, checks the law and returns the answer.
pub(crate) fn check(packet: &[u8]) -> Result<Packet, Malformed> {
    let length = u32::try_from(packet.len()).expect("a packet is shorter than 4 GiB");
    let header = &packet[..packet.len().min(MAX_HEADER_BYTES)];
    let parsed = Packet::parse(header, length);
    match parsed {
        Ok(parsed) => {
            assert!(shortest(packet[11]).is_some_and(|shortest| shortest <= packet.len()));
            check_value(&parsed, length);
            check_round_trip(&parsed, form_of(packet));
        }
        Err(reason) => check_reason(reason, packet),
    }
    parsed
}

/// Whatever is emitted parses back to the same value, in our form and in another's.
pub(crate) fn check_round_trip(packet: &Packet, form: Form) {
    for form in [Form::default(), form] {
        let mut buffer = [0xff; MAX_HEADER_BYTES];
        let length = packet.emit_as(form, &mut buffer);
        assert_eq!(Some(length), expected_length(&packet.body, buffer[11]));
        assert!(
            buffer[length..].iter().all(|&byte| byte == 0xff),
            "written past the header"
        );
        let payload = match packet.body {
            Body::Data(data) => data.payload_length,
            _ => 0,
        };
        let whole = payload + u32::try_from(length).expect("a header is short");
        assert_eq!(
            Packet::parse(&buffer[..length], whole),
            Ok(*packet),
            "{form:?}"
        );
    }
}

/// The choices that the sender of `packet` made, where the packet shows them.
pub(crate) fn form_of(packet: &[u8]) -> Form {
    let sequence = word(packet, 4);
    let offset = match packet.get(52..56).map(|_| word(packet, 52)) {
        Some(u32::MAX) => OffsetForm::SequenceOnly,
        Some(segment) if segment != sequence => OffsetForm::SegmentOnly { sequence },
        _ => OffsetForm::Both,
    };
    Form {
        checksum: u16::from_be_bytes([packet[16], packet[17]]),
        offset,
        marker: packet[13] != 0,
        multi_segment: packet[12] == 0xd0,
    }
}

/// The four bytes at `at` as a number.
pub(crate) fn word(packet: &[u8], at: usize) -> u32 {
    let bytes = packet[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(bytes)
}

/// Bytes of the shortest packet of a type.
fn shortest(kind: u8) -> Option<usize> {
    match kind {
        0x10 => Some(DATA_HEADER_BYTES),
        0x11 => Some(GRANT_HEADER_BYTES),
        0x12 => Some(STRIPPED_RESEND_HEADER_BYTES),
        0x13 | 0x14 | 0x16 | 0x17 => Some(COMMON_HEADER_BYTES),
        0x15 => Some(CUTOFFS_HEADER_BYTES),
        0x18 => Some(ACK_HEADER_BYTES),
        _ => None,
    }
}

/// Bytes of the header of a packet that we emit.
fn expected_length(body: &Body, kind: u8) -> Option<usize> {
    match body {
        Body::Resend(resend) if resend.priority.is_some() => Some(RESEND_HEADER_BYTES),
        Body::RpcUnknown(unknown) if unknown.reason.is_some() => Some(COMMON_HEADER_BYTES + 1),
        _ => shortest(kind),
    }
}

/// What the types promise of parsed values.
fn check_value(packet: &Packet, length: u32) {
    match packet.body {
        Body::Data(data) => {
            assert_eq!(
                data.payload_length as usize,
                length as usize - DATA_HEADER_BYTES
            );
            assert!(data.payload_length > 0);
            let end = data.offset.checked_add(data.payload_length);
            assert_eq!(end, Some(data.end()));
            assert!(data.end() <= data.message_length);
            assert!(data.incoming <= data.message_length);
            assert!(data.ack.is_none_or(|ack| ack.client_id.is_client()));
        }
        Body::Resend(resend) => {
            if let ResendRange::Bytes { offset, length } = resend.range {
                assert!(length > 0 && offset.checked_add(length).is_some());
            }
        }
        Body::Ack(acks) => {
            assert_eq!(acks.iter().count(), acks.len());
            assert!(
                acks.iter()
                    .all(|ack| ack.client_id.is_client() && ack.client_id.get() != 0)
            );
        }
        _ => {}
    }
}

/// The reason of a refusal is true of the bytes.
fn check_reason(reason: Malformed, packet: &[u8]) {
    assert_eq!(Malformed::ALL[reason.index()].name(), reason.name());
    let kind = packet.get(11).copied().unwrap_or(0);
    let known = packet.len() >= COMMON_HEADER_BYTES;
    match reason {
        Malformed::Truncated => {
            assert!(packet.len() < shortest(kind).unwrap_or(COMMON_HEADER_BYTES));
        }
        Malformed::UnknownType(code) => {
            assert!(known && code == kind && shortest(kind).is_none());
        }
        Malformed::Priority(level) => {
            let at = if kind == 0x11 {
                GRANT_HEADER_BYTES
            } else {
                RESEND_HEADER_BYTES
            } - 1;
            assert!(level > 7 && packet[at] == level);
        }
        Malformed::EmptyMessage => assert!(kind == 0x10 && word(packet, 28) == 0),
        Malformed::EmptyPayload => assert!(kind == 0x10 && packet.len() == DATA_HEADER_BYTES),
        Malformed::OutsideMessage => {
            let offset = match word(packet, 52) {
                u32::MAX => word(packet, 4),
                segment => segment,
            };
            let end = u64::from(offset) + (packet.len() - DATA_HEADER_BYTES) as u64;
            assert!(kind == 0x10 && end > u64::from(word(packet, 28)));
        }
        Malformed::EmptyRange => assert!(kind == 0x12 && word(packet, 32) == 0),
        Malformed::NegativeRange => {
            let length = word(packet, 32).cast_signed();
            assert!(kind == 0x12 && length < -1);
        }
        Malformed::RangeOverflow => {
            assert!(kind == 0x12 && word(packet, 28).checked_add(word(packet, 32)).is_none());
        }
    }
}
