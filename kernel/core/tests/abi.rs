//! The C interface, driven as the shim drives it: two cores on a wire in one process.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::panic::AssertUnwindSafe;
use core::ptr;
use std::collections::VecDeque;
use std::panic::catch_unwind;

use homa_kernel_core::abi::{CEvent, CPacket, CPath, CPlace, EVENT_FAILED, EVENT_REQUEST};
use homa_kernel_core::abi::{EIO, EVENT_ENDED, EVENT_RESPONSE, UNREACHABLE_PORT};
use homa_kernel_core::*;

/// The shim's guard, with unwinding in place of a jump.
#[unsafe(no_mangle)]
extern "C" fn homa_shim_guard(
    run: extern "C-unwind" fn(*mut c_void),
    argument: *mut c_void,
) -> i32 {
    match catch_unwind(AssertUnwindSafe(|| run(argument))) {
        Ok(()) => 0,
        Err(_) => EIO,
    }
}

/// What the shim's `struct homa_arrival` is here.
struct Arrival<'a> {
    packet: &'a Packet,
    received: &'a mut Vec<u8>,
    keeps: bool,
}

#[unsafe(no_mangle)]
extern "C" fn homa_shim_store(context: *mut c_void, place: *const CPlace) -> bool {
    // SAFETY: `Host::take` passes an arrival, and the core a place.
    let (arrival, place) = unsafe { (&mut *context.cast::<Arrival<'_>>(), *place) };
    if !arrival.keeps {
        return false;
    }
    arrival.received.resize(place.message_length as usize, 0);
    let from = place.header_bytes as usize;
    let payload = &arrival.packet.bytes[from..from + place.length as usize];
    let at = place.offset as usize;
    arrival.received[at..at + payload.len()].copy_from_slice(payload);
    true
}

struct Packet {
    bytes: Vec<u8>,
    source_port: u16,
}

/// One core, one socket of it, one message each way.
struct Host {
    core: *mut Core,
    socket: u16,
    port: u16,
    address: u8,
    sending: Vec<u8>,
    received: Vec<u8>,
    keeps: Cell<bool>,
    /// What turns of the core told of and was not looked at yet.
    events: RefCell<VecDeque<CEvent>>,
    packets: RefCell<VecDeque<Packet>>,
}

impl Host {
    fn new(address: u8, port: u16, server: bool) -> Self {
        let seed = [u64::from(address), 7];
        // SAFETY: the seed is there; the core is used by this thread alone.
        unsafe {
            let core = homa_core_create(&raw const seed, &CSettings::default(), false);
            assert!(!core.is_null());
            let socket = homa_core_open(core, port, server);
            assert_eq!(socket, 0);
            Self {
                core,
                socket: socket as u16,
                port,
                address,
                sending: Vec::new(),
                received: Vec::new(),
                keeps: Cell::new(true),
                events: RefCell::default(),
                packets: RefCell::default(),
            }
        }
    }

    fn path_to(&self, peer: &Self) -> CPath {
        CPath {
            peer: mapped(peer.address),
            local: mapped(self.address),
            scope: 0,
            peer_port: peer.port,
            socket: self.socket,
        }
    }

    fn call(&mut self, peer: &Self, request: Vec<u8>) -> (u64, u64) {
        let (path, mut key, mut id) = (self.path_to(peer), 0, 0);
        let length = request.len() as u32;
        self.sending = request;
        // SAFETY: as above, and all pointers are to locals.
        let code = self.ask(0, |ask| unsafe {
            homa_core_call(
                self.core,
                ask,
                &raw const path,
                length,
                1_400,
                &raw mut key,
                &raw mut id,
            )
        });
        assert_eq!(code.0, 0);
        (key, id)
    }

    fn reply(&self, rpc: u64, length: u32) -> i32 {
        // SAFETY: as above.
        let reply = |ask| unsafe { homa_core_reply(self.core, ask, rpc, length, 1_400) };
        self.ask(0, reply).0
    }

    /// Turns of the core until it wants nothing more; when it wants to be called again.
    fn turn(&self, given_back: u64) -> u64 {
        // SAFETY: as above.
        self.ask(given_back, |ask| unsafe { homa_core_turn(self.core, ask) })
            .1
    }

    /// The same after `call`, and what that returned.
    fn ask<R>(&self, given_back: u64, call: impl FnOnce(*const CAsk) -> R) -> (R, u64) {
        let burst = homa_core_burst_create();
        let mut turn = no_turn();
        let mut ask = CAsk {
            now: NOW,
            given_back,
            burst,
            turn: &raw mut turn,
        };
        let result = call(&raw const ask);
        ask.given_back = 0;
        // SAFETY: as above; burst and turn are this function's.
        unsafe {
            loop {
                let told = &turn.event[..turn.events as usize];
                self.events.borrow_mut().extend(told);
                for index in 0..turn.packets {
                    let packet = self.packet(burst, index);
                    self.packets.borrow_mut().push_back(packet);
                }
                if turn.more == 0 {
                    break;
                }
                homa_core_turn(self.core, &raw const ask);
            }
            homa_core_burst_destroy(burst);
        }
        (result, turn.deadline)
    }

    /// Everything that the core has to send.
    fn transmit(&self) -> VecDeque<Packet> {
        self.turn(0);
        self.packets.take()
    }

    unsafe fn packet(&self, burst: *const homa_proto::Burst, index: u32) -> Packet {
        let mut view = NO_PACKET;
        // SAFETY: the caller's burst has this packet, whose header lives as long.
        let header = unsafe {
            assert!(homa_core_burst_packet(burst, index, &raw mut view));
            core::slice::from_raw_parts(view.header, view.header_bytes as usize)
        };
        let at = view.offset as usize;
        let payload = &self.sending[at..at + view.length as usize];
        Packet {
            bytes: [header, payload].concat(),
            source_port: self.port,
        }
    }

    fn take(&mut self, from: &Self, packet: &Packet) {
        assert_eq!(packet.source_port, from.port);
        let path = self.path_to(from);
        let header = packet.bytes.len().min(90) as u32;
        let mut received = core::mem::take(&mut self.received);
        let mut arrival = Arrival {
            packet,
            received: &mut received,
            keeps: self.keeps.get(),
        };
        // SAFETY: as above; the context is what `homa_shim_store` expects.
        self.ask(0, |ask| unsafe {
            let bytes = packet.bytes.as_ptr();
            let length = packet.bytes.len() as u32;
            let context = (&raw mut arrival).cast();
            homa_core_packet(
                self.core,
                ask,
                &raw const path,
                bytes,
                header,
                length,
                context,
            );
        });
        self.received = received;
    }

    fn event(&self) -> Option<CEvent> {
        self.turn(0);
        self.events.borrow_mut().pop_front()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: nobody uses the core any more.
        unsafe { homa_core_destroy(self.core) }
    }
}

const NOW: u64 = 1_000_000;

const NO_PACKET: CPacket = CPacket {
    header: ptr::null(),
    rpc: 0,
    header_bytes: 0,
    offset: 0,
    length: 0,
    pad: 0,
};

fn no_turn() -> CTurn {
    CTurn {
        deadline: 0,
        path: CPath::default(),
        packets: 0,
        events: 0,
        priority: 0,
        more: 0,
        segments: 0,
        segment_bytes: 0,
        packet: NO_PACKET,
        event: [CEvent::default(); TURN_EVENTS],
    }
}

fn mapped(last: u8) -> [u8; 16] {
    core::net::Ipv4Addr::new(10, 0, 0, last)
        .to_ipv6_mapped()
        .octets()
}

/// Carries packets to and fro until both are silent.
fn settle(a: &mut Host, b: &mut Host) {
    loop {
        let (from_a, from_b) = (a.transmit(), b.transmit());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.iter().for_each(|packet| b.take(a, packet));
        from_b.iter().for_each(|packet| a.take(b, packet));
    }
}

fn pair() -> (Host, Host) {
    (Host::new(1, 40_000, false), Host::new(2, 99, true))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 / 7) as u8).collect()
}

