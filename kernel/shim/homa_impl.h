/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The shim round the protocol engine: sockets, packets and timers of Linux.
 *
 * One lock. Everything of an engine (the core, its RPCs, the lists of its
 * sockets) is protected by homa_engine.lock, taken with bottom halves off.
 * Under it nothing is transmitted, woken or copied, and no memory of a message
 * is freed: homa_engine_finish() gathers what is to be done, drops the lock,
 * and does it.
 *
 * Who holds what:
 *   socket   ← each of its RPCs (until the last reference to that is dropped)
 *   RPC      ← the list of its socket; a thread that copies, waits or wakes
 *   message  ← its RPC; a burst that is being transmitted
 *   engine   ← its namespace; sockets live shorter than that
 *
 * A namespace has an engine for each encapsulation. A socket without RPCs may
 * move from one to the other (homa_port.c): homa_sock_lock() has the lock of
 * the one that it belongs to.
 */
#ifndef _HOMA_IMPL_H
#define _HOMA_IMPL_H

#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/icmpv6.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "homa.h"
#include "homa_compat.h"
#include "homa_core.h"

/* Memory of the messages that a socket sends; SO_SNDBUF changes it. */
#define HOMA_SNDBUF 100000000

/*
 * Bytes of messages that a socket is receiving or has not read; SO_RCVBUF
 * changes it. So many the engine takes for its namespace, so that it asks
 * senders to wait before a socket has to refuse them.
 */
#define HOMA_RCVBUF (64 << 20)

/* Packets in a burst, at most; see the core. */
#define HOMA_BURST_MAX 64

/*
 * Packets that a locked section hands to the stack, and turns of the core that
 * it takes, before the timer takes over.
 */
#define HOMA_TURN_PACKETS 64
#define HOMA_TURN_ROUNDS 16

/*
 * RPCs and peers that an engine always has room for beyond those that it has:
 * softirqs take from it, a worker fills it up when half of it is gone. Who comes
 * faster than the worker has the tables grow in the softirq.
 */
#define HOMA_SPARE_RPCS 256
#define HOMA_SPARE_PEERS 64

/* RPCs of a chunk of the table, a page; and the chunks that the core can fill. */
#define HOMA_RPC_CHUNK (PAGE_SIZE / sizeof(void *))
#define HOMA_RPC_CHUNKS (HOMA_RPCS_MAX / HOMA_RPC_CHUNK)

/**
 * enum homa_link - what packets travel in
 * @HOMA_LINK_IP:  directly in IP, protocol 146
 * @HOMA_LINK_UDP: in UDP datagrams between the ports of Homa
 * @HOMA_LINKS:    how many there are
 */
enum homa_link {
	HOMA_LINK_IP,
	HOMA_LINK_UDP,
	HOMA_LINKS,
};

/**
 * struct homa_pool - the receive region of a socket
 * @lock:    protects the rest but @region and @count, which are set once
 * @region:  first byte, in the memory of the program
 * @count:   pages, 0 without a region
 * @refs:    of each page, how many messages lie in it
 * @free:    the numbers of free pages, a stack
 * @nr_free: how many there are
 * @shared:  the page that takes the ends of messages, or @count
 * @used:    bytes of it that are given out
 */
struct homa_pool {
	spinlock_t lock;
	char __user *region;
	u32 count;
	u32 *refs;
	u32 *free;
	u32 nr_free;
	u32 shared;
	u32 used;
};

/**
 * struct homa_message - a message to be sent
 * @refs:   who needs it
 * @sock:   pays for it
 * @length: its bytes
 * @charge: what they cost
 * @order:  log2 of the pages of a chunk
 * @count:  chunks that it takes; 0: the bytes lie in @bytes
 * @room:   chunks that there are
 * @chunks: the first page of each chunk
 * @bytes:  a message that fits a packet is copied into it, page and all
 */
struct homa_message {
	refcount_t refs;
	struct homa_sock *sock;
	u32 length;
	u32 charge;
	u16 order;
	u16 count;
	u16 room;
	union {
		DECLARE_FLEX_ARRAY(struct page *, chunks);
		DECLARE_FLEX_ARRAY(u8, bytes);
	};
};

