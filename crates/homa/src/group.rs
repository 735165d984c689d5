//! Several engines of one host, each with a thread of its own: what they tell each other, and
//! packets that reached the wrong one.
//!
//! It decides which engine a packet belongs to. What an engine makes of the others' reports is the
//! engine's.

use core::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use homa_net::Received;
use homa_net::udp::Steering;
use homa_proto::{Engine, ForeignAck, HostView, Report};

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::waiting::Alarm;

/// Packets that wait for one engine; more are lost, as in a full socket.
const MAIL_MAX: usize = 4_096;

/// Where a Homa packet has the number of an engine (the highest byte of its RPC id), whose that is
/// (the lowest bit of the id: set by what a server sent), and the sender's port.
const NUMBER_AT: u16 = 20;
const OWNER_AT: u16 = 27;
const PORT_AT: u16 = 0;

/// What the engines of a host share: a line of memory for each, written by it and read by others.
pub(crate) struct Group {
    lines: Box<[Line]>,
}

/// Two cache lines, which processors fetch together.
#[repr(align(128))]
struct Line {
    /// Counts the reports, so that a look at an unchanged one stays in the reader's cache.
    revision: AtomicU64,
    report: Mutex<Report>,
    mail: Mutex<Vec<Mail>>,
    has_mail: AtomicBool,
    alarm: Arc<Alarm>,
}

/// What reached another engine than it is for.
pub(crate) enum Mail {
    /// A packet.
    Packet {
        from: SocketAddr,
        to: Option<IpAddr>,
        /// The port it was sent to.
        port: u16,
        packet: Vec<u8>,
    },
    /// An ack that rode on some other packet.
    Ack(ForeignAck),
}

impl Line {
    /// Returns `false` if too much waits.
    fn put(&self, one: Mail) -> bool {
        let mut mail = lock(&self.mail);
        let room = mail.len() < MAIL_MAX;
        if room {
            mail.push(one);
        }
        room
    }
}

impl Group {
    /// A group of one engine for each of `alarms`, which wake those who drive them.
    pub(crate) fn new(alarms: impl Iterator<Item = Arc<Alarm>>) -> Self {
        let line = |alarm| Line {
            revision: AtomicU64::new(0),
            report: Mutex::default(),
            mail: Mutex::default(),
            has_mail: AtomicBool::new(false),
            alarm,
        };
        Self {
            lines: alarms.map(line).collect(),
        }
    }

    fn steering(&self) -> Steering {
        Steering {
            sockets: u16::try_from(self.lines.len()).unwrap_or(u16::MAX),
            number_at: NUMBER_AT,
            owner_at: OWNER_AT,
            port_at: PORT_AT,
        }
    }
}

/// One engine's place in its group.
pub(crate) struct Member {
    group: Arc<Group>,
    index: usize,
    /// Revision of each report when it was read last.
    seen: Box<[u64]>,
    told: Report,
}

impl Member {
    pub(crate) fn new(group: &Arc<Group>, index: usize) -> Self {
        Self {
            group: Arc::clone(group),
            index,
            seen: vec![0; group.lines.len()].into(),
            told: Report::default(),
        }
    }

    /// How the kernel is to spread packets over the engines' sockets.
    pub(crate) fn steering(&self) -> Steering {
        self.group.steering()
    }

    /// Tells the engine what the others do, if that has changed.
    pub(crate) fn inform(&mut self, engine: &mut Engine) {
        let mut changed = false;
        for (index, (line, seen)) in self.group.lines.iter().zip(&mut self.seen).enumerate() {
            let revision = line.revision.load(Ordering::Acquire);
            changed |= index != self.index && *seen != revision;
            *seen = revision;
        }
        if !changed {
            return;
        }
        let others = self.group.lines.iter().enumerate();
        let others = others.filter(|&(index, _)| index != self.index);
        let reports: Vec<Report> = others.map(|(_, line)| *lock(&line.report)).collect();
        engine.set_host_view(&HostView::join(&reports));
    }

