//! QUIC in a build without the feature `rivals`: there is none.

use core::convert::Infallible;
use core::net::SocketAddr;
use std::io;
use std::time::Instant;

use super::plan::Contents;
use super::transport::{Deliver, Transport};
use crate::answer::Answer;

/// There is no such client.
pub(crate) struct QuicTransport(Infallible);

impl QuicTransport {
    /// # Errors
    /// Always.
    pub(crate) fn connect(_: &[SocketAddr]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Transport for QuicTransport {
    fn start(&mut self, _: u64, _: &Contents<'_>) -> io::Result<()> {
        match self.0 {}
    }

    fn poll(&mut self, _: Instant, _: &mut Deliver<'_>) -> io::Result<()> {
        match self.0 {}
    }
}

/// There is no such server.
pub(crate) struct QuicServer(Infallible);

impl QuicServer {
    /// # Errors
    /// Always.
    pub(crate) fn on(_: SocketAddr) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// Never, as there is none.
    pub(crate) fn serve(self, _: Answer) -> io::Result<()> {
        match self.0 {}
    }
}