/**
 * enum homa_rpc_state - how far an RPC is
 * @HOMA_RPC_UNDER_WAY: the engine works on it
 * @HOMA_RPC_READY:     a message or an error waits for recvmsg
 * @HOMA_RPC_TAKEN:     a thread copies the request
 * @HOMA_RPC_SERVICE:   the program works on the request
 * @HOMA_RPC_DEAD:      it is in no list any more
 */
enum homa_rpc_state {
	HOMA_RPC_UNDER_WAY,
	HOMA_RPC_READY,
	HOMA_RPC_TAKEN,
	HOMA_RPC_SERVICE,
	HOMA_RPC_DEAD,
};

/**
 * struct homa_rpc - an RPC as the shim sees it
 * @refs:      see the top of this file
 * @state:     enum homa_rpc_state
 * @attached:  the core knows it by @key
 * @private:   HOMA_SENDMSG_PRIVATE
 * @forget:    its end interests nobody
 * @waited:    a thread waits for this private RPC
 * @error:     negative errno for recvmsg
 * @sock:      its socket
 * @key:       names it to the core
 * @id:        names it to the program; 0 until a request is complete
 * @cookie:    completion_cookie
 * @peer:      the other end
 * @scope:     interface of a link-local peer
 * @port:      port of the other end
 * @out:       the message that we send
 * @rx:        packets of the message that we receive
 * @rx_length: bytes of it, 0 as long as nothing was stored
 * @rx_cost:   memory that @rx holds
 * @in_sock:   in homa_sock.rpcs; once dead, in the list of who ended it
 * @in_ready:  in homa_sock.ready
 * @next_wake: in homa_turn.wake, which it is at most once in its life
 * @by_id:     in homa_engine.by_id, if @id is not 0
 * @wait:      who waits for this private RPC
 */
struct homa_rpc {
	refcount_t refs;
	u8 state;
	bool attached;
	bool private;
	bool forget;
	bool waited;
	int error;
	struct homa_sock *sock;
	u64 key;
	u64 id;
	u64 cookie;
	struct in6_addr peer;
	u32 scope;
	u16 port;
	struct homa_message *out;
	struct sk_buff_head rx;
	u32 rx_length;
	u32 rx_cost;
	struct list_head in_sock;
	struct list_head in_ready;
	struct homa_rpc *next_wake;
	struct hlist_node by_id;
	wait_queue_head_t wait;
};

/**
 * struct homa_engine - one engine and its lock
 * @lock:    see the top of this file
 * @core:    the engine itself
 * @net:     its namespace
 * @link:    what its packets travel in
 * @ways:    what each processor remembers, see homa_route.c
 * @timer:   wakes the core
 * @armed:   when @timer goes off, KTIME_MAX: not at all
 * @rpcs:    RPCs by the low half of the core's key, in chunks that come when they
 *           are needed and stay
 * @socks:   struct homa_sock by the core's number
 * @by_id:   struct homa_rpc by id
 * @ports:   struct homa_sock by port; read under RCU, too
 * @rpcs_now: how many there are
 * @rpcs_room: how many there may be before tables should grow
 * @refill:  makes room in the tables, and tries what found no memory again
 * @no_memory: for a message that begins there was none
 * @refills: how often it did
 * @given_back: bytes of messages that were received, of which the core is to be
 *           told when its turn comes
 * @given_up: the core broke, and everybody was told
 * @next_port: where the search for a free port begins
 * @tx_errors: packets that could not be made or were refused
 * @rx_refused: packets that found no memory or too dear to keep
 */
struct homa_engine {
	spinlock_t lock;
	struct homa_core *core;
	struct net *net;
	enum homa_link link;
	struct homa_way __percpu *ways;
	struct hrtimer timer;
	u64 armed;
	struct homa_rpc **rpcs[HOMA_RPC_CHUNKS];
	u32 rpcs_now;
	u32 rpcs_room;
	struct delayed_work refill;
	bool no_memory;
	u64 refills;
	struct xarray socks;
	DECLARE_HASHTABLE(by_id, 10);
	DECLARE_HASHTABLE(ports, 8);
	u64 given_back;
	bool given_up;
	u16 next_port;
	atomic64_t tx_errors;
	u64 rx_refused;
};

