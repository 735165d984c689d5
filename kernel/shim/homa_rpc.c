// SPDX-License-Identifier: GPL-2.0
/*
 * RPCs as the shim sees them, and what the core's events change in them. All of
 * it runs under the engine's lock but creating and dropping the last reference.
 */
#include <linux/slab.h>

#include "homa_impl.h"
#include "homa_platform.h"

/* The low half of a key is dense: the place of the RPC in the core's table. */
#define HOMA_KEY_INDEX(key) ((u32)(key))

/* Memory that a message may hold beyond four times its bytes: one packet's. */
#define HOMA_RX_SLACK 4096

static struct kmem_cache *homa_rpc_cache;

int homa_rpc_init(void)
{
	homa_rpc_cache = KMEM_CACHE(homa_rpc, SLAB_ACCOUNT);
	return homa_rpc_cache ? 0 : -ENOMEM;
}

void homa_rpc_exit(void)
{
	kmem_cache_destroy(homa_rpc_cache);
}

struct homa_rpc *homa_rpc_create(struct homa_sock *hs, gfp_t gfp)
{
	struct homa_rpc *rpc = NULL;

	if (homa_test_refuses())
		return NULL;
	if (READ_ONCE(hs->spare_rpc))
		rpc = xchg(&hs->spare_rpc, NULL);
	if (rpc)
		memset(rpc, 0, sizeof(*rpc));
	else
		rpc = kmem_cache_zalloc(homa_rpc_cache, gfp);
	if (!rpc)
		return NULL;
	refcount_set(&rpc->refs, 1);
	sock_hold(homa_sock_sk(hs));
	rpc->sock = hs;
	__skb_queue_head_init(&rpc->rx);
	INIT_LIST_HEAD(&rpc->in_sock);
	INIT_LIST_HEAD(&rpc->in_ready);
	INIT_HLIST_NODE(&rpc->by_id);
	init_waitqueue_head(&rpc->wait);
	return rpc;
}

void homa_rpc_hold(struct homa_rpc *rpc)
{
	refcount_inc(&rpc->refs);
}

/* Not under the lock: the last reference takes packets and message along. */
void homa_rpc_put(struct homa_rpc *rpc)
{
	struct homa_sock *hs = rpc->sock;

	if (!refcount_dec_and_test(&rpc->refs))
		return;
	__skb_queue_purge(&rpc->rx);
	homa_message_put(rpc->out);
	rpc = xchg(&hs->spare_rpc, rpc);
	if (rpc)
		kmem_cache_free(homa_rpc_cache, rpc);
	sock_put(homa_sock_sk(hs));
}

/* The socket makes no more. */
void homa_rpc_drop_spare(struct homa_sock *hs)
{
	if (hs->spare_rpc)
		kmem_cache_free(homa_rpc_cache, hs->spare_rpc);
}

/* Where the table has the RPC of this key, NULL if it has no such place. */
static struct homa_rpc **homa_rpc_place(const struct homa_engine *engine,
					u64 key)
{
	u32 chunk = HOMA_KEY_INDEX(key) / HOMA_RPC_CHUNK;

	if (chunk >= HOMA_RPC_CHUNKS || !engine->rpcs[chunk])
		return NULL;
	return &engine->rpcs[chunk][HOMA_KEY_INDEX(key) % HOMA_RPC_CHUNK];
}

/* Makes the table one of @count places, as far as there is memory. */
void homa_rpc_table_reserve(struct homa_engine *engine, u32 count)
{
	const gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN | __GFP_ACCOUNT;
	u32 chunks = DIV_ROUND_UP(count, HOMA_RPC_CHUNK);
	u32 i;

	for (i = 0; i < min_t(u32, chunks, HOMA_RPC_CHUNKS); i++) {
		if (!engine->rpcs[i])
			engine->rpcs[i] = kcalloc(HOMA_RPC_CHUNK,
						  sizeof(*engine->rpcs[i]),
						  gfp);
	}
}

/* The place of an RPC that is new, if there is one. */
static struct homa_rpc **homa_rpc_new_place(struct homa_engine *engine,
					    u64 key)
{
	homa_rpc_table_reserve(engine, HOMA_KEY_INDEX(key) + 1);
	return homa_rpc_place(engine, key);
}

void homa_rpc_table_destroy(struct homa_engine *engine)
{
	u32 i;

	for (i = 0; i < HOMA_RPC_CHUNKS; i++)
		kfree(engine->rpcs[i]);
}

