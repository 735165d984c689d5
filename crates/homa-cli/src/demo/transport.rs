//! What the two protocols have in common: RPCs are started, and complete in any order.

use core::fmt;
use std::io;
use std::time::Instant;

use serde::Serialize;

use super::homa::HomaTransport;
use super::server::Addresses;
use super::tcp::TcpTransport;
use crate::host::LinkOption;

/// A protocol under measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Homa,
    Tcp,
}

impl Protocol {
    /// Both, in the order in which they take turns and stand in tables.
    pub(crate) const ALL: [Self; 2] = [Self::Homa, Self::Tcp];

    /// A fresh client of the echo server.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) fn connect(
        self,
        addresses: &Addresses,
        link: LinkOption,
    ) -> io::Result<Box<dyn Transport>> {
        match self {
            Self::Homa => Ok(Box::new(HomaTransport::new(addresses.homa, link)?)),
            Self::Tcp => Ok(Box::new(TcpTransport::connect(addresses.tcp)?)),
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

/// Receives what completes: the number of the RPC, and its response or why there is none.
pub(crate) type Deliver<'a> = dyn FnMut(u64, Result<&[u8], String>) + 'a;

/// A client of the echo server. One thread drives it.
pub(crate) trait Transport {
    /// Starts an RPC. The message is the caller's again when this returns.
    ///
    /// # Errors
    /// The transport as a whole is broken; what befalls one RPC is delivered.
    fn start(&mut self, number: u64, message: &[u8]) -> io::Result<()>;

    /// Delivers what has completed; while that is nothing, waits for it until `until`.
    ///
    /// # Errors
    /// The transport as a whole is broken.
    fn poll(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()>;
}
