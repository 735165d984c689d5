//! The protocols that the demo compares.

use core::fmt;
use std::io;

use homa::Config;
use serde::Serialize;

use super::server::Addresses;
use crate::congestion::Congestion;
use crate::host::LinkOption;
use crate::traffic::SPIN;
use crate::traffic::homa::{HomaTransport, host};
use crate::traffic::tcp::TcpTransport;
use crate::traffic::transport::Transport;

/// Connections of TCP. More of them help short messages past long ones; measured with W4, 4 to 32
/// differ little in goodput.
pub(super) const POOL_CONNECTIONS: usize = 16;

/// A protocol under measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Homa,
    Tcp,
}

impl Protocol {
    /// Both, in the order in which they take turns and stand in tables.
    pub(super) const ALL: [Self; 2] = [Self::Homa, Self::Tcp];

    /// A fresh client of the echo server.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(super) fn connect(
        self,
        addresses: &Addresses,
        link: LinkOption,
    ) -> io::Result<Box<dyn Transport>> {
        match self {
            Self::Homa => Ok(Box::new(HomaTransport::on(
                &host(link.link, Config::user_space(), SPIN)?,
                vec![addresses.homa],
            )?)),
            Self::Tcp => Ok(Box::new(TcpTransport::connect(
                &[addresses.tcp],
                POOL_CONNECTIONS,
                Congestion::Cubic,
                SPIN,
            )?)),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Homa => "Homa",
            Self::Tcp => "TCP",
        })
    }
}
