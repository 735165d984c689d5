//! A panic while a thread has the host's state ends the host with an error for everybody, and no
//! thread waits for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;

use homa::blocking::{Client, Server};
use homa::memory::{self, pair};
use homa::{BindError, CallError, Capabilities, Host, Link, RecvError, ReplyError};
use homa::{LinkCounters, Received, Refusal, Transmit, Undeliverable};

/// A link that panics when told to, as a link with a defect would.
struct Defective {
    link: memory::Memory,
    panics: Arc<AtomicBool>,
}

impl Link for Defective {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        self.link.send(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        assert!(!self.panics.load(Ordering::Relaxed), "a defect, on purpose");
        self.link.receive(sink)
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

    fn counters(&self) -> LinkCounters {
        self.link.counters()
    }
}

#[test]
fn a_panic_in_one_thread_is_an_error_in_all_others() {
    let (near, far) = pair(&memory::Config::default()).unwrap();
    let panics = Arc::new(AtomicBool::new(false));
    let host = Host::builder().build().unwrap();
    let defective = Defective {
        link: near,
        panics: Arc::clone(&panics),
    };
    let server = Server::on_link(&host, Box::new(defective)).unwrap();
    let address = server.local_addr();
    let other = Host::builder().build().unwrap();
    let caller = Client::on_link(&other, Box::new(far)).unwrap();
    let question = caller.start(address, b"question").unwrap();
    let request = server.recv().unwrap();

    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || server.recv().unwrap_err())
        })
        .collect();
    panics.store(true, Ordering::Relaxed);
    // A packet wakes whoever drives, whose thread panics: a waiter's, or the background thread.
    let second = caller.start(address, b"wake up").unwrap();
    for waiter in waiters {
        // One waiter may be the thread that met the defect; the others learn of it.
        if let Ok(error) = waiter.join() {
            assert_eq!(error, RecvError::Broken);
        }
    }
    assert_eq!(server.recv().unwrap_err(), RecvError::Broken);
    assert_eq!(
        request.responder.reply(b"answer").unwrap_err(),
        ReplyError::Broken
    );
    assert_eq!(Client::on(&host).unwrap_err(), BindError::Broken);
    assert_eq!(host.usage().unwrap_err(), BindError::Broken);
    server.close();
    question.abort();
    assert!(matches!(
        second.wait().unwrap_err(),
        CallError::TimedOut | CallError::OutcomeUnknown
    ));
}
