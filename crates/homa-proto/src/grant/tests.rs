//! The granter's decisions as tables of numbers.

use super::*;
use crate::Config;
use crate::host::Report;
use alloc::vec::Vec;

struct Fixture {
    config: Config,
    granter: Granter,
    now: Instant,
    rules: Rules,
}

impl Fixture {
    fn new(config: &Config) -> Self {
        let mut granter = Granter::new(100, Key([1, 2])).unwrap();
        granter.ensure(99).unwrap();
        Self {
            config: config.clone(),
            granter,
            now: Instant::ZERO,
            rules: Rules::new(config),
        }
    }

    fn update(&mut self, rpc: u32, host: u16, length: u32, received: u32, granted: u32) {
        let ip = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, host);
        let progress = Progress {
            length,
            received,
            granted,
        };
        self.granter
            .update(self.now, &self.rules, rpc, ip, progress);
    }

    fn decisions(&mut self) -> Vec<Decision> {
        let (rules, now) = (self.rules, self.now);
        core::iter::from_fn(|| self.granter.decide(now, &rules, |_, all| all)).collect()
    }
}

fn without_fifo() -> Config {
    Config {
        fifo_grant_permille: 0,
        ..Config::default()
    }
}

#[test]
fn one_message_gets_half_of_what_may_be_outstanding_at_the_lowest_level() {
    let mut f = Fixture::new(&without_fifo());
    f.update(0, 1, 1_000_000, 0, 40_000);
    let decisions = f.decisions();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].offset, 200_000);
    assert_eq!(decisions[0].priority, Priority::LOWEST);
    assert_eq!(f.granter.incoming(), 200_000);
}

#[test]
fn a_grant_waits_until_it_is_worth_a_packet_or_allows_the_rest() {
    let mut f = Fixture::new(&without_fifo());
    f.update(0, 1, 213_000, 0, 40_000);
    assert_eq!(f.decisions().len(), 1);
    let mut grant_at = |received, granted| {
        f.update(0, 1, 213_000, received, granted);
        f.decisions().first().map(|decision| decision.offset)
    };
    assert_eq!(grant_at(9_999, 200_000), None);
    assert_eq!(grant_at(10_000, 200_000), Some(210_000));
    assert_eq!(grant_at(12_999, 210_000), None);
    assert_eq!(grant_at(13_000, 210_000), Some(213_000));
}

#[test]
fn ranks_follow_the_bytes_not_received_and_are_fresh() {
    let mut f = Fixture::new(&without_fifo());
    f.update(0, 1, 600_000, 0, 40_000);
    f.update(1, 2, 500_000, 0, 40_000);
    let first: Vec<u32> = f.decisions().iter().map(|d| d.rpc).collect();
    assert_eq!(first, [1, 0]);
    // Message 0 overtakes as its bytes arrive; only its own update says so.
    f.update(0, 1, 600_000, 160_000, 173_000);
    let next = f.decisions();
    assert_eq!(next[0].rpc, 0);
    assert_eq!(
        next[0].priority.get(),
        1,
        "the first of two is above the second"
    );
}

#[test]
fn a_sender_gets_a_second_place_only_when_no_other_wants_one() {
    let config = Config {
        overcommitment: 2,
        ..without_fifo()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 500_000, 0, 40_000);
    f.update(1, 1, 400_000, 0, 40_000);
    assert_eq!(f.decisions().len(), 2, "nobody else wants a place");
    f.update(2, 2, 900_000, 0, 40_000);
    let active: Vec<u32> = f.granter.active.rpcs().to_vec();
    assert!(active.contains(&2) && active.contains(&1), "{active:?}");
}

#[test]
fn grants_never_take_the_outstanding_bytes_above_their_limit() {
    let mut f = Fixture::new(&without_fifo());
    for rpc in 0..20 {
        f.update(rpc, rpc as u16, 1_000_000, 0, 40_000);
        let unasked = f.granter.incoming();
        f.decisions();
        assert!(f.granter.incoming() <= unasked.max(400_000));
    }
    assert_eq!(f.granter.active_count(), 8);
}

#[test]
fn a_silent_message_gives_its_place_back_and_rejoins_when_heard() {
    let config = Config {
        overcommitment: 1,
        ..without_fifo()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 500_000, 0, 40_000);
    f.update(1, 2, 600_000, 0, 40_000);
    assert!(f.decisions().iter().all(|d| d.rpc == 0));
    assert!(f.granter.park(&f.rules.clone(), 0));
    assert_eq!(f.decisions()[0].rpc, 1);
    f.update(0, 1, 500_000, 100_000, 200_000);
    assert_eq!(f.granter.active.rpcs(), [0]);
}

#[test]
fn the_oldest_message_is_granted_in_turn_at_the_second_highest_level() {
    let config = Config {
        overcommitment: 1,
        ..Config::default()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 1_000_000, 0, 40_000);
    f.decisions();
    f.update(1, 2, 100_000, 0, 40_000);
    f.granter.fifo_due = Instant::ZERO;
    let decisions = f.decisions();
    let fifo: Vec<&Decision> = decisions.iter().filter(|d| d.fifo).collect();
    assert_eq!(fifo.len(), 1);
    assert_eq!((fifo[0].rpc, fifo[0].priority.get()), (0, 6));
    // 50,000 bytes are a twentieth of what 25 Gbit/s carry in that time.
    assert_eq!(f.granter.fifo_due(), Instant::from_nanos(320_000));
}

