//! Incast: one client asks a thousand servers at once, and each answers 10,000 bytes.

use core::net::Ipv6Addr;

use homa_proto::{Call, Config, Event, Path, Place, Seed};
use homa_sim::{
    Agent, BufferConfig, Context, Drop, HostConfig, LinkConfig, NO_MESSAGE, Packet, Seen, Shape,
    SocketConfig, Spread, Topology, World, address,
};

const SERVERS: u32 = 1_000;
const RESPONSE_BYTES: u32 = 10_000;
const SEGMENT_BYTES: u32 = 1_416;
const BITS_PER_SECOND: u64 = 10_000_000_000;
const PORT: u16 = 4_000;

/// Nanoseconds that all responses take on the client's link: each has eight packets.
const ALL_RESPONSES_NANOS: u64 = {
    let bytes = RESPONSE_BYTES as u64 + 8 * (56 + homa_sim::PACKET_OVERHEAD_BYTES as u64);
    SERVERS as u64 * bytes * 8_000_000_000 / BITS_PER_SECOND
};

/// Host 0 is the client; the others answer.
#[derive(Default)]
struct Crowd {
    answer_bytes: u32,
    responses: u32,
    ended_at: u64,
    dropped: u32,
}

impl Agent for Crowd {
    fn store(&mut self, _: &mut Seen, _: &Place, _: &Packet) -> bool {
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let now = cx.time();
        match event {
            Event::Request { rpc, length, .. } => {
                cx.engine().give_back(now, length.into());
                let taken = cx.reply(rpc, self.answer_bytes, SEGMENT_BYTES, NO_MESSAGE);
                taken.expect("an answer to a request");
            }
            Event::Response { length, .. } => {
                cx.engine().give_back(now, length.into());
                self.responses += 1;
                self.ended_at = cx.now;
            }
            Event::Failed { failure, .. } => panic!("{failure:?}"),
            Event::Ended { .. } => {}
        }
    }

    fn dropped(&mut self, _: u64, _: &Packet, _: Drop) {
        self.dropped += 1;
    }

    fn stuck(&mut self, now: u64, host: u32) {
        panic!("host {host} makes no progress at {now}");
    }
}

fn crowd(config: &Config) -> World<Crowd> {
    let link = LinkConfig {
        bits_per_second: BITS_PER_SECOND,
        delay: 500,
    };
    let topology = Topology {
        shape: Shape::Star { hosts: SERVERS + 1 },
        edge: link,
        core: link,
        spread: Spread::PerPacket,
    };
    // Of which one queue takes half.
    let buffer = BufferConfig {
        bytes: 4_000_000,
        alpha_eighths: 8,
    };
    let host = HostConfig {
        engines: vec![config.clone()],
        sockets: vec![SocketConfig {
            port: PORT,
            accepts_requests: true,
        }],
        link,
        queue_max_bytes: 1 << 20,
        send_delay: 1_500,
        receive_delay: 1_500,
    };
    let hosts = (0..=SERVERS).map(|number| (host.clone(), Seed([u64::from(number), 5])));
    World::new(topology, buffer, hosts.collect(), 0, Crowd::default()).expect("the parts fit")
}

/// The client asks every server once and waits for all.
fn ask_all(world: &mut World<Crowd>, answer_bytes: u32) {
    world.agent.answer_bytes = answer_bytes;
    world.with(0, 0, |_, cx| {
        for server in 1..=SERVERS {
            let call = Call {
                path: Path {
                    socket: cx.socket(0),
                    peer: address(server, PORT),
                    local: Ipv6Addr::UNSPECIFIED,
                },
                dest_port: PORT,
                length: 100,
                segment_bytes: SEGMENT_BYTES,
                deadline: None,
                idempotent: false,
            };
            cx.call(call, NO_MESSAGE).expect("the call is taken");
        }
    });
    let asked = world.agent.responses + SERVERS;
    while world.agent.responses < asked {
        let next = world.next().expect("responses are missing");
        world.run_until(next);
    }
}

/// The part of the client's link that the responses fill, in thousandths, and packets lost.
fn permille_and_drops(config: &Config) -> (u64, u32) {
    let mut world = crowd(config);
    // Once with little, so that servers know their client's address.
    ask_all(&mut world, 1);
    ask_all(&mut world, 1);
    let start = world.now();
    ask_all(&mut world, RESPONSE_BYTES);
    let took = world.agent.ended_at - start;
    (1_000 * ALL_RESPONSES_NANOS / took, world.agent.dropped)
}

#[test]
fn a_thousand_responses_at_once_fill_the_link_and_lose_nothing() {
    let known = Config::data_center(BITS_PER_SECOND, 9_900);
    for config in [known, Config::default()] {
        let (permille, drops) = permille_and_drops(&config);
        assert!(permille >= 900, "{permille} thousandths of the link");
        assert_eq!(drops, 0);
    }
}

#[test]
fn without_marks_they_overflow_the_switch_and_leave_the_link_idle() {
    let config = Config {
        incast_rpcs: u32::MAX,
        ..Config::data_center(BITS_PER_SECOND, 9_900)
    };
    let (permille, drops) = permille_and_drops(&config);
    assert!(permille < 700, "{permille} thousandths of the link");
    assert!(drops > 1_000, "{drops} packets");
}