#[test]
fn messages_of_all_lengths_cross_the_interface_and_come_back() {
    for length in [1, 1_400, 1_401, 100_000, 1_000_000] {
        let (mut client, mut server) = pair();
        let (key, id) = client.call(&server, pattern(length));
        assert!(id != 0 && id % 2 == 0);
        settle(&mut client, &mut server);
        let request = server.event().expect("the request is whole");
        assert_eq!(
            (request.kind, request.length as usize),
            (EVENT_REQUEST, length)
        );
        assert_eq!(
            (request.id, request.peer, request.peer_port),
            (id | 1, mapped(1), 40_000)
        );
        assert_eq!(server.received, pattern(length));
        server.sending = core::mem::take(&mut server.received);
        assert_eq!(server.reply(request.rpc, length as u32), 0);
        settle(&mut client, &mut server);
        let response = client.event().expect("the response is whole");
        assert_eq!((response.rpc, response.kind), (key, EVENT_RESPONSE));
        assert_eq!(client.received, pattern(length));
    }
}

#[test]
fn a_refused_packet_leaves_no_trace_and_comes_again() {
    let (mut client, mut server) = pair();
    client.call(&server, pattern(10));
    server.keeps.set(false);
    settle(&mut client, &mut server);
    assert_eq!(server.event(), None);
    server.keeps.set(true);
    // SAFETY: the core is this thread's.
    unsafe { homa_core_room_again(server.core, NOW) };
    settle(&mut client, &mut server);
    assert_eq!(server.event().map(|event| event.kind), Some(EVENT_REQUEST));
}

