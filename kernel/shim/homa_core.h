/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The protocol engine, as C sees it. It is written in Rust (kernel/core) and
 * comes as one object file. Each function is documented there.
 *
 * One call at a time for each core, under its spinlock with bottom halves off.
 * A core that panicked is broken: it answers -EIO, false or 0 to everything.
 */
#ifndef _HOMA_CORE_H
#define _HOMA_CORE_H

#include <linux/build_bug.h>
#include <linux/in6.h>
#include <linux/types.h>

struct homa_burst;
struct homa_core;

/* Most bytes of a packet that the engine looks at. */
#define HOMA_HEADER_MAX 90

/* RPCs that a core can have; the low halves of their keys are below it. */
#define HOMA_RPCS_MAX (1 << 18)

/**
 * struct homa_core_path - both ends of a packet's way, in host byte order
 * @peer:      the other end, IPv4 in mapped form
 * @local:     our address, :: for what the route says
 * @scope:     interface of a link-local peer, else 0
 * @peer_port: the peer's port
 * @socket:    our socket, as homa_core_open named it
 */
struct homa_core_path {
	struct in6_addr peer;
	struct in6_addr local;
	u32 scope;
	u16 peer_port;
	u16 socket;
};

/**
 * struct homa_core_place - where the payload of a packet belongs
 * @rpc:            the RPC
 * @offset:         first byte in the message
 * @length:         bytes, at least 1
 * @header_bytes:   where they begin in the packet
 * @message_length: bytes of the whole message
 * @is_new:         nothing of the message was stored yet
 * @pad:            0
 */
struct homa_core_place {
	u64 rpc;
	u32 offset;
	u32 length;
	u32 header_bytes;
	u32 message_length;
	u32 is_new;
	u32 pad;
};

/**
 * struct homa_core_packet_view - one packet of a burst
 * @header:       the Homa header, complete but for the checksum
 * @rpc:          the RPC whose bytes follow
 * @header_bytes: bytes of the header
 * @offset:       first byte of the message that follows
 * @length:       how many follow; 0 for control packets
 * @pad:          0
 */
struct homa_core_packet_view {
	const u8 *header;
	u64 rpc;
	u32 header_bytes;
	u32 offset;
	u32 length;
	u32 pad;
};

enum homa_core_event_kind {
	HOMA_EVENT_REQUEST = 1,
	HOMA_EVENT_RESPONSE = 2,
	HOMA_EVENT_FAILED = 3,
	HOMA_EVENT_ENDED = 4,
};

/**
 * struct homa_core_event - what the application is to be told
 * @rpc:       the RPC; stale after all kinds but a request
 * @id:        of a request: its id
 * @peer:      of a request: the client
 * @scope:     of a request: interface of a link-local client
 * @peer_port: of a request: the client's port
 * @kind:      enum homa_core_event_kind
 * @length:    of a request or response: bytes of the message
 * @error:     of a failure: a negative errno
 */
struct homa_core_event {
	u64 rpc;
	u64 id;
	struct in6_addr peer;
	u32 scope;
	u16 peer_port;
	u16 kind;
	u32 length;
	s32 error;
};

/* Events that one turn tells of, at most. */
#define HOMA_TURN_EVENTS 32

/**
 * struct homa_core_turn - what the core wants of the shim
 * @deadline: when to call homa_core_timeout(), U64_MAX: never; 0 with @more
 * @path:     the way of the packets
 * @packets:  how many are in the burst
 * @events:   how many are in @event
 * @priority: of the packets
 * @more:     there may be more, for another turn
 * @segments: how many packets on the wire these are: more than @packets where the
 *            only one, of DATA, is to be cut
 * @segment_bytes: header and payload of each of these but the last
 * @packet:   the first of the packets
 * @event:    what the application is to be told
 */
struct homa_core_turn {
	u64 deadline;
	struct homa_core_path path;
	u32 packets;
	u32 events;
	u32 priority;
	u32 more;
	u32 segments;
	u32 segment_bytes;
	struct homa_core_packet_view packet;
	struct homa_core_event event[HOMA_TURN_EVENTS];
};

/**
 * struct homa_core_ask - when the core is called, and where it answers
 * @now:        now
 * @given_back: bytes of received messages that go back to the core's budget
 * @burst:      gets the packets
 * @turn:       gets the rest of what is to be done
 *
 * Calls that give the core something to do take it along, and a turn follows in
 * the same call.
 */
struct homa_core_ask {
	u64 now;
	u64 given_back;
	struct homa_burst *burst;
	struct homa_core_turn *turn;
};