/* Joins an RPC with that of the core; its creator's reference is the list's. */
int homa_rpc_attach(struct homa_rpc *rpc, u64 key)
{
	struct homa_sock *hs = rpc->sock;
	struct homa_rpc **place = homa_rpc_place(hs->engine, key);

	if (unlikely(!place))
		place = homa_rpc_new_place(hs->engine, key);
	if (!place)
		return -ENOMEM;
	*place = rpc;
	hs->engine->rpcs_now++;
	rpc->key = key;
	rpc->attached = true;
	hs->used = true;
	list_add_tail(&rpc->in_sock, &hs->rpcs);
	return 0;
}

static void homa_rpc_detach(struct homa_rpc *rpc)
{
	if (!rpc->attached)
		return;
	rpc->attached = false;
	*homa_rpc_place(rpc->sock->engine, rpc->key) = NULL;
	rpc->sock->engine->rpcs_now--;
}

/* From now on the program can name it. */
void homa_rpc_name(struct homa_rpc *rpc, u64 id)
{
	rpc->id = id;
	hash_add(rpc->sock->engine->by_id, &rpc->by_id, id);
}

/* The RPC that the core knows by @key. */
struct homa_rpc *homa_rpc_of(struct homa_engine *engine, u64 key)
{
	struct homa_rpc **place = homa_rpc_place(engine, key);

	return place && *place && (*place)->key == key ? *place : NULL;
}

/* The RPC that a program names; clients of two hosts may use the same id. */
struct homa_rpc *homa_rpc_find(struct homa_sock *hs, u64 id,
			       const struct in6_addr *peer, u16 port)
{
	struct homa_rpc *rpc;

	hash_for_each_possible(hs->engine->by_id, rpc, by_id, id) {
		if (rpc->id != id || rpc->sock != hs)
			continue;
		if (peer && (rpc->port != port ||
			     !ipv6_addr_equal(&rpc->peer, peer)))
			continue;
		return rpc;
	}
	return NULL;
}

void homa_turn_init(struct homa_turn *turn)
{
	turn->wake = NULL;
	INIT_LIST_HEAD(&turn->dead);
	__skb_queue_head_init(&turn->freed);
}

/*
 * Has the socket pay for a packet with its memory, which is that of the
 * program's control group, and for the message of @begins bytes of which it is
 * the first one. False: it may not.
 */
static bool homa_sock_charge(struct homa_sock *hs, struct sk_buff *skb,
			     u32 begins)
{
	struct sock *sk = homa_sock_sk(hs);

	/* One message is always taken: a limit below its length is no bar. */
	if (begins && hs->arriving &&
	    hs->arriving + begins > READ_ONCE(sk->sk_rcvbuf))
		return false;
	if (!sk_rmem_schedule(sk, skb, skb->truesize)) {
		/* Nobody tells when there is some, as a program that reads. */
		hs->engine->no_memory |= begins > 0;
		return false;
	}
	sk_mem_charge(sk, skb->truesize);
	atomic_add(skb->truesize, &sk->sk_rmem_alloc);
	hs->arriving += begins;
	return true;
}

static void homa_sock_uncharge(struct homa_sock *hs, u32 cost, u32 length)
{
	struct sock *sk = homa_sock_sk(hs);

	hs->arriving -= length;
	atomic_sub(cost, &sk->sk_rmem_alloc);
	sk_mem_uncharge(sk, cost);
}

/* The received message is the socket's no more. */
void homa_rpc_uncharge(struct homa_rpc *rpc)
{
	homa_sock_uncharge(rpc->sock, rpc->rx_cost, rpc->rx_length);
	rpc->rx_length = 0;
	rpc->rx_cost = 0;
}

/* The received message will not be read: its packets and its budget go back. */
static void homa_rpc_discard(struct homa_rpc *rpc, struct homa_turn *turn)
{
	struct homa_engine *engine = rpc->sock->engine;

	if (!rpc->rx_length || rpc->state == HOMA_RPC_TAKEN)
		return;
	skb_queue_splice_tail_init(&rpc->rx, &turn->freed);
	engine->given_back += rpc->rx_length;
	homa_rpc_uncharge(rpc);
}