#[test]
fn a_turn_that_could_not_tell_everything_asks_for_another() {
    let (mut client, mut server) = pair();
    let most = TURN_EVENTS + 1;
    for _ in 0..most {
        client.call(&server, pattern(10));
    }
    settle(&mut client, &mut server);
    let told = core::iter::from_fn(|| server.event()).count();
    assert_eq!(told, most);
    // The client waits for the responses, and nothing else is to be done.
    assert!((NOW..u64::MAX).contains(&client.turn(0)));
}

#[test]
fn an_rpc_tells_how_far_it_is_until_it_is_over() {
    let (mut client, mut server) = pair();
    let (rpc, _) = client.call(&server, pattern(10));
    settle(&mut client, &mut server);
    let mut standing = CStanding::default();
    // SAFETY: the cores are this thread's.
    unsafe {
        assert!(homa_core_standing(client.core, rpc, &raw mut standing));
        assert_eq!((standing.tx_sent, standing.tx_granted), (10, 10));
        assert_eq!((standing.rx_missing, standing.rx_granted), (0, 0));
        assert!(homa_core_abort(client.core, NOW, rpc));
        assert!(client.event().is_some());
        assert!(!homa_core_standing(client.core, rpc, &raw mut standing));
    }
}

#[test]
fn settings_that_contradict_each_other_make_no_core() {
    let mut settings = CSettings::default();
    // SAFETY: both are there.
    unsafe {
        homa_core_default_settings(&raw mut settings);
        assert!(homa_core_settings_fit(&raw const settings));
        for wrong in [
            CSettings {
                num_priorities: 9,
                ..settings
            },
            CSettings {
                max_overcommit: 256,
                ..settings
            },
            CSettings {
                window: 1,
                ..settings
            },
            CSettings {
                resend_ticks: 60,
                ..settings
            },
        ] {
            assert!(!homa_core_settings_fit(&raw const wrong), "{wrong:?}");
            assert!(homa_core_create(&[1, 2], &raw const wrong, false).is_null());
        }
    }
}

