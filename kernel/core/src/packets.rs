//! Packets: what arrives, what the network could not deliver, and what goes out. It decides nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::{ptr, slice};

use homa_proto::wire::MAX_HEADER_BYTES;
use homa_proto::{Burst, Engine, Unreachable};

use crate::abi::{
    CPacket, CPath, CPlace, UNREACHABLE_HOST, UNREACHABLE_PORT, UNREACHABLE_TOO_BIG, instant,
};
use crate::contain::{Core, guarded};
use crate::turn::CAsk;

/// Most bytes of a packet that the engine looks at; `HOMA_HEADER_MAX` in the shim.
const _: () = assert!(MAX_HEADER_BYTES == 90);

unsafe extern "C" {
    /// Keeps the payload of the packet that is being handled at its place; `false` refuses it.
    /// Provided by the shim; it calls no function of the core.
    fn homa_shim_store(context: *mut c_void, place: *const CPlace) -> bool;
}

/// A packet arrived: its first `header_bytes` bytes, at most 90, lie at `header`, and it has
/// `packet_bytes` in all. If it has payload with a place, `homa_shim_store` is called with `context`.
/// A turn follows.
///
/// # Safety
/// As [`homa_core_turn`](crate::homa_core_turn); `header` has its bytes, `path` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_packet(
    core: *mut Core,
    ask: *const CAsk,
    path: *const CPath,
    header: *const u8,
    header_bytes: u32,
    packet_bytes: u32,
    context: *mut c_void,
) {
    // SAFETY: the caller's promise.
    let (core, path, header) = unsafe {
        let header = slice::from_raw_parts(header, header_bytes as usize);
        (&mut *core, &*path, header)
    };
    let handle = |engine: &mut Engine, now| {
        let placement = engine.handle_packet(now, path.to_path(), header, packet_bytes);
        let Some(placement) = placement else {
            return;
        };
        let place = CPlace::from(placement.place());
        // SAFETY: the shim gets back the context that it gave, and a place that lives.
        if unsafe { homa_shim_store(context, &raw const place) } {
            placement.commit();
        } else {
            placement.refuse();
        }
    };
    // SAFETY: the caller's promise.
    unsafe { (*ask).after(core, handle) };
}

/// The network says that a packet did not arrive at `path.peer`. `offending`: the bytes of it that
/// came back; `cause`: an `UNREACHABLE_` constant; `segment_bytes`: of one that was too big, what a
/// packet can carry, or 0.
///
/// # Safety
/// As [`homa_core_open`](crate::homa_core_open), and all pointers are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_unreachable(
    core: *mut Core,
    now: u64,
    path: *const CPath,
    offending: *const u8,
    offending_bytes: u32,
    cause: u32,
    segment_bytes: u32,
) {
    // SAFETY: the caller's promise.
    let (core, path, offending) = unsafe {
        let offending = slice::from_raw_parts(offending, offending_bytes as usize);
        (&mut *core, &*path, offending)
    };
    let what = match cause {
        UNREACHABLE_PORT => Unreachable::Port,
        UNREACHABLE_TOO_BIG => Unreachable::TooBig { segment_bytes },
        UNREACHABLE_HOST.. => Unreachable::Host,
    };
    let to = path.peer_address();
    core.with(|engine| engine.handle_unreachable(instant(now), to, offending, what));
}

/// Makes an empty burst; null without memory.
#[unsafe(no_mangle)]
pub extern "C" fn homa_core_burst_create() -> *mut Burst {
    let make = || {
        let mut place = Vec::new();
        place.try_reserve_exact(1).ok()?;
        place.push(Burst::new().ok()?);
        Some(place.into_boxed_slice())
    };
    match guarded(make).flatten() {
        Some(burst) => Box::into_raw(burst).cast(),
        None => ptr::null_mut(),
    }
}

/// Ends a burst.
///
/// # Safety
/// `burst` comes from [`homa_core_burst_create`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_burst_destroy(burst: *mut Burst) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(burst, 1)) });
}

/// Packet `index` of a burst. It takes no core, so no lock.
///
/// # Safety
/// `burst` is a burst that nobody fills meanwhile, and `packet` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_burst_packet(
    burst: *const Burst,
    index: u32,
    packet: *mut CPacket,
) -> bool {
    // SAFETY: the caller's promise.
    let (burst, packet) = unsafe { (&*burst, &mut *packet) };
    match burst.packet(index as usize) {
        Some(next) => {
            *packet = CPacket::from(next);
            true
        }
        None => false,
    }
}
