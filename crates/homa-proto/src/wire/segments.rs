//! Segments of a message that follow each other: their headers differ in nothing but the place of
//! the payload. So one header stands for all of them, and a host may cut what the engine wants sent
//! as one packet, and hand several that arrived to the engine as one. Decides which do.

use super::{DATA_HEADER_BYTES, begins_data};

/// The header of DATA as it is on the wire.
pub type DataHeader = [u8; DATA_HEADER_BYTES];

/// Where the sequence field begins, and where the segment field does.
const PLACES: [usize; 2] = [4, 52];

/// Says in the header of a segment that its payload begins at `offset`, as [`OffsetForm::Both`]
/// does.
///
/// [`OffsetForm::Both`]: super::OffsetForm::Both
#[inline]
pub fn move_to(header: &mut DataHeader, offset: u32) {
    for place in PLACES {
        if let Some(field) = header.get_mut(place..place + 4) {
            field.copy_from_slice(&offset.to_be_bytes());
        }
    }
}

/// Whether `next` is the header of a segment of the message that `first` is of, like it in all but
/// its place, which lies `distance` bytes further on.
#[inline]
pub fn follows(first: &DataHeader, next: &DataHeader, distance: u32) -> bool {
    let [.., a, b, c, d] = *first;
    let Some(offset) = u32::from_be_bytes([a, b, c, d]).checked_add(distance) else {
        return false;
    };
    let mut expected = *first;
    move_to(&mut expected, offset);
    // Every byte, without a branch: of so few the comparison by words costs less than a call.
    let differences = next.iter().zip(&expected).map(|(a, b)| a ^ b);
    differences.fold(0, |all, bits| all | bits) == 0 && begins_data(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, Common, Data, Form, MAX_HEADER_BYTES, OffsetForm, Packet, RpcId};

    fn header(offset: u32, form: OffsetForm) -> DataHeader {
        let data = Data {
            message_length: 100_000,
            incoming: 40_000,
            ack: None,
            cutoff_version: 7,
            retransmit: false,
            incast: false,
            offset,
            payload_length: 1_400,
        };
        let packet = Packet {
            common: Common {
                source_port: 1,
                dest_port: 2,
                sender_id: RpcId::new(4),
            },
            body: Body::Data(data),
        };
        let mut buffer = [0; MAX_HEADER_BYTES];
        let form = Form {
            offset: form,
            ..Form::default()
        };
        packet.emit_as(form, &mut buffer);
        *buffer.first_chunk().unwrap()
    }

    #[test]
    fn a_moved_header_is_that_of_the_segment_there() {
        let mut moved = header(0, OffsetForm::Both);
        move_to(&mut moved, 2_800);
        assert_eq!(moved, header(2_800, OffsetForm::Both));
    }

    #[test]
    fn only_what_is_alike_and_lies_where_it_should_follows() {
        let first = header(1_400, OffsetForm::Both);
        let next = header(4_200, OffsetForm::Both);
        assert!(follows(&first, &next, 2_800));
        assert!(!follows(&first, &next, 1_400) && !follows(&next, &first, 2_800));
        // The places are compared themselves, every other byte as it is.
        for at in 0..DATA_HEADER_BYTES {
            let mut other = next;
            *other.get_mut(at).unwrap() ^= 1;
            assert!(!follows(&first, &other, 2_800), "byte {at}");
        }
        let mut control = [first, next];
        control.iter_mut().for_each(|header| header[11] = 0x11);
        assert!(!follows(&control[0], &control[1], 2_800));
    }

    #[test]
    fn headers_that_carry_their_place_otherwise_are_left_alone() {
        for form in [
            OffsetForm::SequenceOnly,
            OffsetForm::SegmentOnly { sequence: 3 },
        ] {
            let [first, next] = [0, 1_400].map(|offset| header(offset, form));
            assert!(!follows(&first, &next, 1_400));
        }
    }
}
