//! A kernel that checks what it and its modules do: every access to memory, the order of locks, the
//! lives of timers, work and references, and memory that nobody refers to; and that fails where it is
//! told to. The engine's accesses to memory are checked like the shim's.

use super::Kind;
use super::object::Engine;
use super::own::Recipe;

pub(super) const KERNEL: Recipe = Recipe {
    title: "a kernel that checks what it does",
    name: "debug",
    kind: Kind::Checking,
    image: "arch/x86/boot/bzImage",
    fragments: &["guest.config", "debug.config"],
    engine: Engine::Checked,
    steps: 1_650,
};