#[test]
fn the_turn_of_an_oldest_message_that_is_silent_is_that_of_the_next() {
    let config = Config {
        overcommitment: 1,
        ..Config::default()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 900_000, 0, 40_000);
    f.update(1, 2, 800_000, 0, 40_000);
    f.update(2, 3, 100_000, 0, 40_000);
    assert!(f.granter.park(&f.rules.clone(), 0));
    let fifo = f.decisions().into_iter().find(|decision| decision.fifo);
    assert_eq!(fifo.map(|decision| decision.rpc), Some(1));
}

#[test]
fn what_is_outstanding_of_a_silent_message_is_granted_to_others_until_it_is_heard() {
    let config = Config {
        max_incoming_bytes: 100_000,
        window_bytes: Some(80_000),
        grant_patience: Some(core::time::Duration::from_nanos(500)),
        ..without_fifo()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 500_000, 40_000, 40_000);
    f.update(1, 2, 600_000, 40_000, 40_000);
    let granted = |f: &mut Fixture| -> Vec<(u32, u32)> {
        let decisions = f.decisions();
        decisions.iter().map(|it| (it.rpc, it.offset)).collect()
    };
    assert_eq!(granted(&mut f), [(0, 120_000), (1, 60_000)]);
    assert_eq!(
        f.granter.next_silence(&f.rules),
        Some(Instant::from_nanos(500))
    );
    f.now = Instant::from_nanos(400);
    f.update(1, 2, 600_000, 41_500, 60_000);
    f.now = Instant::from_nanos(500);
    f.granter.hush(f.now, &f.rules);
    assert_eq!(granted(&mut f), [(1, 121_500)]);
    assert_eq!(f.granter.incoming(), 80_000);
    // Heard again, it counts again, and nobody gets more until there is room.
    f.update(0, 1, 500_000, 41_500, 120_000);
    assert_eq!(f.granter.incoming(), 158_500);
    assert_eq!(granted(&mut f), []);
}

/// Two long messages hold all that may be outstanding but what is spare.
fn with_spare() -> Fixture {
    let config = Config {
        max_incoming_bytes: 200_000,
        spare_incoming_bytes: 100_000,
        window_bytes: Some(60_000),
        ..without_fifo()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 900_000, 40_000, 40_000);
    f.update(1, 2, 800_000, 40_000, 40_000);
    f.decisions();
    assert_eq!(f.granter.incoming(), 100_000);
    f
}

#[test]
fn a_short_message_waits_for_no_long_ones_whose_senders_are_busy() {
    let mut f = with_spare();
    f.update(2, 3, 850_000, 40_000, 40_000);
    assert_eq!(f.decisions(), [], "it is as long as those");
    f.update(3, 4, 60_000, 40_000, 40_000);
    let granted: Vec<(u32, u32)> = f.decisions().iter().map(|it| (it.rpc, it.offset)).collect();
    assert_eq!(granted, [(3, 60_000)]);
    // What goes ahead of a message counts against what it may have.
    for (rpc, length) in [
        (4, 61_000),
        (5, 62_000),
        (6, 63_000),
        (7, 64_000),
        (8, 65_000),
    ] {
        f.update(rpc, 5 + rpc as u16, length, 40_000, 40_000);
    }
    assert!(f.decisions().iter().all(|it| it.rpc > 3));
    assert_eq!(
        f.granter.incoming(),
        200_000,
        "short ones take as much and no more"
    );
}

#[test]
fn only_the_oldest_message_gets_its_turn_where_no_room_is_left() {
    let config = Config {
        fifo_grant_bytes: 20_000,
        fifo_grant_permille: 50,
        ..with_spare().config
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 900_000, 40_000, 40_000);
    f.update(1, 2, 800_000, 40_000, 40_000);
    let mut oldest = 0;
    for turn in 1..=20 {
        f.now = Instant::from_nanos(turn * 10_000_000);
        f.update(1, 2, 800_000, 40_000, 40_000);
        let fifo = f.decisions().into_iter().filter(|it| it.fifo);
        oldest += fifo.inspect(|it| assert_eq!(it.rpc, 0)).count();
    }
    // As far as its own limit goes, and the second one's sender may be busy, too.
    assert!(oldest > 0);
    assert!(f.granter.incoming() <= 100_000 + 60_000 + 2 * 20_000);
}

#[test]
fn everything_returns_to_nothing_when_messages_leave() {
    let mut f = Fixture::new(&Config::default());
    for rpc in 0..50 {
        f.update(rpc, (rpc % 7) as u16, 100_000 + rpc, 0, 40_000);
        f.decisions();
    }
    for rpc in 0..50 {
        f.granter.leave(&f.rules.clone(), rpc);
    }
    assert_eq!(f.granter.incoming(), 0);
    assert_eq!(f.granter.active_count(), 0);
    assert_eq!(f.granter.senders.len(), 0);
    assert_eq!(f.granter.by_age.first(), None);
    assert_eq!(f.granter.by_silence.first(), None);
}

#[test]
fn a_host_with_several_engines_grants_no_more_messages_or_bytes_than_one() {
    let config = Config {
        overcommitment: 2,
        ..without_fifo()
    };
    let mut f = Fixture::new(&config);
    f.update(0, 1, 500_000, 0, 40_000);
    f.update(1, 2, 600_000, 0, 40_000);
    let mut better = Report::default();
    better.ranks.insert((100_000, 1));
    better.incoming = 250_000;
    f.granter.set_host_view(&HostView::join([&better]));
    let decisions = f.decisions();
    assert!(
        decisions.iter().all(|d| d.rpc == 0),
        "one place is another engine's"
    );
    assert!(f.granter.incoming() + 250_000 <= 400_000);
    f.granter.set_host_view(&HostView::default());
    assert!(f.decisions().iter().any(|d| d.rpc == 1), "now it is alone");
}
