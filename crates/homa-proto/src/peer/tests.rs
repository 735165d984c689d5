use super::*;

#[test]
fn a_share_is_halved_once_an_interval_down_to_a_sixteenth() {
    let mut share = Share::FULL;
    let mut now = Instant::from_nanos(1_000_000_000);
    assert_eq!(share.of(40_000), 40_000);
    for expected in [20_000, 10_000, 5_000, 2_500] {
        assert!(share.halve(now, 1_000_000));
        assert!(!share.halve(now, 1_000_000));
        assert_eq!(share.of(40_000), expected);
        now = Instant::from_nanos(now.as_nanos() + 1_003_000);
    }
    assert!(!share.halve(now, 1_000_000));
    assert_eq!(share.of(40_000), 2_500);
}

#[test]
fn a_share_recovers_by_a_sixty_fourth_for_each_message_up_to_the_whole() {
    let mut share = Share::FULL;
    assert!(share.halve(Instant::from_nanos(1_000_000_000), 1_000));
    share.recover();
    assert_eq!(share.of(64_000), 33_000);
    (0..31).for_each(|_| share.recover());
    assert_eq!(share.of(64_000), 64_000);
    share.recover();
    assert_eq!(share.of(64_000), 64_000);
}
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
    let mut rpcs = Slab::new(3);
    for rpc in 0..3 {
        rpcs.insert(Rpc::VACANT).unwrap();
        let (_, link) = peers.join(&mut rpcs, index, rpc, rpc > 0);
        rpcs[rpc].chain = link;
    }
    assert_eq!((peers[index].rpc_count, peers[index].server_rpcs), (3, 1));
    let link = rpcs[0].chain;
    peers[index].leave(&mut rpcs, link, false);
    assert_eq!((peers[index].rpc_count, peers[index].server_rpcs), (2, 0));
    let link = rpcs[1].chain;
    peers[index].leave(&mut rpcs, link, true);
    assert_eq!(peers[index].rpc_count, 1);
}
