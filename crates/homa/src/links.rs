//! The sockets of a host: one link and one socket of the engine each, and one descriptor that tells
//! when any of them has something to do. It neither sends nor receives.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use homa_net::{Counters, Link};
use homa_proto::SocketId;
use rustix::event::epoll;

use crate::counters::add;

/// One socket.
pub(crate) struct Socket {
    pub(crate) link: Box<dyn Link>,
    pub(crate) id: SocketId,
    /// The server whose requests arrive here.
    pub(crate) server: Option<u32>,
    /// Whether the link was full at the last send.
    pub(crate) full: bool,
}

/// All sockets of a host.
pub(crate) struct Links {
    /// By `SocketId::index`.
    sockets: Vec<Option<Socket>>,
    /// What the links counted that are closed.
    closed: Counters,
    /// Readable when any link is, so that one descriptor tells.
    epoll: OwnedFd,
}

impl Links {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            sockets: Vec::new(),
            closed: Counters::default(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// A descriptor of its own that is readable when any link has something to do.
    pub(crate) fn readiness(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    pub(crate) fn insert(&mut self, socket: Socket) -> io::Result<()> {
        let index = socket.id.index();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, socket.link.fd(), data, epoll::EventFlags::IN)?;
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(socket);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.sockets.get_mut(id.index())?.take()?;
        add(&mut self.closed, &socket.link.counters());
        // An error would mean that the link's descriptor is closed, which also removes it.
        let _ = epoll::delete(&self.epoll, socket.link.fd());
        Some(socket)
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
        let mut events = epoll::EventFlags::IN;
        events.set(epoll::EventFlags::OUT, full);
        let data = epoll::EventData::new_u64(id.index() as u64);
        // Only a closed descriptor could be refused.
        let _ = epoll::modify(self.epoll.as_fd(), socket.link.fd(), data, events);
    }
}
