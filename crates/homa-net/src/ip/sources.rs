//! The address of ours that packets to a peer leave from.
//!
//! It decides nothing: it asks the kernel, and remembers the answer for a while.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use crate::link::Refusal;
use crate::udp::route;
use crate::udp::verdict::{Verdict, verdict};

/// Peers whose route is remembered. Asking again costs some microseconds, no more.
const ROUTES_MAX: usize = 4_096;

/// Questions after which every route is asked for again, some seconds of the fastest sending: an
/// address may go, and nothing tells. Until then checksums are wrong, which no receiver verifies.
const QUESTIONS_MAX: u32 = 1 << 20;

pub(super) struct Sources {
    /// Of a socket with an address of its own.
    own: Option<IpAddr>,
    routes: HashMap<IpAddr, IpAddr>,
    /// The peer that was asked for last, and its answer: most hosts ask for it again.
    last: Option<(IpAddr, IpAddr)>,
    questions: u32,
}

impl Sources {
    /// For a socket that is bound to `local`.
    pub(super) fn new(local: IpAddr) -> Self {
        Self {
            own: (!local.is_unspecified()).then_some(local),
            routes: HashMap::new(),
            last: None,
            questions: 0,
        }
    }

    /// The address that the kernel gives packets to `to` where it is told no other.
    pub(super) fn of(&mut self, to: SocketAddr) -> Result<IpAddr, Refusal> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        self.questions += 1;
        if self.questions >= QUESTIONS_MAX {
            self.forget_all();
        }
        let peer = to.ip();
        if let Some((_, source)) = self.last.filter(|last| last.0 == peer) {
            return Ok(source);
        }
        let source = match self.routes.get(&peer) {
            Some(source) => *source,
            None => self.ask(to)?,
        };
        self.last = Some((peer, source));
        Ok(source)
    }

    /// Forgets the route to a peer, which may have changed.
    pub(super) fn forget(&mut self, peer: IpAddr) {
        self.last = None;
        self.routes.remove(&peer);
    }

    fn ask(&mut self, to: SocketAddr) -> Result<IpAddr, Refusal> {
        let source = route::source(to).map_err(|errno| match verdict(errno, false, false) {
            Verdict::Refused(refusal) | Verdict::MayBePending(refusal) => refusal,
            _ => Refusal::Dropped,
        })?;
        if self.routes.len() >= ROUTES_MAX {
            self.forget_all();
        }
        self.routes.insert(to.ip(), source);
        Ok(source)
    }

    fn forget_all(&mut self) {
        self.routes.clear();
        self.last = None;
        self.questions = 0;
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn loopback(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 99))
    }

    #[test]
    fn a_socket_with_an_address_sends_from_it_and_another_from_where_the_route_leads() {
        let own = "127.0.0.9".parse().unwrap();
        assert_eq!(Sources::new(own).of(loopback(2)), Ok(own));
        let mut sources = Sources::new(Ipv4Addr::UNSPECIFIED.into());
        for peer in [1, 2, 1] {
            // On the loopback everybody is answered from the address that was called.
            assert_eq!(sources.of(loopback(peer)), Ok(loopback(1).ip()));
        }
    }

    #[test]
    fn routes_are_forgotten_one_by_one_and_all_after_many_questions() {
        let mut sources = Sources::new(Ipv4Addr::UNSPECIFIED.into());
        sources.of(loopback(1)).unwrap();
        sources.of(loopback(2)).unwrap();
        sources.forget(loopback(2).ip());
        assert_eq!(sources.routes.len(), 1);
        sources.questions = QUESTIONS_MAX - 1;
        sources.of(loopback(2)).unwrap();
        assert!(!sources.routes.contains_key(&loopback(1).ip()));
    }
}
