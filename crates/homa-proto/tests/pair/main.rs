//! Behaviour of engines that talk to each other over a wire in virtual time.

mod life;
mod world;
