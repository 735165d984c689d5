//! Homa beside a flow like TCP's, on an uplink that carries a fourth of what its hosts could send.

use homa_sim::figures::{Contest, contest};

#[test]
fn a_crowded_uplink_is_used_well_and_a_flow_like_tcps_keeps_its_share() {
    for buffer_bytes in [300_000, 1_000_000] {
        let what = Contest {
            levels: 1,
            reserved_permille: 0,
            buffer_bytes,
        };
        let row = contest(what).expect("the setup is sound");
        assert!(row.goodput >= 0.8, "{row:?}");
        assert!(row.resent <= 0.05, "{row:?}");
        assert!(row.tcp_fair_share >= 0.3, "{row:?}");
    }
}

#[test]
fn below_strict_priority_the_flow_keeps_what_its_level_has_for_itself() {
    let strict = Contest {
        levels: 8,
        reserved_permille: 0,
        buffer_bytes: 1_000_000,
    };
    let row = contest(strict).expect("the setup is sound");
    assert!(row.tcp_fair_share < 0.1, "{row:?}");
    let reserved = Contest {
        reserved_permille: 50,
        ..strict
    };
    let row = contest(reserved).expect("the setup is sound");
    assert!(row.tcp_fair_share >= 0.3, "{row:?}");
    assert!(row.goodput >= 0.8, "{row:?}");
    assert!(row.resent <= 0.05, "{row:?}");
}
