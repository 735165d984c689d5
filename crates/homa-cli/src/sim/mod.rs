//! `homa sim`: the engine on a virtual network.

mod swarm;

pub(crate) use swarm::run as swarm;