#[test]
fn a_closed_port_ends_its_rpcs_and_a_port_of_nobody_fails_them() {
    let (mut client, mut server) = pair();
    let (key, _) = client.call(&server, pattern(10));
    let path = client.path_to(&server);
    let sent = client.transmit();
    let offending = sent[0].bytes.as_ptr();
    // SAFETY: the core is this thread's, the packet has more than 28 bytes.
    unsafe {
        let path = &raw const path;
        homa_core_unreachable(client.core, NOW, path, offending, 28, UNREACHABLE_PORT, 0);
    }
    let failed = client.event().expect("nobody listens");
    assert_eq!(
        (failed.rpc, failed.kind, failed.error),
        (key, EVENT_FAILED, -107)
    );

    client.call(&server, pattern(10));
    settle(&mut client, &mut server);
    assert_eq!(server.event().map(|event| event.kind), Some(EVENT_REQUEST));
    // SAFETY: the core is this thread's.
    unsafe { homa_core_close(server.core, NOW, server.socket) };
    assert_eq!(server.event().map(|event| event.kind), Some(EVENT_ENDED));
}

#[test]
fn a_socket_accepts_requests_only_while_it_should() {
    let (mut client, mut server) = pair();
    // SAFETY: the core is this thread's.
    unsafe { homa_core_accept(server.core, server.socket, false) };
    client.call(&server, pattern(10));
    settle(&mut client, &mut server);
    assert_eq!(server.event(), None);
    assert!(server.received.is_empty());
}

#[test]
fn a_panic_breaks_its_core_and_no_other() {
    let (mut client, mut server) = pair();
    let (broken, _) = pair();
    let mut name = ptr::null();
    let (mut name_bytes, mut value) = (0, 0);
    // SAFETY: the cores are this thread's.
    unsafe {
        homa_core_panic(broken.core);
        assert!(homa_core_is_broken(broken.core));
        assert_eq!(homa_core_open(broken.core, 5, true), EIO);
        assert!(!homa_core_reserve(broken.core, 1, 1));
        assert!(homa_core_reserve(client.core, 300, 10));
        assert_eq!(broken.turn(0), u64::MAX);
        assert!(!homa_core_abort(broken.core, NOW, 0));
        let value = &raw mut value;
        let (name, bytes) = (&raw mut name, &raw mut name_bytes);
        assert!(!homa_core_counter(broken.core, 0, name, bytes, value));
        assert!(homa_core_counter(client.core, 0, name, bytes, value));
    }
    assert_eq!(broken.event(), None);
    client.call(&server, pattern(10));
    settle(&mut client, &mut server);
    assert!(server.event().is_some());
}

#[test]
fn numbers_that_name_nothing_are_refused() {
    let (client, _) = pair();
    let path = CPath {
        socket: 77,
        ..CPath::default()
    };
    let (mut key, mut id) = (0, 0);
    // SAFETY: the core is this thread's.
    unsafe {
        let (path, key, id) = (&raw const path, &raw mut key, &raw mut id);
        let call = |ask| homa_core_call(client.core, ask, path, 1, 100, key, id);
        assert!(client.ask(0, call).0 < 0);
        assert!(client.reply(u64::MAX, 1) < 0);
        assert!(!homa_core_abort(client.core, NOW, 12_345));
        homa_core_accept(client.core, 9, true);
        homa_core_close(client.core, NOW, u16::MAX);
        client.turn(u64::MAX);
        client.ask(0, |ask| homa_core_timeout(client.core, ask));
        let nothing = [0_u8].as_ptr();
        let none = ptr::null_mut();
        client.ask(0, |ask| {
            homa_core_packet(client.core, ask, path, nothing, 0, 0, none);
        });
    }
}

/// Less than a fifth of a kernel thread's 16 KiB: it is made on the stack, and may lie there twice.
#[test]
fn a_core_fits_the_stack_of_the_kernel_while_it_is_made() {
    assert!(size_of::<Core>() <= 3_072, "{} bytes", size_of::<Core>());
}
