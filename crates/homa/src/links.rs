//! The sockets of a host: one link and one socket of the engine each, and one descriptor that tells
//! when any of them has something to do. It neither sends nor receives.
//!
//! # Design
//!
//! *The descriptor watches the sockets only while somebody sleeps on it, and a while longer.* The
//! kernel tells whoever watches a socket of each packet that arrives, and of each one sent whose
//! memory it takes back: a tenth of what sending in bulk costs, for nobody while threads look
//! themselves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use homa_net::{Counters, Link};
use homa_proto::SocketId;
use rustix::event::epoll;

use crate::counters::add;
use crate::incoming::Ahead;

/// One socket.
pub(crate) struct Socket {
    pub(crate) link: Box<dyn Link>,
    pub(crate) id: SocketId,
    /// The server whose requests arrive here.
    pub(crate) server: Option<u32>,
    /// Whether the link was full at the last send.
    pub(crate) full: bool,
    /// What is expected to arrive next of long messages.
    pub(crate) ahead: Ahead,
}

/// All sockets of a host.
pub(crate) struct Links {
    /// By `SocketId::index`.
    sockets: Vec<Option<Socket>>,
    /// What the links counted that are closed.
    closed: Counters,
    /// Readable when any link is, so that one descriptor tells, while it watches them.
    epoll: OwnedFd,
    watches: bool,
    /// Turns that brought something since somebody was about to sleep.
    turns_awake: u32,
}

/// So many turns without a sleep end the watching: beginning and ending it are system calls.
const AWAKE_TURNS: u32 = 256;

impl Links {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            sockets: Vec::new(),
            closed: Counters::default(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            watches: true,
            turns_awake: 0,
        })
    }

    /// A descriptor of its own that is readable when any link has something to do.
    pub(crate) fn readiness(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    pub(crate) fn insert(&mut self, socket: Socket) -> io::Result<()> {
        self.watch()?;
        self.watch_one(&socket)?;
        let index = socket.id.index();
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(socket);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.sockets.get_mut(id.index())?.take()?;
        add(&mut self.closed, &socket.link.counters());
        self.unwatch_one(&socket);
        Some(socket)
    }

    /// Has the descriptor tell of the sockets. To be called before every sleep on it; what waits in
    /// a socket by then makes it readable at once.
    ///
    /// # Errors
    ///
    /// The kernel has no memory for that: do not sleep.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        self.turns_awake = 0;
        if self.watches {
            return Ok(());
        }
        // Those that are watched when one of them cannot be are found so the next time.
        for socket in self.sockets.iter().flatten() {
            match self.watch_one(socket) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.watches = true;
        Ok(())
    }

    /// A turn brought something, and nobody sleeps on the descriptor.
    pub(crate) fn stay_awake(&mut self) {
        self.turns_awake = self.turns_awake.saturating_add(1);
        if self.watches && self.turns_awake >= AWAKE_TURNS {
            self.watches = false;
            for socket in self.sockets.iter().flatten() {
                self.unwatch_one(socket);
            }
        }
    }

    fn watch_one(&self, socket: &Socket) -> io::Result<()> {
        let data = epoll::EventData::new_u64(socket.id.index() as u64);
        Ok(epoll::add(
            &self.epoll,
            socket.link.fd(),
            data,
            events_of(socket),
        )?)
    }

    fn unwatch_one(&self, socket: &Socket) {
        // An error means that it is not watched.
        let _ = epoll::delete(&self.epoll, socket.link.fd());
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.get(id.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.index())?.as_mut()
    }

    /// What all links counted, those closed included.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = self.closed;
        for socket in self.sockets.iter().flatten() {
            add(&mut sum, &socket.link.counters());
        }
        sum
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Socket> {
        self.sockets.iter_mut().flatten()
    }

    /// Notes whether a link is full; while it is, the descriptor also tells when it has room.
    pub(crate) fn set_full(&mut self, id: SocketId, full: bool) {
        let Some(socket) = self.sockets.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        if socket.full == full {
            return;
        }
        socket.full = full;
        let data = epoll::EventData::new_u64(id.index() as u64);
        // Refused while it is not watched.
        let _ = epoll::modify(
            self.epoll.as_fd(),
            socket.link.fd(),
            data,
            events_of(socket),
        );
    }
}

/// What a socket is watched for.
fn events_of(socket: &Socket) -> epoll::EventFlags {
    let mut events = epoll::EventFlags::IN;
    events.set(epoll::EventFlags::OUT, socket.full);
    events
}
