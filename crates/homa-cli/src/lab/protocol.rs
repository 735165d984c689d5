//! What is compared: ways to carry the traffic, alone or two at once.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::congestion::Congestion;

/// Levels of priority that the switch has.
pub(super) const LEVELS: u8 = 8;

/// Connections to each host, where there are several.
const POOL: usize = 8;

/// The row of Homa beside TCP, and that of TCP beside Homa.
pub(super) const HOMA_BESIDE_TCP: &str = "homa_beside_tcp";
pub(super) const TCP_BESIDE_HOMA: &str = "tcp_beside_homa";

/// What has a turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Protocol {
    /// Homa over UDP, told the rate of the links.
    #[value(name = "homa")]
    Homa,
    /// Homa that uses one level of priority.
    #[value(name = "homa_1_level")]
    HomaOneLevel,
    /// TCP with cubic, one connection to each host.
    #[value(name = "tcp_cubic_pair")]
    CubicPair,
    /// TCP with cubic, eight connections to each host.
    #[value(name = "tcp_cubic_pool")]
    CubicPool,
    /// TCP with bbr, one connection to each host.
    #[value(name = "tcp_bbr_pair")]
    BbrPair,
    /// TCP with bbr, eight connections to each host.
    #[value(name = "tcp_bbr_pool")]
    BbrPool,
    /// TCP with cubic, which the switch tells of long queues; one connection.
    #[value(name = "tcp_cubic_ecn_pair")]
    EcnPair,
    /// TCP with cubic, which the switch tells of long queues; eight connections.
    #[value(name = "tcp_cubic_ecn_pool")]
    EcnPool,
    /// TCP with cubic, which repeats after 5 ms instead of 200; one connection.
    #[value(name = "tcp_cubic_rto5_pair")]
    RtoPair,
    /// TCP with cubic, which repeats after 5 ms instead of 200; eight connections.
    #[value(name = "tcp_cubic_rto5_pool")]
    RtoPool,
    /// QUIC, one connection to each host; in builds with the feature `rivals`.
    #[value(name = "quinn")]
    Quic,
    /// Homa, and TCP with cubic and eight connections, at once: each has half of the load.
    #[value(name = "homa_and_tcp")]
    HomaAndTcp,
}

/// What carries messages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Carrier {
    Homa { levels: u8 },
    Tcp(Tcp),
    Quic,
}

/// A kind of TCP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Tcp {
    /// To each host.
    pub(super) connections: usize,
    pub(super) congestion: Congestion,
    /// Whether switches may tell it of queues.
    pub(super) ecn: bool,
    /// The shortest time after which it repeats, where that is not the system's.
    pub(super) rto_min_us: Option<u32>,
}

/// What runs at once in a turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Its row of the report.
    pub(super) row: &'static str,
    pub(super) carrier: Carrier,
    /// Of the load.
    pub(super) share: f64,
}

impl Protocol {
    /// What runs in its turn.
    pub(super) fn parts(self) -> Vec<Part> {
        let alone = |row, carrier| {
            let share = 1.0;
            vec![Part {
                row,
                carrier,
                share,
            }]
        };
        let half = |row, carrier| Part {
            row,
            carrier,
            share: 0.5,
        };
        let cubic = |connections| Tcp {
            connections,
            congestion: Congestion::Cubic,
            ecn: false,
            rto_min_us: None,
        };
        let tcp = |row, tcp: Tcp| alone(row, Carrier::Tcp(tcp));
        let bbr = |connections| Tcp {
            congestion: Congestion::Bbr,
            ..cubic(connections)
        };
        let ecn = |connections| Tcp {
            ecn: true,
            ..cubic(connections)
        };
        let quick = |connections| Tcp {
            rto_min_us: Some(5_000),
            ..cubic(connections)
        };
        let homa = Carrier::Homa { levels: LEVELS };
        match self {
            Self::Homa => alone("homa", homa),
            Self::HomaOneLevel => alone("homa_1_level", Carrier::Homa { levels: 1 }),
            Self::CubicPair => tcp("tcp_cubic_pair", cubic(1)),
            Self::CubicPool => tcp("tcp_cubic_pool", cubic(POOL)),
            Self::BbrPair => tcp("tcp_bbr_pair", bbr(1)),
            Self::BbrPool => tcp("tcp_bbr_pool", bbr(POOL)),
            Self::EcnPair => tcp("tcp_cubic_ecn_pair", ecn(1)),
            Self::EcnPool => tcp("tcp_cubic_ecn_pool", ecn(POOL)),
            Self::RtoPair => tcp("tcp_cubic_rto5_pair", quick(1)),
            Self::RtoPool => tcp("tcp_cubic_rto5_pool", quick(POOL)),
            Self::Quic => alone("quinn", Carrier::Quic),
            Self::HomaAndTcp => vec![
                half(HOMA_BESIDE_TCP, homa),
                half(TCP_BESIDE_HOMA, Carrier::Tcp(cubic(POOL))),
            ],
        }
    }

    /// What is said while it has its turn.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Homa => "homa",
            Self::HomaOneLevel => "homa, one level",
            Self::CubicPair | Self::CubicPool => "tcp, cubic",
            Self::BbrPair | Self::BbrPool => "tcp, bbr",
            Self::EcnPair | Self::EcnPool => "tcp, cubic with ECN",
            Self::RtoPair | Self::RtoPool => "tcp, cubic, 5 ms",
            Self::Quic => "quic",
            Self::HomaAndTcp => "homa and tcp",
        }
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_alone_has_the_whole_load_and_the_name_of_its_row() {
        for protocol in Protocol::value_variants() {
            let parts = protocol.parts();
            let shares: f64 = parts.iter().map(|part| part.share).sum();
            assert_eq!(shares, 1.0, "{protocol:?}");
            if let [part] = parts[..] {
                assert_eq!(part.row, protocol.name());
            }
        }
        assert_eq!(Protocol::HomaAndTcp.parts().len(), 2);
    }
}
