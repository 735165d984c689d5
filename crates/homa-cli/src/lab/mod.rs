//! `homa lab`: real processes and sockets on a network whose queues are known exactly.
//!
//! Each host is a network namespace with a TUN device; what joins them is the switch of the
//! simulator, running in real time. Before a result is believed, the lab measures itself.

mod args;
mod case;
mod check;
mod cluster;
mod compare;
mod counts;
mod fabric;
pub(crate) mod host;
mod htb;
mod network;
mod placement;
mod protocol;
mod rates;
mod ratios;
mod report;
mod running;
pub(crate) mod shield;
mod sustained;
mod traffic;
mod virtual_time;
mod wire;

pub(crate) use self::args::Lab;
use self::args::What;
use crate::failure::Failure;

/// Does what was asked for.
///
/// # Errors
/// The network cannot be made, or a check fails.
pub(crate) fn run(arguments: &Lab) -> Result<(), Failure> {
    match &arguments.what {
        Some(What::Check(arguments)) => check::run(arguments),
        None => compare::run(&arguments.compare),
    }
}
