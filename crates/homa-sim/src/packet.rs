//! Packets: a header and the truth about the bytes behind it, which no engine sees. Payload does
//! not exist.

use homa_proto::wire::{ACK_HEADER_BYTES, Priority};

/// Bytes of a header that are carried: those of the longest one in use.
pub const HEADER_MAX_BYTES: usize = ACK_HEADER_BYTES;

/// "No message": control packets, and lies.
pub const NO_MESSAGE: u32 = u32::MAX;

/// A packet anywhere in the network.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    header: [u8; HEADER_MAX_BYTES],
    header_bytes: u8,
    /// Level at which the network carries it, 0 to 7.
    pub priority: u8,
    /// Whether a modelled checksum would find it damaged.
    pub damaged: bool,
    /// Whether a switch marked it because of its queue.
    pub marked: bool,
    /// Whether it says what its sender's engine did not say.
    pub lie: bool,
    /// The host that sent it.
    pub from: u32,
    /// The host that it goes to.
    pub to: u32,
    /// Bytes behind the header.
    pub payload_bytes: u32,
    /// The message whose bytes they are, or [`NO_MESSAGE`].
    pub message: u32,
    /// Their true place in it.
    pub offset: u32,
    /// What switches spread packets by.
    pub flow: u32,
    /// When its sender gave it to its network card, in nanoseconds.
    pub sent_at: u64,
}

impl Packet {
    /// A packet with the leading bytes of `header`, which are at most [`HEADER_MAX_BYTES`].
    pub fn new(header: &[u8], from: u32, to: u32, priority: Priority) -> Self {
        let mut bytes = [0; HEADER_MAX_BYTES];
        let length = header.len().min(HEADER_MAX_BYTES);
        bytes[..length].copy_from_slice(&header[..length]);
        Self {
            header: bytes,
            header_bytes: length as u8,
            priority: priority.get(),
            damaged: false,
            marked: false,
            lie: false,
            from,
            to,
            payload_bytes: 0,
            message: NO_MESSAGE,
            offset: 0,
            flow: 0,
            sent_at: 0,
        }
    }

    /// The Homa header.
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_bytes)]
    }

    /// The Homa header, to be changed.
    pub fn header_mut(&mut self) -> &mut [u8] {
        &mut self.header[..usize::from(self.header_bytes)]
    }

    /// Bytes of the Homa packet, header and payload.
    pub fn length(&self) -> u32 {
        u32::from(self.header_bytes) + self.payload_bytes
    }
}

/// What is looked at of a packet on its way: a switch needs no more than a line of the cache.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) flow: u32,
    /// Bytes of the Homa packet.
    pub(crate) length: u32,
    pub(crate) priority: u8,
    pub(crate) marked: bool,
}

/// All packets on their way. Their slots are used again, so that a packet costs no allocation.
#[derive(Default)]
pub(crate) struct Packets {
    labels: Vec<Label>,
    /// The packets themselves, as they were when they set out.
    slots: Vec<Packet>,
    free: Vec<u32>,
}

impl Packets {
    pub(crate) fn insert(&mut self, packet: &Packet) -> u32 {
        let label = Label {
            from: packet.from,
            to: packet.to,
            flow: packet.flow,
            length: packet.length(),
            priority: packet.priority,
            marked: packet.marked,
        };
        match self.free.pop() {
            Some(slot) => {
                self.labels[slot as usize] = label;
                self.slots[slot as usize] = *packet;
                slot
            }
            None => {
                self.labels.push(label);
                self.slots.push(*packet);
                (self.slots.len() - 1) as u32
            }
        }
    }

    pub(crate) fn label(&mut self, slot: u32) -> &mut Label {
        &mut self.labels[slot as usize]
    }

    pub(crate) fn take(&mut self, slot: u32) -> Packet {
        self.free.push(slot);
        Packet {
            marked: self.labels[slot as usize].marked,
            ..self.slots[slot as usize]
        }
    }

    /// Packets on their way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