/* Takes an RPC out of every list. Nobody finds it any more. */
void homa_rpc_kill(struct homa_rpc *rpc, struct homa_turn *turn)
{
	if (rpc->state == HOMA_RPC_DEAD)
		return;
	homa_rpc_detach(rpc);
	homa_rpc_discard(rpc, turn);
	rpc->state = HOMA_RPC_DEAD;
	hash_del(&rpc->by_id);
	list_del_init(&rpc->in_ready);
	list_move_tail(&rpc->in_sock, &turn->dead);
}

static void homa_rpc_wake(struct homa_rpc *rpc, struct homa_turn *turn)
{
	homa_rpc_hold(rpc);
	rpc->next_wake = turn->wake;
	turn->wake = rpc;
}

/* There is something for recvmsg. */
static void homa_rpc_ready(struct homa_rpc *rpc, struct homa_turn *turn)
{
	rpc->state = HOMA_RPC_READY;
	if (!rpc->private)
		list_add_tail(&rpc->in_ready, &rpc->sock->ready);
	homa_rpc_wake(rpc, turn);
}

static void homa_rpc_request(struct homa_engine *engine, struct homa_rpc *rpc,
			     const struct homa_core_event *event,
			     struct homa_turn *turn)
{
	rpc->peer = event->peer;
	rpc->scope = event->scope;
	rpc->port = event->peer_port;
	homa_rpc_name(rpc, event->id);
	homa_rpc_ready(rpc, turn);
}

static void homa_rpc_over(struct homa_rpc *rpc, int error,
			  struct homa_turn *turn)
{
	homa_rpc_detach(rpc);
	if (error) {
		homa_rpc_discard(rpc, turn);
		rpc->error = rpc->error ?: error;
	}
	if (!rpc->forget && !rpc->sock->shut) {
		homa_rpc_ready(rpc, turn);
		return;
	}
	homa_rpc_kill(rpc, turn);
}

/* Does what the core's event says. */
void homa_rpc_event(struct homa_engine *engine,
		    const struct homa_core_event *event,
		    struct homa_turn *turn)
{
	struct homa_rpc *rpc = homa_rpc_of(engine, event->rpc);

	/* An RPC of which nothing was ever kept ends without a sign. */
	if (!rpc)
		return;
	switch (event->kind) {
	case HOMA_EVENT_REQUEST:
		homa_rpc_request(engine, rpc, event, turn);
		break;
	case HOMA_EVENT_RESPONSE:
		homa_rpc_over(rpc, 0, turn);
		break;
	case HOMA_EVENT_FAILED:
		homa_rpc_over(rpc, event->error, turn);
		break;
	default:
		homa_rpc_kill(rpc, turn);
	}
}

/* A request begins. */
static struct homa_rpc *homa_rpc_accept(struct homa_sock *hs, u64 key)
{
	struct homa_rpc *rpc = homa_rpc_create(hs, GFP_ATOMIC | __GFP_NOWARN);

	if (!rpc)
		return NULL;
	if (homa_rpc_attach(rpc, key)) {
		/* Nothing hangs on it yet: this frees it and does no more. */
		homa_rpc_put(rpc);
		return NULL;
	}
	return rpc;
}

/*
 * The core's question in the middle of homa_core_packet(): will the packet be
 * kept? What a message may hold is bounded by its memory, not by its bytes, or
 * packets with one byte each would hold a thousand times as much as they bring.
 */
bool homa_shim_store(void *context, const struct homa_core_place *place)
{
	struct homa_arrival *arrival = context;
	struct homa_sock *hs = arrival->sock;
	struct sk_buff *skb = arrival->skb;
	struct homa_rpc *rpc = homa_rpc_of(hs->engine, place->rpc);
	u32 length = place->message_length;
	u32 begins = place->is_new ? length : 0;

	if (!rpc && !begins)
		goto refuse;
	if (rpc && rpc->rx_cost > 4 * length + HOMA_RX_SLACK)
		goto refuse;
	if (!homa_sock_charge(hs, skb, begins))
		goto refuse;
	if (!rpc)
		rpc = homa_rpc_accept(hs, place->rpc);
	if (!rpc) {
		homa_sock_uncharge(hs, skb->truesize, begins);
		hs->engine->no_memory |= begins > 0;
		goto refuse;
	}
	rpc->rx_length = length;
	rpc->rx_cost += skb->truesize;
	*HOMA_CB(skb) = (struct homa_cb) {
		.offset = place->offset,
		.length = place->length,
		.header_bytes = place->header_bytes,
	};
	__skb_queue_tail(&rpc->rx, skb);
	arrival->kept = true;
	return true;
refuse:
	hs->engine->rx_refused++;
	return false;
}
