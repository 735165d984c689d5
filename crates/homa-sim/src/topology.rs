//! Who is joined to whom, and by which port a packet goes on. Decides routes by arithmetic, so that
//! ten thousand hosts need no tables.
//!
//! Nodes are numbered: hosts from 0, then switches.

use core::fmt;

use crate::link::LinkConfig;

/// Most hosts of a network.
pub const HOSTS_MAX_COUNT: u32 = 100_000;

/// The shape of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two hosts and one cable.
    Pair,
    /// Hosts round one switch.
    Star {
        /// At least 2.
        hosts: u32,
    },
    /// Racks of hosts under a switch each (the leaf), every leaf joined to every spine.
    LeafSpine {
        /// At least 1.
        racks: u32,
        /// Hosts in a rack, at least 1.
        hosts_per_rack: u32,
        /// At least 1.
        spines: u32,
    },
    /// `radix` pods of `radix`/2 edge and `radix`/2 aggregation switches under (`radix`/2)² core
    /// switches; `radix`³/4 hosts.
    FatTree {
        /// Ports of a switch, even.
        radix: u32,
    },
}

/// How packets spread over equally good ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All packets of a flow take one way (ECMP).
    PerFlow,
    /// Every packet takes a way of its own.
    PerPacket,
}

/// A network's shape and the speed of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The shape.
    pub shape: Shape,
    /// Links between a host and its switch, or of the one cable. The delay of each includes what
    /// the switch at its end takes to forward.
    pub edge: LinkConfig,
    /// Links between switches.
    pub core: LinkConfig,
    /// How packets spread.
    pub spread: Spread,
}

/// A topology that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTopology(&'static str);

impl BadTopology {
    pub(crate) const fn new(why: &'static str) -> Self {
        Self(why)
    }
}

impl fmt::Display for BadTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for BadTopology {}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair => f.write_str("pair"),
            Self::Star { hosts } => write!(f, "star:{hosts}"),
            Self::LeafSpine {
                racks,
                hosts_per_rack,
                spines,
            } => write!(f, "leaf-spine:{racks}x{hosts_per_rack}x{spines}"),
            Self::FatTree { radix } => write!(f, "fat-tree:{radix}"),
        }
    }
}

impl core::str::FromStr for Shape {
    type Err = BadTopology;

    /// Reads `pair`, `star:HOSTS`, `leaf-spine:RACKSxHOSTSxSPINES` or `fat-tree:RADIX`.
    fn from_str(text: &str) -> Result<Self, BadTopology> {
        const FORMS: BadTopology = BadTopology(
            "a topology is pair, star:HOSTS, leaf-spine:RACKSxHOSTSxSPINES or fat-tree:RADIX",
        );
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let numbers: Result<Vec<u32>, _> = rest
            .split('x')
            .filter(|_| !rest.is_empty())
            .map(str::parse)
            .collect();
        let numbers = numbers.map_err(|_| FORMS)?;
        match (name, numbers.as_slice()) {
            ("pair", []) => Ok(Self::Pair),
            ("star", &[hosts]) => Ok(Self::Star { hosts }),
            ("leaf-spine", &[racks, hosts_per_rack, spines]) => Ok(Self::LeafSpine {
                racks,
                hosts_per_rack,
                spines,
            }),
            ("fat-tree", &[radix]) => Ok(Self::FatTree { radix }),
            _ => Err(FORMS),
        }
    }
}

