//! What the application and the clock say, and what the engine answers: each function of
//! `shim/homa_core.h` that is not about packets. It decides nothing.

use alloc::boxed::Box;
use core::ptr;

use homa_proto::{Call, CallError, Engine, RpcKey, Seed, SocketId};

use crate::abi::{self, CPath, EINVAL, EIO, ENOENT, ENOMEM, instant};
use crate::contain::{Core, guarded};
use crate::settings::CSettings;
use crate::turn::CAsk;

/// Makes a core; null without memory, or if the settings do not fit each other. `seed` must be
/// unpredictable. With `udp` its packets travel in UDP datagrams, and its peers may be processes, which
/// stay silent for longer than kernels do.
///
/// # Safety
/// `seed` points to two numbers, `settings` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_create(
    seed: *const [u64; 2],
    settings: *const CSettings,
    udp: bool,
) -> *mut Core {
    // SAFETY: the caller's promise.
    let (seed, settings) = unsafe { (Seed(*seed), *settings) };
    let make = || Core::create(settings.to_config(udp)?, seed);
    match guarded(make).flatten() {
        Some(core) => Box::into_raw(core).cast(),
        None => ptr::null_mut(),
    }
}

/// Ends a core that nobody uses any more. A broken one is leaked.
///
/// # Safety
/// `core` comes from [`homa_core_create`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_destroy(core: *mut Core) {
    // SAFETY: the caller's promise; a core is the only one in its slice.
    let core = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(core, 1)) };
    if core.iter().any(Core::is_broken) {
        core::mem::forget(core);
    } else {
        // Freeing has no invariant that could break, so a panic here would only leak.
        guarded(move || drop(core));
    }
}

/// Makes room in the core's tables for `rpcs` RPCs and `peers` peers more than there are; `false`: for
/// fewer, there is no memory.
///
/// # Safety
/// `core` is a core that nobody else uses meanwhile; so for all that follow.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_reserve(core: *mut Core, rpcs: u32, peers: u32) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    core.with(|engine| engine.reserve(rpcs, peers)) == Some(Ok(()))
}

/// Opens a port; its number, or a negative errno.
///
/// # Safety
/// As [`homa_core_reserve`]; so for all that follow.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_open(core: *mut Core, port: u16, accepts: bool) -> i32 {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    match core.with(|engine| engine.open_socket(port, accepts)) {
        Some(Ok(socket)) => socket.index() as i32,
        Some(Err(_)) => ENOMEM,
        None => EIO,
    }
}

/// Has requests to a port taken, or not.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_accept(core: *mut Core, socket: u16, accepts: bool) {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    core.with(|engine| engine.accept_requests(SocketId::from_index(socket), accepts));
}

/// Closes a port; events of its RPCs follow.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_close(core: *mut Core, now: u64, socket: u16) {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    core.with(|engine| engine.close_socket(instant(now), SocketId::from_index(socket)));
}

/// Sends a request of `length` bytes along `path`, at most `segment_bytes` in a packet. The RPC and
/// its id are written to `rpc` and `id`; 0, or a negative errno. A turn follows.
///
/// # Safety
/// As [`homa_core_turn`](crate::homa_core_turn), and all pointers are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_call(
    core: *mut Core,
    ask: *const CAsk,
    path: *const CPath,
    length: u32,
    segment_bytes: u32,
    rpc: *mut u64,
    id: *mut u64,
) -> i32 {
    // SAFETY: the caller's promise.
    let (core, path, rpc, id) = unsafe { (&mut *core, &*path, &mut *rpc, &mut *id) };
    let call = Call {
        path: path.to_path(),
        dest_port: path.peer_port,
        length,
        segment_bytes,
        deadline: None,
        idempotent: false,
    };
    let make = |engine: &mut Engine, now| {
        let key = engine.call(now, call)?;
        Ok((key, engine.id_of(key)))
    };
    // SAFETY: the caller's promise.
    match unsafe { (*ask).after(core, make) } {
        Some(Ok((key, name))) => {
            *rpc = key.to_bits();
            *id = name.map_or(0, |name| name.get());
            0
        }
        Some(Err(CallError::EmptyMessage | CallError::MessageTooLong)) => EINVAL,
        Some(Err(CallError::Full)) => ENOMEM,
        Some(Err(CallError::NoSocket)) => ENOENT,
        None => EIO,
    }
}

/// Answers a request; 0, or a negative errno: `ENOENT` if nobody waits for it any more. A turn follows.
///
/// # Safety
/// As [`homa_core_turn`](crate::homa_core_turn).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_reply(
    core: *mut Core,
    ask: *const CAsk,
    rpc: u64,
    length: u32,
    segment_bytes: u32,
) -> i32 {
    let key = RpcKey::from_bits(rpc);
    let reply = |engine: &mut Engine, now| engine.reply(now, key, length, segment_bytes);
    // SAFETY: the caller's promise.
    match unsafe { (*ask).after(&mut *core, reply) } {
        Some(Ok(())) => 0,
        Some(Err(error)) => abi::reply_errno(error),
        None => EIO,
    }
}

/// Ends a client's RPC, or leaves a request unanswered; whether there was one. An event follows.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_abort(core: *mut Core, now: u64, rpc: u64) -> bool {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    let key = RpcKey::from_bits(rpc);
    let ended = core
        .with(|engine| engine.abort(instant(now), key) || engine.drop_request(instant(now), key));
    ended == Some(true)
}

/// Messages that the shim had no room for may come again: there may be some. Of room that is given back
/// the core knows by itself.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_room_again(core: *mut Core, now: u64) {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    core.with(|engine| engine.give_back(instant(now), 0));
}

/// Does what is due. A turn follows.
///
/// # Safety
/// As [`homa_core_turn`](crate::homa_core_turn).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_timeout(core: *mut Core, ask: *const CAsk) {
    // SAFETY: the caller's promise.
    unsafe { (*ask).after(&mut *core, Engine::handle_timeout) };
}

/// Whether the core panicked once.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_is_broken(core: *const Core) -> bool {
    // SAFETY: the caller's promise.
    unsafe { &*core }.is_broken()
}

/// The `index`th counter: its name, not terminated, and value. `false` past the last.
///
/// # Safety
/// As [`homa_core_open`], and all pointers are valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_counter(
    core: *mut Core,
    index: u32,
    name: *mut *const u8,
    name_bytes: *mut u32,
    value: *mut u64,
) -> bool {
    // SAFETY: the caller's promise.
    let (core, name, name_bytes, value) =
        unsafe { (&mut *core, &mut *name, &mut *name_bytes, &mut *value) };
    let counter = core.with(|engine| engine.counters().iter().nth(index as usize));
    let Some((text, count)) = counter.flatten() else {
        return false;
    };
    *name = text.as_ptr();
    *name_bytes = text.len() as u32;
    *value = count;
    true
}

/// Panics inside, so that tests see what becomes of it.
///
/// # Safety
/// As [`homa_core_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_panic(core: *mut Core) {
    // SAFETY: the caller's promise.
    let core = unsafe { &mut *core };
    core.with(|_| -> () { panic!("asked to panic, by a test") });
}
