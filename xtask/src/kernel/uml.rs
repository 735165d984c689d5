//! User-Mode Linux: a kernel that is a program of this system, as fast as its processor, and has one.
//!
//! *Design*: it takes no emulator, so that time is time; a guest is up at once. Its memory is this
//! program's, its processes are processes that it traces: each system call stops one and starts the
//! other, and each change from one process to another changes what both see of memory.

use super::Kind;
use super::object::Engine;
use super::own::Recipe;

pub(super) const KERNEL: Recipe = Recipe {
    title: "User-Mode Linux",
    name: "uml",
    kind: Kind::UserMode,
    image: "linux",
    fragments: &["guest.config", "uml.config"],
    engine: Engine::UserMode,
    steps: 1_000,
};
