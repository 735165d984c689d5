//! What a capture shows of one message: how much of it passed, and what is missing.

use core::fmt;

use homa_proto::wire::Data;
use serde_json::{Value, json};

/// A request or a response as its packets show it.
#[derive(Default)]
pub(super) struct Message {
    length: Option<u32>,
    packet_count: u32,
    retransmit_count: u32,
    pub(super) grant_count: u32,
    pub(super) resend_count: u32,
    /// End of the bytes seen.
    end: u32,
    /// Bytes before `end` that were not seen, in order.
    missing: Vec<Missing>,
}

/// Bytes that were passed over.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) since_ns: u64,
}

/// What a packet changed.
#[derive(Default)]
pub(super) struct News {
    /// Bytes passed over by it.
    pub(super) gap: Option<(u32, u32)>,
    /// Missing bytes that it brought.
    pub(super) filled: Vec<Missing>,
}

impl Message {
    pub(super) fn add(&mut self, at_ns: u64, data: &Data) -> News {
        self.length = Some(data.message_length);
        self.packet_count += 1;
        self.retransmit_count += u32::from(data.retransmit);
        let (start, end) = (data.offset, data.end());
        let mut news = News::default();
        if start > self.end {
            news.gap = Some((self.end, start));
            self.missing.push(Missing {
                start: self.end,
                end: start,
                since_ns: at_ns,
            });
        } else if start < self.end {
            news.filled = self.fill(start, end);
        }
        self.end = self.end.max(end);
        news
    }

    /// Takes `start..end` out of what is missing; returns the parts that were.
    fn fill(&mut self, start: u32, end: u32) -> Vec<Missing> {
        let (mut filled, mut left) = (Vec::new(), Vec::new());
        for missing in self.missing.drain(..) {
            let common = (missing.start.max(start), missing.end.min(end));
            if common.0 >= common.1 {
                left.push(missing);
                continue;
            }
            let part = |start, end| Missing {
                start,
                end,
                ..missing
            };
            filled.push(part(common.0, common.1));
            let around = [part(missing.start, common.0), part(common.1, missing.end)];
            left.extend(around.into_iter().filter(|part| part.start < part.end));
        }
        self.missing = left;
        filled
    }

    fn missing_bytes(&self) -> u32 {
        let holes = self.missing.iter().map(|part| part.end - part.start);
        holes.sum::<u32>() + self.length.unwrap_or(0).saturating_sub(self.end)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "length": self.length,
            "packets": self.packet_count,
            "retransmits": self.retransmit_count,
            "grants": self.grant_count,
            "resends": self.resend_count,
            "missing_bytes": self.missing_bytes(),
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(length) = self.length else {
            return write!(f, "not seen");
        };
        write!(f, "{length} bytes in {} packets", self.packet_count)?;
        if self.retransmit_count > 0 {
            write!(f, ", {} of them again", self.retransmit_count)?;
        }
        write!(
            f,
            ", {} grants, {} resends",
            self.grant_count, self.resend_count
        )?;
        match self.missing_bytes() {
            0 => Ok(()),
            bytes => write!(f, ", {bytes} bytes missing at the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(offset: u32, payload_length: u32) -> Data {
        Data {
            message_length: 10_000,
            incoming: 10_000,
            ack: None,
            cutoff_version: 0,
            retransmit: false,
            incast: false,
            offset,
            payload_length,
        }
    }

    #[test]
    fn what_is_passed_over_is_missing_until_it_comes() {
        let mut message = Message::default();
        assert!(message.add(1, &data(0, 1_000)).gap.is_none());
        assert_eq!(
            message.add(2, &data(4_000, 1_000)).gap,
            Some((1_000, 4_000))
        );
        let news = message.add(5, &data(2_000, 1_000));
        let filled: Vec<_> = news
            .filled
            .iter()
            .map(|it| (it.start, it.end, it.since_ns))
            .collect();
        assert_eq!(filled, [(2_000, 3_000, 2)]);
        assert_eq!(message.missing_bytes(), 2_000 + 5_000);
        assert!(message.add(6, &data(2_000, 1_000)).filled.is_empty());
        assert_eq!(message.add(7, &data(0, 4_000)).filled.len(), 2);
        message.add(8, &data(5_000, 5_000));
        assert_eq!(message.missing_bytes(), 0);
    }
}
