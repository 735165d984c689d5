//! RPCs under way at once, each with a number that its response must bring back.

use core::net::SocketAddr;
use std::io::{self, ErrorKind};

/// Bytes at the start of a message that hold its number; a message has no fewer.
const NUMBER_BYTES: usize = 8;

/// The rest of a message.
const FILLING: u8 = 0x5a;

/// The numbers of the RPCs under way. Slot N has the numbers N, N + slots, N + 2 · slots …
pub(super) struct Slots {
    numbers: Vec<u64>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self {
            numbers: (0..count as u64).collect(),
        }
    }

    /// Makes `message` the request of a slot.
    pub(super) fn write(&self, slot: usize, message: &mut [u8]) {
        message.fill(FILLING);
        message[..NUMBER_BYTES].copy_from_slice(&self.numbers[slot].to_be_bytes());
    }

    /// A response: makes it the next request of its slot, and returns which one that is.
    ///
    /// # Errors
    /// Nobody waits for that response.
    pub(super) fn turn_round(&mut self, message: &mut [u8]) -> io::Result<usize> {
        let slot = self.answered(message)?;
        message[..NUMBER_BYTES].copy_from_slice(&self.numbers[slot].to_be_bytes());
        Ok(slot)
    }

    /// A response: its slot is free for the next request.
    ///
    /// # Errors
    /// Nobody waits for that response.
    pub(super) fn answered(&mut self, response: &[u8]) -> io::Result<usize> {
        let count = self.numbers.len() as u64;
        let number = response
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let slot = number.map(|number| (number % count) as usize);
        match slot {
            Some(slot) if Some(self.numbers[slot]) == number && is_filled(response) => {
                self.numbers[slot] += count;
                Ok(slot)
            }
            _ => Err(io::Error::new(
                ErrorKind::InvalidData,
                "a response came that nobody waits for",
            )),
        }
    }
}

fn is_filled(message: &[u8]) -> bool {
    message[NUMBER_BYTES..].iter().all(|byte| *byte == FILLING)
}

/// The peer that a slot's requests go to.
pub(super) fn peer_of(slot: usize, peers: &[SocketAddr]) -> SocketAddr {
    peers[slot % peers.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_frees_its_slot_once() {
        let mut slots = Slots::new(3);
        let mut messages = [[0; 10]; 3];
        for (slot, message) in messages.iter_mut().enumerate() {
            slots.write(slot, message);
        }
        let mut late = messages[1];
        assert_eq!(slots.turn_round(&mut messages[1]).unwrap(), 1);
        assert_eq!(messages[1][..8], 4_u64.to_be_bytes());
        assert!(slots.turn_round(&mut late).is_err());
        assert_eq!(slots.answered(&messages[1]).unwrap(), 1);
    }

    #[test]
    fn changed_and_short_responses_are_found_out() {
        let mut slots = Slots::new(1);
        let mut message = [0; 10];
        slots.write(0, &mut message);
        message[9] ^= 1;
        assert!(slots.answered(&message).is_err());
        assert!(slots.answered(&message[..7]).is_err());
    }
}
