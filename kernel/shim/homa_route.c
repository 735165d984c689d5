// SPDX-License-Identifier: GPL-2.0
/*
 * The way to a peer: route, addresses, and what a packet can carry on it. Each
 * processor remembers those that it used, so that packets to the same peer ask
 * the routing tables once, until something changes in them.
 */
#include <linux/hash.h>
#include <linux/percpu.h>
#include <linux/security.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "homa_impl.h"

/* Payload of a packet, at most: it fits an IP packet with all headers. */
#define HOMA_SEGMENT_MAX 60000

/* Ways that a processor remembers; a way has one place, by its ends. */
#define HOMA_WAYS_BITS 3
#define HOMA_WAYS (1 << HOMA_WAYS_BITS)

struct homa_way __percpu *homa_ways_create(void)
{
	return __alloc_percpu_gfp(HOMA_WAYS * sizeof(struct homa_way),
				  __alignof__(struct homa_way),
				  GFP_KERNEL_ACCOUNT | __GFP_ZERO);
}

void homa_ways_destroy(struct homa_way __percpu *ways)
{
	int cpu, i;

	for_each_possible_cpu(cpu)
		for (i = 0; i < HOMA_WAYS; i++)
			dst_release(per_cpu_ptr(ways, cpu)[i].dst);
	free_percpu(ways);
}

static int homa_route_v4(struct homa_way *way, struct homa_engine *engine,
			 struct sock *sk)
{
	const struct homa_way_key *key = &way->key;
	struct flowi4 *fl4 = &way->v4;
	struct rtable *rt;

	memset(fl4, 0, sizeof(*fl4));
	fl4->daddr = key->peer.s6_addr32[3];
	if (!ipv6_addr_any(&key->local))
		fl4->saddr = key->local.s6_addr32[3];
	fl4->flowi4_proto = homa_protocol(engine->link);
	fl4->fl4_sport = key->port;
	fl4->fl4_dport = key->peer_port;
	fl4->flowi4_uid = key->uid;
	fl4->flowi4_oif = key->oif;
	fl4->flowi4_mark = key->mark;
	if (sk)
		security_sk_classify_flow(sk, flowi4_to_flowi_common(fl4));
	rt = ip_route_output_flow(engine->net, fl4, sk);
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	/* As UDP without SO_BROADCAST; to groups Homa has nothing to say. */
	if (rt->rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST)) {
		ip_rt_put(rt);
		return -EACCES;
	}
	way->dst = &rt->dst;
	way->cookie = 0;
	return 0;
}

static int homa_route_v6(struct homa_way *way, struct homa_engine *engine,
			 struct sock *sk)
{
	const struct homa_way_key *key = &way->key;
	struct flowi6 *fl6 = &way->v6;
	struct dst_entry *dst;

	if (ipv6_addr_is_multicast(&key->peer))
		return -EACCES;
	memset(fl6, 0, sizeof(*fl6));
	fl6->daddr = key->peer;
	fl6->saddr = key->local;
	fl6->flowi6_proto = homa_protocol(engine->link);
	fl6->fl6_sport = key->port;
	fl6->fl6_dport = key->peer_port;
	fl6->flowi6_oif = key->scope ?: key->oif;
	fl6->flowlabel = ip6_make_flowinfo(key->tos, 0);
	fl6->flowi6_uid = key->uid;
	fl6->flowi6_mark = key->mark;
	if (sk)
		security_sk_classify_flow(sk, flowi6_to_flowi_common(fl6));
	dst = ip6_dst_lookup_flow(engine->net, sk, fl6, NULL);
	if (IS_ERR(dst))
		return PTR_ERR(dst);
	way->dst = dst;
	way->cookie = rt6_get_cookie(dst_rt6_info(dst));
	return 0;
}

static void homa_way_key(struct homa_way_key *key, struct homa_engine *engine,
			 const struct sock *sk,
			 const struct homa_core_path *path, __be16 port,
			 u8 priority)
{
	/* Compared as numbers, so there are no holes. */
	*key = (struct homa_way_key) {
		.peer = path->peer,
		.local = path->local,
		.scope = path->scope,
		.uid = sock_net_uid(engine->net, sk),
		.peer_port = htons(path->peer_port),
		.port = port,
	};
	/* What IPv4 looks at of the class is not where the level stands. */
	if (!ipv6_addr_v4mapped(&path->peer))
		key->tos = homa_traffic_class(priority);
	if (sk) {
		key->mark = READ_ONCE(sk->sk_mark);
		key->oif = READ_ONCE(sk->sk_bound_dev_if);
	}
}

static bool homa_same_way(const struct homa_way_key *a,
			  const struct homa_way_key *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;
	u64 difference = 0;
	u32 i;

	BUILD_BUG_ON(sizeof(*a) % sizeof(*x));
	for (i = 0; i < sizeof(*a) / sizeof(*x); i++)
		difference |= x[i] ^ y[i];
	return !difference;
}

/* The place of a way among those of this processor. */
static struct homa_way *homa_way_place(struct homa_engine *engine,
				       const struct homa_way_key *key)
{
	u32 ends = (__force u32)key->peer.s6_addr32[3] ^
		   ((__force u32)key->local.s6_addr32[3] >> 1) ^
		   ((__force u32)key->peer_port << 16) ^
		   (__force u32)key->port ^ ((u32)key->tos << 8);

	return this_cpu_ptr(engine->ways) + hash_32(ends, HOMA_WAYS_BITS);
}

/*
 * The way from our port @port to a peer; it stays as long as bottom halves,
 * which are off, do. @sk may be NULL: the socket is closed.
 */
const struct homa_way *homa_way_find(struct homa_engine *engine,
				     struct sock *sk,
				     const struct homa_core_path *path,
				     __be16 port, u8 priority)
{
	struct homa_way_key key;
	struct homa_way *way;
	int err;

	homa_way_key(&key, engine, sk, path, port, priority);
	way = homa_way_place(engine, &key);
	if (way->dst && homa_same_way(&way->key, &key) &&
	    dst_check(way->dst, way->cookie))
		return way;
	dst_release(way->dst);
	way->dst = NULL;
	way->key = key;
	way->link = engine->link;
	way->is_v4 = ipv6_addr_v4mapped(&key.peer);
	err = way->is_v4 ? homa_route_v4(way, engine, sk) :
			   homa_route_v6(way, engine, sk);
	return err ? ERR_PTR(err) : way;
}

/* Payload that a packet to @peer can carry; 0 and an error without a way. */
u32 homa_segment_bytes(struct homa_sock *hs, const struct in6_addr *peer,
		       u32 scope, u16 port, int *error)
{
	struct homa_core_path path = {
		.peer = *peer,
		.scope = scope,
		.peer_port = port,
	};
	const struct homa_way *way;
	u32 mtu = 0, headers = 0;

	local_bh_disable();
	way = homa_way_find(READ_ONCE(hs->engine), homa_sock_sk(hs), &path,
			    htons(hs->port), HOMA_PRIORITY_TOP);
	*error = PTR_ERR_OR_ZERO(way);
	if (!*error) {
		mtu = dst_mtu(way->dst);
		headers = homa_way_headers(way) + HOMA_DATA_HEADER;
	}
	local_bh_enable();
	if (*error)
		return 0;
	if (mtu <= headers) {
		*error = -EINVAL;
		return 0;
	}
	return min_t(u32, mtu - headers, HOMA_SEGMENT_MAX);
}
