//! What an engine tells people of its tables.

use homa_proto::wire::Body;
use homa_proto::{Engine, PeerView, RpcView, Stage};

use crate::world::{Fate, Flight, World};

fn rpcs(engine: &Engine) -> Vec<RpcView> {
    let places = 0..engine.rpc_places();
    places.filter_map(|place| engine.rpc_at(place)).collect()
}

fn peers(engine: &Engine) -> Vec<PeerView> {
    let places = 0..engine.peer_places();
    places.filter_map(|place| engine.peer_at(place)).collect()
}

#[test]
fn a_message_is_whole_up_to_its_first_gap() {
    let mut world = World::pair();
    let lost = |flight: &Flight| matches!(flight.body(), Body::Data(data) if data.offset == 2_800);
    world.on_wire(move |_, flight| Fate::drop_if(lost(flight)));
    world.call(0, 1, 20_000);
    world.run_ms(1);
    let [asked] = rpcs(&world.hosts[0].engine)[..] else {
        panic!("one call is under way");
    };
    let [served] = rpcs(&world.hosts[1].engine)[..] else {
        panic!("one request is coming in");
    };
    assert_eq!(
        (asked.stage, served.stage),
        (Stage::Asking, Stage::Receiving)
    );
    assert_eq!(asked.id.flipped(), served.id);
    assert_eq!(
        asked.sending.map(|it| (it.length, it.sent)),
        Some((20_000, 20_000))
    );
    let coming = served.receiving.expect("bytes of the request came");
    assert_eq!((coming.length, coming.whole), (20_000, 2_800));
    assert!(coming.received > coming.whole);
    assert_eq!(world.hosts[1].engine.whole_bytes(served.rpc), Some(2_800));

    world.on_wire(|_, _| Fate::Deliver);
    world.run_ms(10);
    let served = rpcs(&world.hosts[1].engine)[0];
    assert_eq!((served.stage, served.receiving), (Stage::InService, None));
    assert_eq!(world.hosts[1].engine.whole_bytes(served.rpc), None);
    let peer = &peers(&world.hosts[1].engine)[0];
    assert_eq!((peer.rpcs, peer.server_rpcs), (1, 1));
    assert!(
        peers(&world.hosts[0].engine)[0].round_trip.is_none(),
        "nothing was asked of the server"
    );
}

#[test]
fn what_is_over_is_not_shown() {
    let mut world = World::echo_pair();
    world.call(0, 1, 20_000);
    world.run_ms(1);
    assert_eq!(rpcs(&world.hosts[0].engine), []);
    let sockets: Vec<_> = world.hosts[1].engine.sockets().collect();
    assert_eq!(sockets.len(), 1);
    assert!(sockets[0].accepts_requests);
}

#[test]
fn an_rpc_tells_its_gaps_until_it_is_over() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(100_000);
    // No grant of the client's arrives, and the second and third packet of the response are lost.
    world.on_wire(|_, flight| {
        let is_hole = flight.from == 1 && matches!(flight.payload, Some((_, 1_400 | 2_800, _)));
        Fate::drop_if(is_hole || matches!(flight.body(), Body::Grant(_)))
    });
    let rpc = world.call(0, 1, 39_200);
    world.run_ms(2);
    let view = world.hosts[0].engine.rpc_named(rpc).unwrap();
    let sending = view.sending.unwrap();
    assert_eq!((sending.sent, sending.granted), (39_200, 39_200));
    let receiving = view.receiving.unwrap();
    assert_eq!(
        (receiving.whole, receiving.gaps, receiving.gap_bytes),
        (1_400, 1, 2_800)
    );
    assert_eq!(receiving.received, 39_200 - 2_800);
    world.heal();
    world.run_ms(50);
    assert_eq!(world.hosts[0].engine.rpc_named(rpc), None);
}