/**
 * struct homa_sock - a Homa socket
 * @inet:    what every internet socket has; must be first
 * @engine:  that of its namespace and encapsulation; changed by the holder of
 *           the socket's lock under the lock of the old one
 * @udp:     receives its datagrams; the socket's lock protects it
 * @by_port: in homa_engine.ports
 * @port:    its port, in host byte order
 * @index:   its number in the core
 * @server:  requests are accepted
 * @shut:    shut down: everything says ESHUTDOWN
 * @used:    it had an RPC
 * @rpcs:    all its RPCs
 * @ready:   those that wait for recvmsg and are not private
 * @pool:    the receive region
 * @arriving: bytes of the messages that it receives or has not read
 * @wmem:    bytes of memory that its outgoing messages take
 * @starved: somebody waits for some of that to be freed
 * @spares:  memory of messages that were sent, for the next ones: a short one,
 *           and a long one
 * @spare_rpc: that of an RPC that is over, for the next one
 * @destruct: what ends the internet part
 */
struct homa_sock {
	struct inet_sock inet;
	struct homa_engine *engine;
	struct socket *udp;
	struct hlist_node by_port;
	u16 port;
	u16 index;
	bool server;
	bool shut;
	bool used;
	struct list_head rpcs;
	struct list_head ready;
	struct homa_pool pool;
	u32 arriving;
	atomic_t wmem;
	bool starved;
	struct homa_message *spares[2];
	struct homa_rpc *spare_rpc;
	void (*destruct)(struct sock *sk);
};

/* The same with what IPv6 needs behind it. */
struct homa6_sock {
	struct homa_sock homa;
	struct ipv6_pinfo inet6;
};

/* Where the payload of a kept packet belongs, in skb->cb. */
struct homa_cb {
	u32 offset;
	u32 length;
	u32 header_bytes;
};

#define HOMA_CB(skb) ((struct homa_cb *)(skb)->cb)

/* The level of short messages, mostly. */
#define HOMA_PRIORITY_TOP 6

/*
 * A DATA header, its type and where that stands, the length of the message, and
 * the offset of the payload: twice.
 */
#define HOMA_DATA_HEADER 56
#define HOMA_TYPE_DATA 0x10
#define HOMA_TYPE_AT 11
#define HOMA_LENGTH_AT 28
#define HOMA_SEQUENCE_AT 4
#define HOMA_OFFSET_AT 52

/* Where the checksum stands: Homa's header is laid over that of TCP. */
#define HOMA_CHECKSUM_AT 16

/**
 * struct homa_way_key - what a way is remembered by
 * @peer:      where it leads
 * @local:     the address that it comes from, :: for what the route says
 * @scope:     interface of a link-local peer, else 0
 * @mark:      that of the socket
 * @oif:       the interface that the socket is bound to
 * @uid:       whose the socket is
 * @peer_port: the peer's port
 * @port:      ours
 * @tos:       traffic class, of IPv6 only
 * @pad:       0
 */
struct homa_way_key {
	struct in6_addr peer;
	struct in6_addr local;
	u32 scope;
	u32 mark;
	int oif;
	kuid_t uid;
	__be16 peer_port;
	__be16 port;
	u8 tos;
	u8 pad[3];
} __aligned(sizeof(u64));

/**
 * struct homa_way - how packets reach a peer
 * @key:    what it is remembered by
 * @dst:    the route, with a reference; NULL: none
 * @cookie: whether the route is still good
 * @v4:     of an IPv4 peer
 * @v6:     of an IPv6 peer
 * @is_v4:  which of them
 * @link:   what they travel in
 */
struct homa_way {
	struct homa_way_key key;
	struct dst_entry *dst;
	u32 cookie;
	union {
		struct flowi4 v4;
		struct flowi6 v6;
	};
	bool is_v4;
	enum homa_link link;
};

/**
 * struct homa_arrival - the packet that homa_core_packet() works on
 * @sock: the socket of its port
 * @skb:  the packet
 * @kept: it belongs to an RPC now
 */
struct homa_arrival {
	struct homa_sock *sock;
	struct sk_buff *skb;
	bool kept;
};

