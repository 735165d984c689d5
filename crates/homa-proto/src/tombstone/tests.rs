use super::*;
use crate::address::Address;

const LIFETIME: u64 = 1_000_000_000;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// Number `number` of a client's ids, as its server names it.
fn id(number: u64) -> RpcId {
    RpcId::new(number << 1 | 1)
}

struct Server {
    peers: Peers,
    tombstones: Tombstones,
    peer: u32,
}

impl Server {
    fn new(limit: u32) -> Self {
        let mut peers = Peers::new(10, 10, Key([1, 2]), true).unwrap();
        let client = Address {
            ip: Ipv6Addr::LOCALHOST,
            port: 4_000,
            scope: 0,
        };
        let peer = peers.make(at(0), &client).unwrap();
        Self {
            peers,
            tombstones: Tombstones::new(limit, Key([3, 4]), LIFETIME).unwrap(),
            peer,
        }
    }

    fn find(&self, number: u64) -> (Option<u32>, Known) {
        let latest = self.peers[self.peer].latest_block;
        self.tombstones
            .find(&self.peers, (self.peer, latest), id(number))
    }

    fn known(&self, number: u64) -> Known {
        self.find(number).1
    }

    fn begin(&mut self, number: u64) -> Result<u32, Full> {
        let (block, known) = self.find(number);
        assert_eq!(known, Known::Never, "{number}");
        let make = || self.tombstones.make(&mut self.peers, self.peer, id(number));
        let block = block.map_or_else(make, Ok)?;
        self.tombstones.begin(block, id(number), number as u32);
        Ok(block)
    }

    fn end(&mut self, now: u64, block: u32, number: u64, ran: bool) {
        let peer = &mut self.peers[self.peer];
        self.tombstones.end(at(now), peer, block, id(number), ran);
    }

    fn run(&mut self, now: u64, number: u64) {
        let block = self.begin(number).unwrap();
        assert_eq!(self.known(number), Known::Live(number as u32));
        self.end(now, block, number, true);
    }

    fn expire(&mut self, now: u64) {
        while self.tombstones.expire(at(now), &mut self.peers) {}
    }
}

#[test]
fn of_requests_without_a_gap_little_is_left_and_all_of_them_are_known() {
    let mut server = Server::new(10);
    let end = 100 * IDS as u64;
    (0..end).for_each(|number| server.run(number, number));
    assert_eq!(server.tombstones.len(), 2, "two spans for a hundred blocks");
    assert_eq!(server.peers[server.peer].blocks, 2);
    assert!((0..end).all(|number| server.known(number) == Known::Over));
    assert_eq!(server.known(end), Known::Never);
    server.expire(end + LIFETIME - 2);
    assert_eq!(server.known(end - 1), Known::Over);
    server.expire(end + LIFETIME);
    assert_eq!(server.tombstones.len(), 0);
    assert_eq!(server.tombstones.next_expiry(), None);
    assert_eq!(server.peers[server.peer].blocks, 0);
    assert_eq!(server.known(end - 1), Known::Never);
}

#[test]
fn a_request_that_did_not_run_keeps_its_block_open() {
    let mut server = Server::new(10);
    (1..IDS as u64).for_each(|number| server.run(0, number));
    let block = server.begin(0).unwrap();
    server.end(0, block, 0, false);
    assert_eq!(server.known(0), Known::Never);
    server.run(0, 0);
    assert_eq!(server.known(0), Known::Over);
}

#[test]
fn a_block_in_the_place_of_one_that_is_gone_is_kept_for_its_own_time() {
    let mut server = Server::new(10);
    // Every block is without live requests at once, and has its turn a lifetime later.
    (0..IDS as u64).for_each(|number| server.run(0, number));
    let late = 2 * IDS as u64;
    server.run(LIFETIME / 2, late);
    let live = server.begin(late + 1).unwrap();
    server.expire(LIFETIME + 1);
    assert_eq!(server.known(0), Known::Never, "its span is forgotten");
    assert_eq!(server.known(late), Known::Over);
    server.end(LIFETIME, live, late + 1, true);
    server.expire(2 * LIFETIME - 1);
    assert_eq!(server.known(late), Known::Over);
    server.expire(2 * LIFETIME);
    assert_eq!(server.tombstones.len(), 0);
}

#[test]
fn blocks_and_spans_share_a_limit() {
    let mut server = Server::new(4);
    (0..IDS as u64).for_each(|number| server.run(0, number));
    // Half of what is free is left to other peers.
    server.run(0, 1_000_000);
    assert_eq!(server.begin(2_000_000), Err(Full));
    assert_eq!(server.tombstones.len(), 2);
}
