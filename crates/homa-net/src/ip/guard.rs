//! Answers packets for ports that nobody on this machine owns with "port unreachable", as a kernel
//! would, so that their senders need not wait for a timeout.
//!
//! It decides who does it; it never answers for a port that has an owner. What is answered, and how
//! often, is decided in `stray`.
//!
//! # Design
//!
//! *A link hears them beside its own packets.* The kernel copies each packet for every raw socket before
//! the socket's filter is asked, so a socket that only hears strays would cost each packet of the
//! machine a copy.
//!
//! *At each address one link of the machine does so*: the one that holds the office of that address. The
//! others are connected to it, and the end of the connection tells them that the office is free. A link at
//! all addresses leaves a packet to an address with an office of its own to that office. At an address
//! where nobody has a link the kernel itself says that nobody speaks the protocol.
//!
//! *Packets of owned ports do not wake who hears strays.* The first one does; then the port is known to
//! have an owner and the filter leaves it out, until the connection to the owner ends. This side of it is
//! ended only when the filter lets the port through again, and an owner that goes orderly waits for that.
//!
//! *A thread of each process asks, waits and answers*, so that who drives a link need not. The links of a
//! process are counted under one lock, under which their thread also ends.

mod stray;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

pub(super) use stray::Stray;

use self::stray::{Answer, Voice};
use super::claim::{Claim, Office};
use super::filter;
use crate::wait::{WATCHES_MAX, Wakeup, Watch, wait};

/// How soon to try again when the holder of an office left while we asked for it, or is asked by too
/// many.
const RETRY: Duration = Duration::from_millis(20);

/// Words to the thread that wait: more strays than it deals with in a moment are not answered.
const WORDS_MAX: usize = 256;

/// Offices that are waited for, and owners of ports whose end is; the other links at further addresses
/// hear no strays. Besides there is the bell.
const OFFICES_MAX: usize = 15;
const OWNERS_MAX: usize = WATCHES_MAX - OFFICES_MAX - 1;
const _: () = assert!(OWNERS_MAX <= filter::PORTS_MAX);

/// The thread of this process and the number of links that it is for.
static SHARED: Mutex<Option<(Thread, usize)>> = Mutex::new(None);

/// A link's share of the guard of its process, which ends with the last one.
pub(super) struct Guard {
    words: SyncSender<Word>,
    bell: Arc<Wakeup>,
    port: u16,
    /// Whether another link hears strays in its place.
    has_left: bool,
}

impl Guard {
    /// Has the link of `socket`, bound to `local`, hear strays when that is its turn. When this
    /// returns it does so, if nobody did.
    pub(super) fn post(socket: BorrowedFd<'_>, local: IpAddr, port: u16) -> io::Result<Self> {
        let post = Post {
            socket: socket.try_clone_to_owned()?,
            local,
            port,
        };
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let (thread, links) = match &mut *shared {
            Some(shared) => shared,
            none => none.insert((Thread::start()?, 0)),
        };
        *links += 1;
        let this = Self {
            words: thread.words.clone(),
            bell: Arc::clone(&thread.bell),
            port,
            has_left: false,
        };
        drop(shared);
        this.ask(|tell| Word::Enter(post, tell));
        Ok(this)
    }

    /// The link goes. From now on another one hears strays in its place; returns whether this one did,
    /// and may have heard some that nobody else has.
    pub(super) fn leave(&mut self) -> bool {
        self.has_left = true;
        self.ask(|tell| Word::Leave(self.port, tell))
    }

    /// The link heard a packet that is not its own.
    pub(super) fn hear(&self, stray: &Stray<'_>) {
        let Some(answer) = stray.answer() else {
            return;
        };
        let is_last = self.has_left;
        // Where there are too many, a sender waits for its timeout.
        if self.words.try_send(Word::Heard { answer, is_last }).is_ok() {
            self.bell.wake();
        }
    }

    /// Asks the thread. That it has ended is for a lack of descriptors or rights: packets to ports of
    /// nobody then time out.
    fn ask(&self, word: impl FnOnce(Sender<bool>) -> Word) -> bool {
        let (tell, told) = mpsc::channel();
        if self.words.send(word(tell)).is_err() {
            return false;
        }
        self.bell.wake();
        told.recv().unwrap_or(false)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, links)) = &mut *shared {
            *links -= 1;
            if *links == 0 {
                *shared = None;
            }
        }
    }
}

