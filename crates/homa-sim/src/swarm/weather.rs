//! What goes wrong in a run, as its seed means it: how bad the network is, which paths are narrow,
//! what happens to hosts.

use super::plan::{MICROSECOND, MILLISECOND, Mishap, START};
use crate::fault::{FaultConfig, PathLimit};
use crate::random::Random;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) bad_network: bool,
    pub(crate) mishaps: bool,
    pub(crate) hostile: bool,
    pub(crate) tiny_tables: bool,
    pub(crate) tiny_buffers: bool,
    pub(crate) small_path: bool,
}

impl Weather {
    pub(super) fn draw(random: &mut Random) -> Self {
        if random.chance(150) {
            return Self::default();
        }
        Self {
            bad_network: random.chance(650),
            mishaps: random.chance(400),
            hostile: random.chance(250),
            tiny_tables: random.chance(300),
            tiny_buffers: random.chance(250),
            small_path: random.chance(100),
        }
    }
}

pub(super) fn draw_faults(random: &mut Random, weather: Weather) -> FaultConfig {
    if !weather.bad_network {
        return FaultConfig::default();
    }
    let mut some = |permille, choices: &[u32]| {
        if random.chance(permille) {
            random.pick(choices)
        } else {
            0
        }
    };
    let mut config = FaultConfig {
        loss_permille: some(600, &[1, 10, 50, 200]),
        burst_permille: some(400, &[1, 5, 20]),
        delay_permille: some(500, &[5, 50, 500]),
        duplicate_permille: some(500, &[5, 50, 200]),
        damage_permille: some(300, &[1, 20]),
        lie_permille: some(100, &[1, 10]),
        ..FaultConfig::default()
    };
    config.burst_packets_max = random.between(2, 100) as u32;
    config.delay_max = random.pick(&[20 * MICROSECOND, MILLISECOND, 20 * MILLISECOND]);
    config.duplicate_delay_max =
        random.pick(&[20 * MICROSECOND, 10 * MILLISECOND, 300 * MILLISECOND]);
    config
}

pub(super) fn draw_limits(
    random: &mut Random,
    count: u32,
    segment: u32,
    weather: Weather,
) -> Vec<(u32, PathLimit)> {
    if !weather.small_path || segment <= 1_256 {
        return Vec::new();
    }
    let host = random.below(count.into()) as u32;
    let limit = PathLimit {
        packet_max_bytes: random.between(1_256, u64::from(segment) + 55) as u32,
        told: random.chance(500),
    };
    vec![(host, limit)]
}

pub(super) fn draw_mishaps(
    random: &mut Random,
    count: u32,
    span: u64,
    weather: Weather,
) -> Vec<(u64, u32, Mishap)> {
    if !weather.mishaps {
        return Vec::new();
    }
    let mut mishaps: Vec<(u64, u32, Mishap)> = (0..random.between(1, 4))
        .map(|_| {
            let time = random.magnitude(150 * MILLISECOND);
            let mishap = match random.below(5) {
                0 => Mishap::Pause(time),
                1 | 2 => Mishap::Crash(time),
                3 => Mishap::Partition(time),
                _ => Mishap::Refuse(time),
            };
            let at = START + random.below(span);
            (at, random.below(count.into()) as u32, mishap)
        })
        .collect();
    mishaps.sort_by_key(|&(at, ..)| at);
    mishaps
}