    /// Tells the others what the engine does, if that has changed.
    pub(crate) fn publish(&mut self, engine: &Engine) {
        let report = engine.report();
        if report == self.told {
            return;
        }
        self.told = report;
        let line = &self.group.lines[self.index];
        *lock(&line.report) = report;
        line.revision.fetch_add(1, Ordering::Release);
    }

    /// The engine that a packet belongs to, if it is another.
    pub(crate) fn other_owner(&self, from: IpAddr, packet: &[u8]) -> Option<usize> {
        let owner = usize::from(self.group.steering().choose(from, packet)?);
        (owner != self.index).then_some(owner)
    }

    /// Hands a packet to the engine `owner`; `false` if too many wait for it.
    pub(crate) fn hand_over(
        &self,
        owner: usize,
        received: &Received<'_>,
        port: u16,
        packet: &[u8],
    ) -> bool {
        let line = &self.group.lines[owner];
        let taken = line.put(Mail::Packet {
            from: received.from,
            to: received.to,
            port,
            packet: packet.to_vec(),
        });
        if taken && !line.has_mail.swap(true, Ordering::AcqRel) {
            line.alarm.ring_all();
        }
        taken
    }

    /// Shows an ack that names no RPC of this engine to the others: it does not tell the port of
    /// its RPC, and so not the engine. They need not hurry.
    pub(crate) fn show(&self, ack: ForeignAck) {
        for (index, line) in self.group.lines.iter().enumerate() {
            if index != self.index && line.put(Mail::Ack(ack)) {
                line.has_mail.store(true, Ordering::Release);
            }
        }
    }

    /// What others handed over.
    pub(crate) fn take_mail(&self) -> Vec<Mail> {
        let line = &self.group.lines[self.index];
        if !line.has_mail.load(Ordering::Relaxed) {
            return Vec::new();
        }
        line.has_mail.store(false, Ordering::Release);
        core::mem::take(&mut *lock(&line.mail))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in and taken out; a panic leaves none half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Member, Member) {
        let alarms = (0..2).map(|_| Arc::new(Alarm::new().unwrap()));
        let group = Arc::new(Group::new(alarms));
        (Member::new(&group, 0), Member::new(&group, 1))
    }

    /// A packet that answers a request of engine `number`.
    fn response_to(number: u8) -> [u8; 28] {
        let mut packet = [0; 28];
        packet[20] = number;
        packet[27] = 1;
        packet
    }

    #[test]
    fn a_packet_for_the_other_engine_is_handed_over_once_and_wakes_it() {
        let (first, second) = pair();
        let from: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let packet = response_to(1);
        assert_eq!(second.other_owner(from.ip(), &packet), None);
        assert_eq!(first.other_owner(from.ip(), &packet), Some(1));
        let received = Received {
            from,
            to: None,
            traffic_class: 0,
            segment_bytes: packet.len(),
            bytes: &packet,
        };
        assert!(first.hand_over(1, &received, 9, &packet));
        assert!(second.group.lines[1].alarm.waiter.drain());
        let mail = second.take_mail();
        assert!(matches!(
            &mail[..],
            [Mail::Packet { from: sender, port: 9, packet: bytes, .. }]
                if *sender == from && **bytes == packet
        ));
        assert!(second.take_mail().is_empty());
    }

    #[test]
    fn mail_for_an_engine_that_does_not_come_is_bounded() {
        let (first, _second) = pair();
        let packet = response_to(1);
        let received = Received {
            from: "192.0.2.1:7".parse().unwrap(),
            to: None,
            traffic_class: 0,
            segment_bytes: packet.len(),
            bytes: &packet,
        };
        let taken = (0..MAIL_MAX + 5).filter(|_| first.hand_over(1, &received, 9, &packet));
        assert_eq!(taken.count(), MAIL_MAX);
    }
}
