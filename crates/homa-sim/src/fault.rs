//! What a bad network does to packets: loses them in bursts, holds them up, sends them twice,
//! damages them. Decides by its seed; takes a packet with its time and answers when it goes on.

use crate::packet::Packet;
use crate::random::Random;

/// How bad the network is. Shares are in thousandths of all packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// Packets lost on their own.
    pub loss_permille: u32,
    /// Packets with which a burst of loss begins.
    pub burst_permille: u32,
    /// Most packets that a burst takes from one sender.
    pub burst_packets_max: u32,
    /// Packets that are held up.
    pub delay_permille: u32,
    /// For at most so long, in nanoseconds.
    pub delay_max: u64,
    /// Packets that come twice.
    pub duplicate_permille: u32,
    /// The second time at most so late, in nanoseconds.
    pub duplicate_delay_max: u64,
    /// Packets that a checksum finds damaged.
    pub damage_permille: u32,
    /// Whether senders to a host that is down are told so.
    pub tells_of_the_dead: bool,
    /// Packets whose header says something else when they arrive, and no checksum knows.
    pub lie_permille: u32,
}

/// Why a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Bad luck.
    Chance,
    /// Its ends cannot reach each other.
    Partition,
    /// It is longer than the path carries. `told`: its sender is.
    TooLong {
        /// Whether the network tells the sender.
        told: bool,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost(Loss),
    /// It goes on.
    Passes {
        /// After so many nanoseconds.
        after: u64,
        /// And a copy of it after so many.
        again: Option<u64>,
    },
}

/// A limit of packets to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathLimit {
    /// Bytes of the longest Homa packet that passes.
    pub packet_max_bytes: u32,
    /// Whether senders are told of those that do not.
    pub told: bool,
}

/// The faults of a network.
#[derive(Clone, Debug)]
pub struct Faults {
    config: FaultConfig,
    random: Random,
    /// Packets that the present burst still takes, by sender.
    bursts: Vec<u32>,
    /// Which side of a partition a host is on.
    sides: Vec<u8>,
    limits: Vec<Option<PathLimit>>,
    active: bool,
}

impl Faults {
    /// A network of `hosts` that is as bad as `config` says.
    pub fn new(config: FaultConfig, hosts: u32, random: Random) -> Self {
        let hosts = hosts as usize;
        Self {
            config,
            random,
            bursts: vec![0; hosts],
            sides: vec![0; hosts],
            limits: vec![None; hosts],
            active: true,
        }
    }

    /// Puts each host on a side; hosts of different sides do not reach each other.
    pub fn partition(&mut self, side: impl Fn(u32) -> u8) {
        for (host, its) in self.sides.iter_mut().enumerate() {
            *its = side(host as u32);
        }
    }

    /// Limits packets to and from a host. It stays when the network heals: it is what the network
    /// is like.
    pub fn limit(&mut self, host: u32, limit: PathLimit) {
        self.limits[host as usize] = Some(limit);
    }

    /// The longest Homa packet that passes between the ends of `packet`, if there is a limit.
    pub fn limit_of(&self, packet: &Packet) -> Option<u32> {
        let ends = [packet.from as usize, packet.to as usize];
        let limits = ends.iter().filter_map(|&end| self.limits[end]);
        limits.map(|limit| limit.packet_max_bytes).min()
    }

    /// Whether senders to a host that is down are told so.
    pub(crate) fn tells_of_the_dead(&self) -> bool {
        self.config.tells_of_the_dead
    }

    /// From now on packets only have to be short enough.
    pub fn heal(&mut self) {
        self.active = false;
        self.partition(|_| 0);
    }

    /// A packet enters the network. It may be changed.
    pub fn input(&mut self, packet: &mut Packet) -> Fate {
        let ends = [packet.from as usize, packet.to as usize];
        for limit in ends.iter().filter_map(|&end| self.limits[end]) {
            if packet.length() > limit.packet_max_bytes {
                return Fate::Lost(Loss::TooLong { told: limit.told });
            }
        }
        if !self.active {
            return Fate::Passes {
                after: 0,
                again: None,
            };
        }
        if self.sides[ends[0]] != self.sides[ends[1]] {
            return Fate::Lost(Loss::Partition);
        }
        if self.is_lost(ends[0]) {
            return Fate::Lost(Loss::Chance);
        }
        packet.damaged = self.random.chance(self.config.damage_permille);
        packet.lie = self.random.chance(self.config.lie_permille);
        if packet.damaged || packet.lie {
            self.twist(packet);
        }
        let mut late = |permille, max| {
            self.random
                .chance(permille)
                .then(|| self.random.magnitude(max))
        };
        let FaultConfig {
            delay_permille,
            delay_max,
            duplicate_permille,
            duplicate_delay_max,
            ..
        } = self.config;
        Fate::Passes {
            after: late(delay_permille, delay_max).unwrap_or(0),
            again: late(duplicate_permille, duplicate_delay_max),
        }
    }

    fn is_lost(&mut self, sender: usize) -> bool {
        if self.random.chance(self.config.burst_permille) {
            let length = self.random.magnitude(self.config.burst_packets_max.into());
            self.bursts[sender] = length as u32;
        }
        if let Some(rest) = self.bursts[sender].checked_sub(1) {
            self.bursts[sender] = rest;
            return true;
        }
        self.random.chance(self.config.loss_permille)
    }

    /// Turns one bit of the header over, wherever it is: ports, id, lengths, and among lies above
    /// all the offset of DATA, where they are hardest to tell.
    fn twist(&mut self, packet: &mut Packet) {
        let lies_about_place = packet.lie && packet.payload_bytes > 0 && self.random.chance(800);
        let header = packet.header_mut();
        let byte = self.random.below(header.len() as u64) as usize;
        let byte = if lies_about_place { 54 } else { byte };
        header[byte] ^= 1 << self.random.below(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homa_proto::wire::Priority;

    fn packet() -> Packet {
        Packet::new(&[0; 56], 0, 1, Priority::HIGHEST)
    }

    const PASSES: Fate = Fate::Passes {
        after: 0,
        again: None,
    };

    #[test]
    fn a_share_of_the_packets_is_lost_until_the_network_heals() {
        let config = FaultConfig {
            loss_permille: 200,
            ..FaultConfig::default()
        };
        let mut faults = Faults::new(config, 2, Random::new(1, 0));
        let passed = (0..10_000)
            .filter(|_| faults.input(&mut packet()) == PASSES)
            .count();
        assert!((7_800..8_200).contains(&passed), "{passed}");
        faults.heal();
        assert!((0..1_000).all(|_| faults.input(&mut packet()) == PASSES));
    }

    #[test]
    fn sides_do_not_reach_each_other_and_long_packets_do_not_pass() {
        let mut faults = Faults::new(FaultConfig::default(), 2, Random::new(1, 0));
        faults.partition(|host| host as u8);
        assert_eq!(faults.input(&mut packet()), Fate::Lost(Loss::Partition));
        faults.heal();
        faults.limit(
            1,
            PathLimit {
                packet_max_bytes: 1_000,
                told: true,
            },
        );
        assert_eq!(faults.input(&mut packet()), PASSES);
        let mut long = packet();
        long.payload_bytes = 945;
        let lost = Fate::Lost(Loss::TooLong { told: true });
        assert_eq!(faults.input(&mut long), lost);
    }
}
