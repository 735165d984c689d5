//! Behaviour of engines that talk to each other over a wire in virtual time.

mod acks;
mod crowd;
mod cutoffs;
mod distance;
mod engines;
mod errors;
mod forged;
mod grants;
mod host;
mod incast;
mod inspect;
mod life;
mod limits;
mod loss;
mod once;
mod overload;
mod peers;
mod play;
mod properties;
mod reference_defects;
mod room;
mod sending;
mod silence;
mod world;
