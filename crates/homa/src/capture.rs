//! What a host sends and receives, written to a file as pcapng while it runs.
//!
//! It stands between host and link, and only where a capture was asked for: a host without one does
//! not know of it.
//!
//! # Design
//!
//! *Whole blocks are appended, one call of the system for each batch*, so that several processes may
//! write one file, and what a process wrote before it was killed is there. Times are the system's,
//! so that captures of several machines can be laid side by side.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use homa_capture::{Capture, Carrier, Frame, MAGIC};
use homa_net::tunnel::TUNNEL_PORT;
use homa_net::{Capabilities, Counters, Framing, Link, Received, Refusal, Transmit, Undeliverable};

/// The variable of the environment that names a file to write packets to.
const VARIABLE: &str = "HOMA_CAPTURE";

/// Peers whose route is remembered.
const ROUTES_MAX: usize = 4_096;

/// The file, shared by the links of a host.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: File,
    lost: AtomicU64,
}

impl Recorder {
    /// The recorder that was asked for: by `path`, or else by the environment.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or holds something else than a capture.
    pub(crate) fn asked_for(path: Option<&Path>) -> io::Result<Option<Arc<Self>>> {
        let path = match path {
            Some(path) => Some(path.to_owned()),
            None => env::var_os(VARIABLE)
                .filter(|name| !name.is_empty())
                .map(PathBuf::from),
        };
        path.map(|path| Self::open(&path).map(Arc::new)).transpose()
    }

    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let is_pipe = !file.metadata()?.is_file();
        let mut start = Vec::new();
        if !is_pipe {
            (&file).take(MAGIC.len() as u64).read_to_end(&mut start)?;
        }
        if !start.is_empty() && start != MAGIC {
            let text = format!("{} is there already and is no pcapng file", path.display());
            return Err(io::Error::other(text));
        }
        file.write_all(Capture::new().bytes())?;
        Ok(Self {
            file,
            lost: AtomicU64::new(0),
        })
    }

    /// Puts itself between a link and the host.
    pub(crate) fn watch(self: &Arc<Self>, link: Box<dyn Link>) -> Box<dyn Link> {
        let mut capture = Capture::new();
        capture.clear();
        Box::new(Recorded {
            tape: Tape {
                recorder: Arc::clone(self),
                local: link.local_addr(),
                framing: link.framing(),
                capture,
                sources: HashMap::new(),
                flat: Vec::new(),
            },
            link,
        })
    }

    /// Packets that could not be written, since the disk is full or worse.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A link whose packets are written down.
struct Recorded {
    link: Box<dyn Link>,
    tape: Tape,
}

/// What is on its way to the file.
struct Tape {
    recorder: Arc<Recorder>,
    local: SocketAddr,
    framing: Framing,
    capture: Capture,
    /// The address of ours that packets to a peer leave from.
    sources: HashMap<IpAddr, IpAddr>,
    flat: Vec<u8>,
}

impl Link for Recorded {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        let mut left_out = Vec::new();
        let done = self.link.send(batch, &mut |index, refusal| {
            left_out.push(index);
            refused(index, refusal);
        });
        let mut count = 0;
        for (index, transmit) in batch[..done].iter().enumerate() {
            if !left_out.contains(&index) {
                count += self.tape.sent(transmit);
            }
        }
        self.tape.flush(count);
        done
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let (tape, mut count) = (&mut self.tape, 0);
        let outcome = self.link.receive(&mut |received| {
            count += tape.received(&received);
            sink(received);
        });
        self.tape.flush(count);
        outcome
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        self.link.poll_errors(sink)
    }

    fn local_addr(&self) -> SocketAddr {
        self.link.local_addr()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        self.link.route_mtu(to)
    }

    fn counters(&self) -> Counters {
        self.link.counters()
    }

    fn framing(&self) -> Framing {
        self.link.framing()
    }
}

impl Tape {
    /// Returns how many packets that were.
    fn sent(&mut self, transmit: &Transmit<'_>) -> u64 {
        let mut flat = core::mem::take(&mut self.flat);
        flat.clear();
        let slices: &[IoSlice<'_>] = transmit.slices;
        slices
            .iter()
            .for_each(|slice| flat.extend_from_slice(slice));
        let from = self.here(transmit.to, transmit.from);
        let count = self.packets(
            from,
            transmit.to,
            transmit.traffic_class,
            flat.chunks(transmit.stride().max(1)),
        );
        self.flat = flat;
        count
    }

    fn received(&mut self, received: &Received<'_>) -> u64 {
        let to = self.here(received.from, received.to);
        self.packets(
            received.from,
            to,
            received.traffic_class,
            received.segments(),
        )
    }

    fn packets<'a>(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        traffic_class: u8,
        packets: impl Iterator<Item = &'a [u8]>,
    ) -> u64 {
        let frame = Frame {
            from: self.outer(from),
            to: self.outer(to),
            traffic_class,
            carrier: match self.framing {
                Framing::Ip => Carrier::Ip,
                Framing::Udp | Framing::Tunnel => Carrier::Udp,
            },
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let mut count = 0;
        for packet in packets {
            let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            self.capture.packet(now, &frame, packet, length);
            count += 1;
        }
        count
    }

    /// The address with the port that the headers below Homa say.
    fn outer(&self, mut address: SocketAddr) -> SocketAddr {
        if self.framing == Framing::Tunnel {
            address.set_port(TUNNEL_PORT);
        }
        address
    }

    /// Our end of the way to `peer`; `known` is its address, if the link said it.
    fn here(&mut self, peer: SocketAddr, known: Option<IpAddr>) -> SocketAddr {
        let bound = Some(self.local.ip()).filter(|ip| !ip.is_unspecified());
        let ip = known.or(bound).unwrap_or_else(|| self.source(peer));
        SocketAddr::new(ip, self.local.port())
    }

    fn source(&mut self, peer: SocketAddr) -> IpAddr {
        if let Some(source) = self.sources.get(&peer.ip()) {
            return *source;
        }
        let source = routed(self.local, peer).unwrap_or_else(|_| self.local.ip());
        if self.sources.len() >= ROUTES_MAX {
            self.sources.clear();
        }
        self.sources.insert(peer.ip(), source);
        source
    }

    fn flush(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        if (&self.recorder.file)
            .write_all(self.capture.bytes())
            .is_err()
        {
            self.recorder.lost.fetch_add(count, Ordering::Relaxed);
        }
        self.capture.clear();
    }
}

/// What the route to `peer` says: connecting sends nothing.
fn routed(local: SocketAddr, peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(local.ip(), 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}
