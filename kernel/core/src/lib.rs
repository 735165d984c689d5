//! The Homa engine behind a C interface, for the Linux kernel.
//!
//! It decides nothing about Homa: it turns the engine's values into C structs and back, and it keeps
//! a panic of the engine inside. The C side is declared in `shim/homa_core.h`; both sides assert the
//! same sizes.
//!
//! # Rules of the interface
//!
//! - One call at a time for each core: the shim holds the engine's spinlock. Preemption is off.
//! - A core that panicked is *broken*: every later call answers [`abi::EIO`] or nothing at all, and its
//!   memory is never touched again, not even to free it.
//! - All memory comes from `homa_shim_alloc` and may be refused; tables then stay as they are.
#![cfg_attr(target_os = "none", no_std, feature(alloc_error_handler))]

extern crate alloc;

pub mod abi;
mod calls;
mod contain;
#[cfg(target_os = "none")]
mod kernel;
mod packets;
mod settings;
mod standing;
mod turn;

pub use calls::*;
pub use contain::Core;
pub use packets::*;
pub use settings::*;
pub use standing::*;
pub use turn::*;