/**
 * struct homa_turn - what a locked section leaves to be done without the lock
 * @wake:    RPCs of which a thread is to be told, linked by next_wake, with a
 *           reference each
 * @dead:    RPCs that ended, linked by in_sock, with a reference each
 * @freed:   packets that nobody needs
 */
struct homa_turn {
	struct homa_rpc *wake;
	struct list_head dead;
	struct sk_buff_head freed;
};

static inline struct homa_sock *homa_sk(const struct sock *sk)
{
	return (struct homa_sock *)sk;
}

static inline struct sock *homa_sock_sk(struct homa_sock *hs)
{
	return &hs->inet.sk;
}

/* Bytes of the header of UDP before that of Homa. */
static inline u32 homa_udp_header(enum homa_link link)
{
	return link == HOMA_LINK_UDP ? sizeof(struct udphdr) : 0;
}

static inline u8 homa_protocol(enum homa_link link)
{
	return link == HOMA_LINK_UDP ? IPPROTO_UDP : IPPROTO_HOMA;
}

/* Switches read the level from the first three bits of the traffic class. */
static inline u8 homa_traffic_class(u8 priority)
{
	return priority << 5;
}

static inline u32 homa_ip_header(const struct homa_way *way)
{
	return way->is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Bytes of all headers between the frame's and Homa's. */
static inline u32 homa_way_headers(const struct homa_way *way)
{
	return homa_ip_header(way) + homa_udp_header(way->link);
}

static inline bool homa_is_client(u64 id)
{
	return !(id & 1);
}

/* homa_engine.c */
struct homa_engine *homa_engine_create(struct net *net, enum homa_link link,
				       const struct homa_core_settings *settings);
void homa_engine_destroy(struct homa_engine *engine);
void homa_engine_lock(struct homa_engine *engine)
	__acquires(&engine->lock);
void homa_engine_ask(struct homa_engine *engine, struct homa_core_ask *ask);
void homa_engine_finish(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock);
void homa_engine_settle(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock);
void homa_engine_unlock(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock);
int homa_bursts_init(void);
void homa_bursts_exit(void);

/* homa_rpc.c */
int homa_rpc_init(void);
void homa_rpc_exit(void);
struct homa_rpc *homa_rpc_create(struct homa_sock *hs, gfp_t gfp);
void homa_rpc_hold(struct homa_rpc *rpc);
void homa_rpc_put(struct homa_rpc *rpc);
void homa_rpc_drop_spare(struct homa_sock *hs);
void homa_rpc_table_reserve(struct homa_engine *engine, u32 count);
void homa_rpc_table_destroy(struct homa_engine *engine);
int homa_rpc_attach(struct homa_rpc *rpc, u64 key);
void homa_rpc_name(struct homa_rpc *rpc, u64 id);
struct homa_rpc *homa_rpc_of(struct homa_engine *engine, u64 key);
struct homa_rpc *homa_rpc_find(struct homa_sock *hs, u64 id,
			       const struct in6_addr *peer, u16 port);
void homa_rpc_kill(struct homa_rpc *rpc, struct homa_turn *turn);
void homa_rpc_uncharge(struct homa_rpc *rpc);
void homa_turn_init(struct homa_turn *turn);
void homa_rpc_event(struct homa_engine *engine,
		    const struct homa_core_event *event,
		    struct homa_turn *turn);

/* homa_message.c */
struct homa_message *homa_message_copy(struct homa_sock *hs,
				       struct msghdr *msg, size_t length);
void homa_message_put(struct homa_message *message);
void homa_message_drop_spares(struct homa_sock *hs);
int homa_message_add_to(const struct homa_message *message, u32 offset,
			u32 length, struct sk_buff *skb);
int homa_message_write(const struct homa_message *message, u32 offset,
		       u32 length, struct sk_buff *skb, u32 at);
u32 homa_message_linear(const struct homa_message *message, u32 length);

/* homa_pool.c */
void homa_pool_init(struct homa_pool *pool);
int homa_pool_set(struct homa_pool *pool, const struct homa_rcvbuf_args *args);
void homa_pool_destroy(struct homa_pool *pool);
bool homa_pool_take(struct homa_pool *pool, u32 length, u32 *offsets,
		    u32 *count);
bool homa_pool_has_room(struct homa_pool *pool, u32 length);
int homa_pool_give_back(struct homa_pool *pool, const u32 *offsets, u32 count);
u64 homa_pool_free_bytes(struct homa_pool *pool);

/* homa_port.c */
struct homa_sock *homa_sock_lookup(struct homa_engine *engine, u16 port);
void homa_sock_lock(struct homa_sock *hs)
	__acquires(&hs->engine->lock);
int homa_port_claim(struct homa_sock *hs, u16 port);
void homa_port_close(struct homa_sock *hs);
int homa_port_bind(struct homa_sock *hs, u16 port);
int homa_sock_move(struct homa_sock *hs, enum homa_link link);

/* homa_udp.c */
struct socket *homa_udp_open(struct homa_sock *hs, u16 port);
void homa_udp_close(struct socket *udp);

/* homa_route.c */
struct homa_way __percpu *homa_ways_create(void);
void homa_ways_destroy(struct homa_way __percpu *ways);
const struct homa_way *homa_way_find(struct homa_engine *engine,
				     struct sock *sk,
				     const struct homa_core_path *path,
				     __be16 port, u8 priority);
u32 homa_segment_bytes(struct homa_sock *hs, const struct in6_addr *peer,
		       u32 scope, u16 port, int *error);

/* homa_offload.c */
void homa_join(struct sk_buff *skb, u32 bytes, u32 segments);
void homa_mark_inner(struct sk_buff *skb, int at);
void homa_sum_from(struct sk_buff *skb, int at);
__sum16 homa_pseudo(const struct sk_buff *skb, u32 length, bool is_v4);
int homa_offload_init(void);
void homa_offload_exit(void);

/* homa_gather.c */
struct sk_buff *homa_gather(struct list_head *head, struct sk_buff *skb);
int homa_gathered_v4(struct sk_buff *skb, int at);
int homa_gathered_v6(struct sk_buff *skb, int at);
struct sk_buff *homa_gather_udp(struct sock *sk, struct list_head *head,
				struct sk_buff *skb);
int homa_gathered_udp(struct sock *sk, struct sk_buff *skb, int at);

/* homa_output.c */
void homa_send_burst(struct homa_engine *engine, struct homa_sock *hs,
		     const struct homa_core_turn *wanted,
		     const struct homa_burst *burst,
		     struct homa_message *const *messages);

/* homa_input.c */
void homa_arrive(struct homa_sock *hs, struct sk_buff *skb, bool is_v4,
		 u16 peer_port);
int homa_error_v4(struct sk_buff *skb, u32 at, u32 info, enum homa_link link);
int homa_error_v6(struct sk_buff *skb, u32 at, const struct icmp6hdr *icmp,
		  enum homa_link link);
int homa_input_init(void);
void homa_input_exit(void);

/* homa_receive.c */
int homa_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags,
		 int *addr_len);

