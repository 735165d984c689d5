//! `homa sim`: the engine on a virtual network.

mod figures;
mod swarm;

pub(crate) use figures::run as figures;
pub(crate) use swarm::run as swarm;
