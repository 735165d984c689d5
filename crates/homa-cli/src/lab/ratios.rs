//! What the rows of a case say about each other: one number a key.

use super::case::{Case, Row};
use super::compare::VIRTUAL;
use super::protocol::{HOMA_BESIDE_TCP, TCP_BESIDE_HOMA};

/// Fewer samples give no verdict.
const SAMPLES_MIN: u64 = 2_000;
/// The same for workloads whose messages are long.
const LONG_SAMPLES_MIN: u64 = 500;
const LONG_MEAN_BYTES: f64 = 200_000.0;

/// How many short messages of a workload of that mean length a verdict takes.
pub(super) fn samples_min(mean_bytes: f64) -> u64 {
    if mean_bytes > LONG_MEAN_BYTES {
        LONG_SAMPLES_MIN
    } else {
        SAMPLES_MIN
    }
}

/// What Homa is compared to; of each kind of TCP the better of one connection and eight counts.
const KINDS: [&str; 5] = [
    "tcp_cubic",
    "tcp_bbr",
    "tcp_cubic_ecn",
    "tcp_cubic_rto5",
    "quinn",
];

/// All ratios of a case, with their keys.
pub(super) fn of(case: &Case) -> Vec<(String, f64)> {
    let key = |name: &str| format!("{}/{name}", case.prefix());
    let mut ratios = Vec::new();
    let Some(homa) = case.find("homa") else {
        return ratios;
    };
    ratios.push((key("homa/delivered"), homa.delivered));
    if let Some(imagined) = case.find(VIRTUAL).filter(|row| row.short_count > 0) {
        let pairs = [
            (
                "homa/homa_virtual_p50_short",
                homa.short_p50_us,
                imagined.short_p50_us,
            ),
            (
                "homa/homa_virtual_p99_short",
                homa.short_p99_us,
                imagined.short_p99_us,
            ),
            (
                "homa/homa_virtual_mean",
                homa.mean_slowdown,
                imagined.mean_slowdown,
            ),
        ];
        ratios.extend(pairs.map(|(name, real, imagined)| (key(name), real / imagined)));
    }
    for kind in KINDS {
        ratios.extend(of_kind(case, homa, kind).map(|(name, ratio)| (key(&name), ratio)));
    }
    let enough = |name| case.find(name).filter(|row| case.is_enough(row));
    if let (Some(one), true) = (enough("homa_1_level"), case.is_enough(homa)) {
        let p99 = one.short_p99_us / homa.short_p99_us;
        ratios.push((key("homa_1_level/homa_p99_short"), p99));
    }
    if let (Some(beside), Some(tcp)) = (case.find(HOMA_BESIDE_TCP), case.find(TCP_BESIDE_HOMA)) {
        ratios.push((key("homa_and_tcp/homa_of_its_half"), beside.carried));
        ratios.push((key("homa_and_tcp/tcp_of_its_half"), tcp.carried));
        if case.is_enough(homa) && case.is_enough(beside) {
            let p99 = beside.short_p99_us / homa.short_p99_us;
            ratios.push((key("homa_and_tcp/homa_p99_short"), p99));
        }
    }
    ratios.extend(sustained(case).map(|ratio| (key("sustained/homa_tcp"), ratio)));
    ratios
}

/// How far the median of short messages and the mean slowdown may be from those in virtual time,
/// either way. What virtual time leaves out is waiting for a processor, which on few of them is about
/// as long as what the network takes.
pub(super) const AGREES_WITHIN: f64 = 2.0;

/// Whether real hosts did what the same hosts do in virtual time; `None` if only one was measured.
pub(super) fn agrees(case: &Case) -> Option<bool> {
    let (homa, imagined) = (case.find("homa")?, case.find(VIRTUAL)?);
    let is_close = |real: f64, imagined: f64| {
        (1.0 / AGREES_WITHIN..=AGREES_WITHIN).contains(&(real / imagined))
    };
    Some(
        is_close(homa.short_p50_us, imagined.short_p50_us)
            && is_close(homa.mean_slowdown, imagined.mean_slowdown),
    )
}

/// How much better Homa is than a kind, or the better of its pair and pool, where all have enough samples.
fn of_kind(case: &Case, homa: &Row, kind: &str) -> impl Iterator<Item = (String, f64)> {
    let rows = ["", "_pair", "_pool"].map(|how| case.find(&format!("{kind}{how}")));
    let rows: Vec<&Row> = rows.into_iter().flatten().collect();
    let is_enough = case.is_enough(homa) && rows.iter().all(|row| case.is_enough(row));
    let best = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).reduce(f64::min);
    let p99 = best(|row| row.short_p99_us).map(|tcp| tcp / homa.short_p99_us);
    let mean = best(|row| row.mean_slowdown).map(|tcp| tcp / homa.mean_slowdown);
    let named = [("homa_p99_short", p99), ("homa_mean", mean)];
    let kind = kind.to_owned();
    let found = named.into_iter().filter(move |_| is_enough);
    found.filter_map(move |(name, ratio)| Some((format!("{kind}/{name}"), ratio?)))
}

/// The load that Homa sustains over that of the best TCP.
fn sustained(case: &Case) -> Option<f64> {
    let tcp = case
        .sustained
        .iter()
        .filter(|it| it.protocol.starts_with("tcp"));
    let tcp = tcp.map(|it| it.load).reduce(f64::max)?;
    let homa = case.sustained.iter().find(|it| it.protocol == "homa")?;
    (tcp > 0.0).then(|| homa.load / tcp)
}