/// What links tell their thread.
enum Word {
    Enter(Post, Sender<bool>),
    /// The link of this port goes.
    Leave(u16, Sender<bool>),
    Heard {
        answer: Answer,
        /// Whether whoever hears strays from now on may have missed it.
        is_last: bool,
    },
    /// There are no links any more.
    Stop,
}

/// A link as the thread knows it.
struct Post {
    socket: OwnedFd,
    /// The address it is bound to, which may be that of all.
    local: IpAddr,
    port: u16,
}

/// The thread of this process.
struct Thread {
    words: SyncSender<Word>,
    bell: Arc<Wakeup>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start() -> io::Result<Self> {
        let bell = Arc::new(Wakeup::new()?);
        let own = Arc::clone(&bell);
        let (words, heard) = mpsc::sync_channel(WORDS_MAX);
        let handle = thread::Builder::new()
            .name("homa-ip-guard".to_owned())
            .spawn(move || {
                // What it ends with early is told to whoever asks next, by the end of the words.
                let _ = Watchman::new(heard).serve(&own);
            })?;
        Ok(Self {
            words,
            bell,
            handle: Some(handle),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // An error says that it has ended.
        if self.words.send(Word::Stop).is_ok() {
            self.bell.wake();
        }
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// What the thread knows.
struct Watchman {
    words: Receiver<Word>,
    posts: Vec<Post>,
    /// By address, for all at which there are posts, but for too many.
    offices: BTreeMap<IpAddr, Turn>,
    /// Ports known to be owned, with a connection that ends with the owner.
    owners: BTreeMap<u16, UnixStream>,
    voice: Voice,
    /// Whether the filters are those of before.
    is_stale: bool,
}

/// Whose turn it is to hear the strays of an address.
enum Turn {
    /// That of the first of our posts there.
    Ours(Claim),
    /// Of another process, to which this is connected.
    Theirs(UnixStream),
    /// To be asked for.
    Open,
}

impl Watchman {
    fn new(words: Receiver<Word>) -> Self {
        Self {
            words,
            posts: Vec::new(),
            offices: BTreeMap::new(),
            owners: BTreeMap::new(),
            voice: Voice::new(),
            is_stale: false,
        }
    }

    fn serve(&mut self, bell: &Wakeup) -> io::Result<()> {
        loop {
            let ended = self.wait(bell)?;
            // Those who go may when the filters are as they must be without them.
            let gone = self.take_out(&ended);
            bell.drain();
            let mut told = Vec::new();
            while let Ok(word) = self.words.try_recv() {
                match word {
                    Word::Enter(post, tell) => {
                        self.enter(post);
                        told.push((tell, true));
                    }
                    Word::Leave(port, tell) => told.push((tell, self.leave(port)?)),
                    Word::Heard { answer, is_last } => self.hear(&answer, is_last)?,
                    Word::Stop => return Ok(()),
                }
            }
            self.take_turns()?;
            if self.is_stale {
                self.attach_filters()?;
            }
            drop(gone);
            for (tell, value) in told {
                // Who asked waits for it.
                let _ = tell.send(value);
            }
        }
    }

    /// Waits for a word, or the end of a connection; returns which ended.
    fn wait(&self, bell: &Wakeup) -> io::Result<Vec<Connection>> {
        let theirs = self.offices.iter().filter_map(|(&at, turn)| match turn {
            Turn::Theirs(holder) => Some((Connection::Office(at), holder)),
            _ => None,
        });
        let owners = self.owners.iter();
        let owners = owners.map(|(&port, owner)| (Connection::Port(port), owner));
        let connections: Vec<_> = theirs.chain(owners).collect();
        let mut watches = vec![Watch::readable(bell.fd())];
        watches.extend(
            connections
                .iter()
                .map(|(_, it)| Watch::readable(it.as_fd())),
        );
        let is_open = self.offices.values().any(|turn| matches!(turn, Turn::Open));
        wait(&mut watches, is_open.then_some(RETRY))?;
        let ended = connections.iter().zip(&watches[1..]);
        let is_over = |watch: &Watch<'_>| watch.ready.readable || watch.ready.error;
        Ok(ended
            .filter(|(_, watch)| is_over(watch))
            .map(|((connection, _), _)| *connection)
            .collect())
    }

    fn take_out(&mut self, ended: &[Connection]) -> Vec<UnixStream> {
        let mut gone = Vec::new();
        for connection in ended {
            match connection {
                Connection::Port(port) => gone.extend(self.owners.remove(port)),
                Connection::Office(at) => match self.offices.insert(*at, Turn::Open) {
                    Some(Turn::Theirs(holder)) => gone.push(holder),
                    _ => debug_assert!(false, "only theirs are waited for"),
                },
            }
        }
        self.is_stale |= !gone.is_empty();
        gone
    }

    fn enter(&mut self, post: Post) {
        if self.offices.len() < OFFICES_MAX {
            self.offices.entry(post.local).or_insert(Turn::Open);
        }
        self.posts.push(post);
    }

    /// A post goes; returns whether it heard strays. Those who take its place do when this returns.
    fn leave(&mut self, port: u16) -> io::Result<bool> {
        let Some(index) = self.posts.iter().position(|post| post.port == port) else {
            return Ok(false);
        };
        let heard = self.is_hearing(index);
        let post = self.posts.remove(index);
        if self.posts.iter().any(|other| other.local == post.local) {
            self.is_stale |= heard;
        } else if let Some(Turn::Ours(claim)) = self.offices.remove(&post.local) {
            // It ends when who comes after it hears strays.
            drop(claim);
        }
        Ok(heard)
    }

    /// Whether the post hears strays: the first of an address whose office is ours.
    fn is_hearing(&self, index: usize) -> bool {
        let local = self.posts[index].local;
        let is_first = self.posts[..index].iter().all(|post| post.local != local);
        is_first && matches!(self.offices.get(&local), Some(Turn::Ours(_)))
    }

    /// Asks for the offices that may be free.
    fn take_turns(&mut self) -> io::Result<()> {
        for (&at, turn) in &mut self.offices {
            if !matches!(turn, Turn::Open) {
                continue;
            }
            let office = Office::Guard(at);
            *turn = match office.claim() {
                Ok(claim) => {
                    self.is_stale = true;
                    Turn::Ours(claim)
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => match office.owner() {
                    Ok(Some(holder)) => Turn::Theirs(holder),
                    Ok(None) => Turn::Open,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Open,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    /// Answers a stray, or notes who owns its port.
    fn hear(&mut self, answer: &Answer, is_last: bool) -> io::Result<()> {
        if self.owners.contains_key(&answer.port) {
            return Ok(());
        }
        match Office::Port(answer.port).owner() {
            // Beyond the limit links are woken for packets of some owners, no more.
            Ok(Some(owner)) if self.owners.len() < OWNERS_MAX => {
                self.owners.insert(answer.port, owner);
                self.is_stale = true;
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                if is_last || self.is_ours(answer.at)? {
                    self.voice.say(answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether nobody else answers for an address.
    fn is_ours(&self, at: IpAddr) -> io::Result<bool> {
        match self.offices.get(&at) {
            Some(Turn::Ours(_)) => Ok(true),
            _ => match Office::Guard(at).owner() {
                Ok(holder) => Ok(holder.is_none()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    fn attach_filters(&mut self) -> io::Result<()> {
        for (index, post) in self.posts.iter().enumerate() {
            let (fd, is_v4) = (post.socket.as_fd(), post.local.is_ipv4());
            if self.is_hearing(index) {
                let others = self.owners.keys().filter(|&&port| port != post.port);
                filter::all_but(fd, is_v4, &others.copied().collect::<Vec<_>>())?;
            } else {
                filter::only(fd, is_v4, post.port)?;
            }
        }
        self.is_stale = false;
        Ok(())
    }
}

/// A connection that the thread waits for the end of.
#[derive(Clone, Copy)]
enum Connection {
    Office(IpAddr),
    Port(u16),
}