impl Topology {
    /// Looks whether there can be such a network.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), BadTopology> {
        let sound = match self.shape {
            Shape::Pair => true,
            Shape::Star { hosts } => hosts >= 2,
            Shape::LeafSpine {
                racks,
                hosts_per_rack,
                spines,
            } => {
                racks >= 1
                    && hosts_per_rack >= 1
                    && u64::from(racks) * u64::from(hosts_per_rack) >= 2
                    && (1..=1_000).contains(&spines)
            }
            Shape::FatTree { radix } => radix >= 2 && radix.is_multiple_of(2),
        };
        if !sound {
            return Err(BadTopology(
                "a network has at least 2 hosts, a fat-tree an even radix, a leaf-spine 1 to 1,000 spines",
            ));
        }
        if self.wide_hosts() > u64::from(HOSTS_MAX_COUNT) {
            return Err(BadTopology("a network has at most 100,000 hosts"));
        }
        if self.edge.bits_per_second == 0 || self.core.bits_per_second == 0 {
            return Err(BadTopology("a link carries at least 1 bit a second"));
        }
        Ok(())
    }

    fn wide_hosts(&self) -> u64 {
        match self.shape {
            Shape::Pair => 2,
            Shape::Star { hosts } => u64::from(hosts),
            Shape::LeafSpine {
                racks,
                hosts_per_rack,
                ..
            } => u64::from(racks) * u64::from(hosts_per_rack),
            Shape::FatTree { radix } => u64::from(radix).saturating_pow(3) / 4,
        }
    }

    /// Number of hosts.
    pub fn hosts(&self) -> u32 {
        self.wide_hosts() as u32
    }

    /// Number of switches.
    pub fn switches(&self) -> u32 {
        match self.shape {
            Shape::Pair => 0,
            Shape::Star { .. } => 1,
            Shape::LeafSpine { racks, spines, .. } => racks + spines,
            Shape::FatTree { radix } => radix * radix + radix * radix / 4,
        }
    }

    /// The node that a host's cable leads to.
    pub fn first_hop(&self, host: u32) -> u32 {
        let hosts = self.hosts();
        match self.shape {
            Shape::Pair => 1 - host,
            Shape::Star { .. } => hosts,
            Shape::LeafSpine { hosts_per_rack, .. } => hosts + host / hosts_per_rack,
            Shape::FatTree { radix } => hosts + host / (radix / 2),
        }
    }

    /// The links of a switch's ports, in order, with the node that each leads to.
    pub(crate) fn ports(&self, switch: u32) -> Vec<(LinkConfig, u32)> {
        let hosts = self.hosts();
        match self.shape {
            Shape::Pair => Vec::new(),
            Shape::Star { .. } => (0..hosts).map(|host| (self.edge, host)).collect(),
            Shape::LeafSpine {
                racks,
                hosts_per_rack,
                spines,
            } => {
                if switch < racks {
                    let first = switch * hosts_per_rack;
                    let down = (first..first + hosts_per_rack).map(|host| (self.edge, host));
                    let up = (0..spines).map(|spine| (self.core, hosts + racks + spine));
                    down.chain(up).collect()
                } else {
                    (0..racks).map(|rack| (self.core, hosts + rack)).collect()
                }
            }
            Shape::FatTree { radix } => self.fat_tree_ports(radix, switch),
        }
    }

    /// Edge switches are numbered first, then aggregation, then core.
    fn fat_tree_ports(&self, radix: u32, switch: u32) -> Vec<(LinkConfig, u32)> {
        let (hosts, half) = (self.hosts(), radix / 2);
        let edges = radix * half;
        if switch < edges {
            let pod = switch / half;
            let down = (0..half).map(|port| (self.edge, switch * half + port));
            let up = (0..half).map(|port| (self.core, hosts + edges + pod * half + port));
            down.chain(up).collect()
        } else if switch < 2 * edges {
            let (pod, place) = ((switch - edges) / half, (switch - edges) % half);
            let down = (0..half).map(|port| (self.core, hosts + pod * half + port));
            let up = (0..half).map(|port| (self.core, hosts + 2 * edges + place * half + port));
            down.chain(up).collect()
        } else {
            let place = (switch - 2 * edges) / half;
            let down = (0..radix).map(|pod| (self.core, hosts + edges + pod * half + place));
            down.collect()
        }
    }

    /// The port by which `switch` sends a packet on to host `to`; `choice` picks among equals, and is
    /// asked for where there are any.
    #[inline]
    pub(crate) fn route(&self, switch: u32, to: u32, choice: impl FnOnce() -> u32) -> u32 {
        match self.shape {
            Shape::Pair => 0,
            Shape::Star { .. } => to,
            Shape::LeafSpine {
                racks,
                hosts_per_rack,
                spines,
            } => {
                let rack = to / hosts_per_rack;
                if switch >= racks {
                    rack
                } else if switch == rack {
                    to % hosts_per_rack
                } else {
                    hosts_per_rack + choice() % spines
                }
            }
            Shape::FatTree { radix } => {
                let half = radix / 2;
                let edges = radix * half;
                let (edge, pod) = (to / half, to / (half * half));
                if switch < edges {
                    if switch == edge {
                        to % half
                    } else {
                        half + choice() % half
                    }
                } else if switch < 2 * edges {
                    if (switch - edges) / half == pod {
                        edge % half
                    } else {
                        half + choice() / half % half
                    }
                } else {
                    pod
                }
            }
        }
    }

    /// Switches that a packet from one host to another passes, and thus links between them.
    pub fn switches_between(&self, from: u32, to: u32) -> u32 {
        match self.shape {
            Shape::Pair => 0,
            Shape::Star { .. } => 1,
            Shape::LeafSpine { hosts_per_rack, .. } => {
                if from / hosts_per_rack == to / hosts_per_rack {
                    1
                } else {
                    3
                }
            }
            Shape::FatTree { radix } => {
                let half = radix / 2;
                if from / half == to / half {
                    1
                } else if from / (half * half) == to / (half * half) {
                    3
                } else {
                    5
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkConfig = LinkConfig {
        bits_per_second: 1,
        delay: 0,
    };

    fn topology(shape: Shape) -> Topology {
        Topology {
            shape,
            edge: LINK,
            core: LINK,
            spread: Spread::PerPacket,
        }
    }

    const SHAPES: [Shape; 5] = [
        Shape::Pair,
        Shape::Star { hosts: 5 },
        Shape::LeafSpine {
            racks: 3,
            hosts_per_rack: 4,
            spines: 2,
        },
        Shape::FatTree { radix: 4 },
        Shape::FatTree { radix: 6 },
    ];

    #[test]
    fn every_host_is_reached_over_the_fewest_switches_by_any_choice() {
        for shape in SHAPES {
            let topology = topology(shape);
            topology.check().unwrap();
            let hosts = topology.hosts();
            for (from, to) in (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to))) {
                for choice in (0..9).filter(|_| from != to) {
                    let (mut node, mut passed) = (topology.first_hop(from), 0);
                    while node >= hosts {
                        let port = topology.route(node - hosts, to, || choice);
                        node = topology.ports(node - hosts)[port as usize].1;
                        passed += 1;
                    }
                    assert_eq!(node, to, "{shape:?} from {from}");
                    assert_eq!(passed, topology.switches_between(from, to), "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for shape in SHAPES {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        for text in ["", "ring", "star", "star:x", "leaf-spine:2x2", "pair:2"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let shapes = [
            Shape::Star { hosts: 1 },
            Shape::FatTree { radix: 3 },
            Shape::FatTree { radix: 2_000 },
            Shape::LeafSpine {
                racks: 2,
                hosts_per_rack: 2,
                spines: 0,
            },
        ];
        for shape in shapes {
            assert!(topology(shape).check().is_err(), "{shape:?}");
        }
    }
}
