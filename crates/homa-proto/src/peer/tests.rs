use super::*;

fn peers() -> Peers {
    Peers::new(100, 100, Key([1, 2]), false).unwrap()
}

fn address(number: u16, scope: u32) -> Address {
    Address {
        ip: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number),
        port: 4_000,
        scope,
    }
}

#[test]
fn an_entry_has_no_gaps_that_its_order_brings() {
    assert_eq!(size_of::<Peer>(), 232);
}

#[test]
fn addresses_that_differ_in_scope_or_port_alone_have_different_hashes() {
    let peers = peers();
    let hash = peers.hash(&address(1, 7));
    assert_ne!(peers.hash(&address(1, 8)), hash);
    let other_port = Address {
        port: 4_001,
        ..address(1, 7)
    };
    assert_ne!(peers.hash(&other_port), hash);
}

#[test]
fn a_version_tells_the_life_whatever_the_revision() {
    let mut peers = peers();
    let now = Instant::from_nanos(1_000_000_000);
    let index = peers.make(now, &address(1, 0)).unwrap();
    let peer = &peers[index];
    for revision in [0, 1, 15, 16, 17, 0xffff] {
        let version = peer.our_version(revision);
        assert_eq!(life(version), peer.life);
        assert_eq!(version & !LIFE_MASK, revision & !LIFE_MASK);
    }
}

#[test]
fn a_peer_that_was_needed_again_is_forgotten_when_it_was_idle_for_long_since() {
    let config = Config::default();
    let mut peers = peers();
    let start = Instant::from_nanos(1 << 30);
    let index = peers.make(start, &address(1, 0)).unwrap();
    let later = start + config.peer_idle / 2;
    peers[index].blocks += 1;
    peers.release(index, later);
    assert_eq!(peers.expire(start + config.peer_idle, &config), Some(false));
    assert_eq!(peers.len(), 1);
    assert_eq!(peers.next_expiry(&config), Some(later + config.peer_idle));
    assert_eq!(peers.expire(later + config.peer_idle, &config), Some(true));
    assert_eq!(peers.len(), 0);
}

#[test]
fn what_begins_with_a_peer_and_ends_is_counted() {
    let mut peers = peers();
    let now = Instant::from_nanos(1_000_000_000);
    let index = peers.make(now, &address(1, 0)).unwrap();
    let mut all = Neighbours::new();
    all.ensure(2).unwrap();
    for rpc in 0..3 {
        peers.join(&mut all, index, rpc, rpc > 0);
    }
    assert_eq!((peers[index].rpc_count, peers[index].server_rpcs), (3, 1));
    peers[index].leave(&mut all, 0, false);
    assert_eq!((peers[index].rpc_count, peers[index].server_rpcs), (2, 0));
    peers[index].leave(&mut all, 1, true);
    assert_eq!(peers[index].rpc_count, 1);
}

#[test]
fn shares_are_looked_at_only_while_a_peer_is_granted_less_than_a_whole_window() {
    let mut peers = peers();
    let start = Instant::from_nanos(1_000_000_000);
    let [one, other] = [1, 2].map(|port| peers.make(start, &address(port, 0)).unwrap());
    let nobody = || panic!("no share is to be looked at");
    assert_eq!(peers.share_of(nobody, 10_000), 10_000);
    assert!(peers.grant_less(start, one, 0) && peers.grant_less(start, one, 0));
    let shares = [one, other].map(|peer| peers.share_of(|| peer, 10_000));
    assert_eq!(shares, [2_500, 10_000]);
    while !peers[one].recover() {}
    peers.granted_all();
    assert_eq!(peers.share_of(nobody, 10_000), 10_000);
    assert!(peers.grant_less(start, one, 0));
    peers.forget_first();
    assert_eq!(peers.share_of(nobody, 10_000), 10_000);
}