/* homa_send.c */
int homa_sendmsg(struct sock *sk, struct msghdr *msg, size_t len);

/* homa_ioctl.c */
int homa_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);

/* homa_socket.c */
int homa_socket_init(void);
void homa_socket_exit(void);
bool homa_sock_has_room(struct homa_sock *hs);
void homa_sockaddr_write(const struct sock *sk, const struct in6_addr *addr,
			 u32 scope, u16 port, void *to, int *length);

/**
 * struct homa_sysctl - the sysctls of a namespace
 * @settings: what the engine will be told
 * @table:    this namespace's copy of the table
 * @header:   as it is registered
 * @net:      the namespace
 */
struct homa_sysctl {
	struct homa_core_settings settings;
	struct ctl_table *table;
	struct ctl_table_header *header;
	struct net *net;
};

/* homa_sysctl.c */
int homa_sysctl_init(struct homa_sysctl *sysctl, struct net *net);
void homa_sysctl_exit(struct homa_sysctl *sysctl);

/* homa_proc.c */
int homa_proc_init(struct net *net);
void homa_proc_exit(struct net *net);

/* homa_module.c */
int homa_engine_unless(struct net *net, int (*change)(void *), void *argument);
struct homa_engine *homa_engine_of(struct net *net, enum homa_link link);
struct homa_engine *homa_engine_get(struct net *net, enum homa_link link);

#endif /* _HOMA_IMPL_H */
