//! What the protocols have in common: RPCs are started, and complete in any order.

use std::io;
use std::time::Instant;

use super::plan::Contents;

/// Receives what completes: the number of the RPC, and its response or why there is none.
pub(crate) type Deliver<'a> = dyn FnMut(u64, Result<&[u8], String>) + 'a;

/// A client of the echo server. One thread drives it.
pub(crate) trait Transport {
    /// Starts an RPC. The message is the caller's again when this returns.
    ///
    /// # Errors
    /// The transport as a whole is broken; what befalls one RPC is delivered.
    fn start(&mut self, number: u64, message: &Contents<'_>) -> io::Result<()>;

    /// Delivers what has completed; while that is nothing, waits for it until `until`.
    ///
    /// # Errors
    /// The transport as a whole is broken.
    fn poll(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()>;
}
