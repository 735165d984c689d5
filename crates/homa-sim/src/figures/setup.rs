//! The networks that figures are made in, and what runs on their hosts.

use core::time::Duration;

use homa_proto::Config;

use super::best::Cut;
use super::oracle::oracle;
use crate::host::{HostConfig, SocketConfig};
use crate::link::LinkConfig;
use crate::switch::BufferConfig;
use crate::topology::{Shape, Spread, Topology};
use crate::workload::Workload;
use crate::world::PACKET_OVERHEAD_BYTES;

/// Payload of a full packet: an MTU of 1,500 without the headers of IP, UDP and DATA.
pub(crate) const SEGMENT_BYTES: u32 = 1_416;

/// How Homa's messages are cut.
pub(crate) const HOMA_CUT: Cut = Cut {
    segment_bytes: SEGMENT_BYTES,
    overhead_bytes: homa_proto::wire::DATA_HEADER_BYTES as u32 + PACKET_OVERHEAD_BYTES,
};

/// What a full packet and the grant for it take there and back in this network, in bytes of its
/// edge links: seven full packets.
pub(crate) const ROUND_TRIP_BYTES: u32 = 7 * SEGMENT_BYTES;

/// A port that every host opens.
pub(crate) const PORT: u16 = 4_000;

/// Nanoseconds that a host takes from the last bit of a packet until its software is done with it.
const HOST_NANOS: u64 = 1_500;

/// Nanoseconds that a switch takes to forward.
const SWITCH_NANOS: u64 = 250;

const BUFFER: BufferConfig = BufferConfig {
    bytes: 16 << 20,
    alpha_eighths: 8,
};

/// A network for figures.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who is joined to whom.
    pub topology: Topology,
    /// The buffer of every switch.
    pub buffer: BufferConfig,
    /// Hosts that each host sends to.
    pub peers: u32,
}

impl Setup {
    /// The network of the paper: 144 hosts in 9 racks under 4 spines, 10 Gbit/s at the edge and 40
    /// in the core.
    pub fn paper() -> Self {
        Self::of(Shape::LeafSpine {
            racks: 9,
            hosts_per_rack: 16,
            spines: 4,
        })
    }

    /// The same links in another shape.
    pub fn of(shape: Shape) -> Self {
        let link = |bits_per_second| LinkConfig {
            bits_per_second,
            delay: SWITCH_NANOS,
        };
        Self {
            topology: Topology {
                shape,
                edge: link(10_000_000_000),
                core: link(40_000_000_000),
                spread: Spread::PerPacket,
            },
            buffer: BUFFER,
            peers: u32::MAX,
        }
    }

    /// Nanoseconds from a packet's arrival at a host to its end there. The last link's delay
    /// counts a switch where there is none.
    pub(crate) fn receive_nanos(&self) -> u64 {
        HOST_NANOS - SWITCH_NANOS
    }

    /// How many hosts there are, and to how many each sends.
    pub(crate) fn ends(&self) -> (u32, u32) {
        let hosts = self.topology.hosts();
        (hosts, self.peers.min(hosts - 1))
    }

    pub(crate) fn host(&self, engine: Config) -> HostConfig {
        HostConfig {
            engines: vec![engine],
            sockets: vec![SocketConfig {
                port: PORT,
                accepts_requests: true,
            }],
            link: self.topology.edge,
            queue_max_bytes: 1 << 30,
            send_delay: 0,
            receive_delay: self.receive_nanos(),
        }
    }
}

/// Cutoffs that hosts begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutoffChoice {
    /// The shipped ones: learned from what arrives.
    Shipped,
    /// Those of one who knows the workload.
    Oracle,
}

/// What is different from the shipped configuration.
#[derive(Clone, Debug)]
pub struct Variant {
    /// How rows call it.
    pub name: String,
    /// Levels of priority, 1 to 8.
    pub priorities: u8,
    /// Messages granted at a time; `None`: as shipped.
    pub overcommitment: Option<u8>,
    /// Which cutoffs hosts begin with.
    pub cutoffs: CutoffChoice,
    /// Whether the response is as long as the request, and the RPC is what is measured.
    pub round_trips: bool,
    /// What the hosts exchanged, and learned from, until the run begins.
    pub before: Option<Workload>,
}

impl Variant {
    /// The shipped configuration.
    pub fn plain() -> Self {
        Self {
            name: "default".into(),
            priorities: 8,
            overcommitment: None,
            cutoffs: CutoffChoice::Shipped,
            round_trips: false,
            before: None,
        }
    }

    /// The variant that is called `name`.
    ///
    /// # Errors
    /// One line with the names that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let mut variant = Self {
            name: name.into(),
            ..Self::plain()
        };
        let (word, number) = name.split_once('-').unwrap_or((name, ""));
        let number = number.parse::<u8>().ok().filter(|it| (1..=8).contains(it));
        match (word, number) {
            ("default", None) => {}
            ("oracle", None) => variant.cutoffs = CutoffChoice::Oracle,
            ("rpc", None) => variant.round_trips = true,
            ("after", None) => {
                let before = name.split_once('-').map_or("", |(_, workload)| workload);
                variant.before = Some(Workload::named(before)?);
            }
            ("levels", Some(levels)) => variant.priorities = levels,
            ("overcommit", Some(messages)) => variant.overcommitment = Some(messages),
            _ => {
                return Err(format!(
                    "there is no variant '{name}': they are default, oracle, rpc, levels-1 to \
                     levels-8, overcommit-1 to overcommit-8, after-w1 to after-w5"
                ));
            }
        }
        Ok(variant)
    }

    /// The engine's configuration on a host of `setup`.
    pub(crate) fn config(&self, setup: &Setup, workload: &Workload) -> Config {
        let rate = setup.topology.edge.bits_per_second;
        let shipped = Config::data_center(rate, ROUND_TRIP_BYTES).with_levels(self.priorities);
        let mut config = Config {
            overcommitment: self.overcommitment.unwrap_or(shipped.overcommitment),
            max_message_bytes: 30_000_000,
            receive_budget_bytes: 1 << 40,
            packet_lifetime: Duration::from_millis(100),
            ..shipped
        };
        if self.cutoffs == CutoffChoice::Oracle {
            config.cutoffs = Some(oracle(
                workload,
                !self.round_trips,
                self.priorities,
                ROUND_TRIP_BYTES,
                &HOMA_CUT,
            ));
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_that_has_a_name_is_a_configuration_that_the_engine_takes() {
        let words = ["default", "oracle", "rpc"].map(String::from).into_iter();
        let numbers = (1..=8).flat_map(|it| [format!("levels-{it}"), format!("overcommit-{it}")]);
        let befores = (1..=5).map(|it| format!("after-w{it}"));
        for name in words.chain(numbers).chain(befores) {
            let variant = Variant::named(&name).unwrap();
            for workload in ["w1", "w2", "w3", "w4", "w5"] {
                let workload = Workload::named(workload).unwrap();
                let config = variant.config(&Setup::paper(), &workload);
                assert_eq!(config.check(), Ok(()), "{name} {}", workload.name());
            }
        }
    }
}
