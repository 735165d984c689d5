//! `homa sim`: the engine on a virtual network.

pub(crate) mod args;
mod contest;
mod figures;
mod incast;
mod swarm;

use args::Simulation;

use crate::failure::Failure;

/// Runs what was asked for.
pub(crate) fn run(what: &Simulation) -> Result<(), Failure> {
    match what {
        Simulation::Swarm(arguments) => swarm::run(arguments),
        Simulation::Figures(arguments) => figures::run(arguments),
        Simulation::Incast(arguments) => incast::run(arguments),
        Simulation::Contest(arguments) => contest::run(arguments),
    }
}
