//! `homa sim`: the engine on a virtual network.

mod contest;
mod figures;
mod incast;
mod swarm;

pub(crate) use contest::run as contest;
pub(crate) use figures::run as figures;
pub(crate) use incast::run as incast;
pub(crate) use swarm::run as swarm;