/**
 * struct homa_core_standing - how far the messages of an RPC are, 0 without one
 * @tx_sent:      first bytes that were sent at least once
 * @tx_granted:   first bytes that may be sent
 * @tx_priority:  of granted bytes
 * @rx_missing:   bytes that have not come
 * @rx_gaps:      gaps in what came
 * @rx_gap_bytes: bytes in these
 * @rx_granted:   first bytes that the sender may send
 * @pad:          0
 */
struct homa_core_standing {
	u32 tx_sent;
	u32 tx_granted;
	u32 tx_priority;
	u32 rx_missing;
	u32 rx_gaps;
	u32 rx_gap_bytes;
	u32 rx_granted;
	u32 pad;
};

/**
 * struct homa_core_settings - what the engine of a namespace is told at first
 *
 * The sysctls of these names, see homa_sysctl.c and docs/kernel.md.
 */
struct homa_core_settings {
	u32 unsched_bytes;
	u32 max_incoming;
	u32 window;
	u32 max_overcommit;
	u32 num_priorities;
	u32 fifo_grant_increment;
	u32 grant_fifo_fraction;
	u32 pacer_fifo_fraction;
	u32 link_mbps;
	u32 resend_ticks;
	u32 timeout_ticks;
	u32 request_ack_ticks;
};

enum homa_core_unreachable {
	HOMA_UNREACHABLE_HOST = 0,
	HOMA_UNREACHABLE_PORT = 1,
	HOMA_UNREACHABLE_TOO_BIG = 2,
};

static_assert(sizeof(struct homa_core_path) == 40);
static_assert(sizeof(struct homa_core_place) == 32);
static_assert(sizeof(struct homa_core_packet_view) == 32);
static_assert(sizeof(struct homa_core_event) == 48);
static_assert(sizeof(struct homa_core_turn) ==
	      104 + HOMA_TURN_EVENTS * sizeof(struct homa_core_event));
static_assert(sizeof(struct homa_core_ask) == 32);
static_assert(sizeof(struct homa_core_standing) == 32);
static_assert(sizeof(struct homa_core_settings) == 48);

void homa_core_default_settings(struct homa_core_settings *settings);
bool homa_core_settings_fit(const struct homa_core_settings *settings);
struct homa_core *homa_core_create(const u64 seed[2],
				   const struct homa_core_settings *settings,
				   bool udp);
void homa_core_destroy(struct homa_core *core);
bool homa_core_is_broken(const struct homa_core *core);

bool homa_core_reserve(struct homa_core *core, u32 rpcs, u32 peers);
int homa_core_open(struct homa_core *core, u16 port, bool accepts);
void homa_core_accept(struct homa_core *core, u16 socket, bool accepts);
void homa_core_close(struct homa_core *core, u64 now, u16 socket);

int homa_core_call(struct homa_core *core, const struct homa_core_ask *ask,
		   const struct homa_core_path *path, u32 length,
		   u32 segment_bytes, u64 *rpc, u64 *id);
int homa_core_reply(struct homa_core *core, const struct homa_core_ask *ask,
		    u64 rpc, u32 length, u32 segment_bytes);
bool homa_core_abort(struct homa_core *core, u64 now, u64 rpc);

void homa_core_packet(struct homa_core *core, const struct homa_core_ask *ask,
		      const struct homa_core_path *path, const u8 *header,
		      u32 header_bytes, u32 packet_bytes, void *context);
void homa_core_unreachable(struct homa_core *core, u64 now,
			   const struct homa_core_path *path,
			   const u8 *offending, u32 offending_bytes, u32 cause,
			   u32 segment_bytes);

void homa_core_turn(struct homa_core *core, const struct homa_core_ask *ask);
void homa_core_timeout(struct homa_core *core, const struct homa_core_ask *ask);
void homa_core_room_again(struct homa_core *core, u64 now);
bool homa_core_counter(struct homa_core *core, u32 index, const u8 **name,
		       u32 *name_bytes, u64 *value);
bool homa_core_standing(struct homa_core *core, u64 rpc,
			struct homa_core_standing *standing);
void homa_core_panic(struct homa_core *core);

struct homa_burst *homa_core_burst_create(void);
void homa_core_burst_destroy(struct homa_burst *burst);
bool homa_core_burst_packet(const struct homa_burst *burst, u32 index,
			    struct homa_core_packet_view *packet);

/* What the core calls. */
bool homa_shim_store(void *context, const struct homa_core_place *place);
int homa_shim_guard(void (*run)(void *), void *argument);
void *homa_shim_alloc(size_t bytes, size_t align);
void *homa_shim_realloc(void *old, size_t bytes, size_t align);
void homa_shim_free(void *old);
void homa_shim_panic(const u8 *text, size_t bytes);

#endif /* _HOMA_CORE_H */
