//! Incast: one client asks a thousand servers at once, and each answers 10,000 bytes.

use homa_proto::Config;
use homa_sim::figures::{Incast, incast, incast_configs};

const THOUSAND: Incast = Incast {
    servers: 1_000,
    response_bytes: 10_000,
};

#[test]
fn a_thousand_responses_at_once_fill_the_link_and_lose_nothing() {
    let [(_, known), _] = incast_configs();
    for config in [known, Config::default()] {
        let row = incast(THOUSAND, &config).expect("the setup is sound");
        assert!(row.link_share >= 0.9, "{row:?}");
        assert_eq!((row.drops, row.failures), (0, 0), "{row:?}");
    }
}

#[test]
fn without_marks_they_overflow_the_switch_and_leave_the_link_idle() {
    let [_, (_, without)] = incast_configs();
    let row = incast(THOUSAND, &without).expect("the setup is sound");
    assert!(row.link_share < 0.7, "{row:?}");
    assert!(row.drops > 1_000, "{row:?}");
}
