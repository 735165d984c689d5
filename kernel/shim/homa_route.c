// SPDX-License-Identifier: GPL-2.0
/*
 * The way to a peer: route, addresses, and what a packet can carry on it.
 */
#include <linux/security.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "homa_impl.h"

/* Payload of a packet, at most: it fits an IP packet with all headers. */
#define HOMA_SEGMENT_MAX 60000

static int homa_way_v4(struct homa_way *way, struct homa_engine *engine,
		       struct sock *sk, const struct homa_core_path *path,
		       __be16 port, u8 tos)
{
	struct flowi4 *fl4 = &way->v4;
	struct rtable *rt;

	memset(fl4, 0, sizeof(*fl4));
	fl4->daddr = path->peer.s6_addr32[3];
	if (!ipv6_addr_any(&path->local))
		fl4->saddr = path->local.s6_addr32[3];
	fl4->flowi4_proto = homa_protocol(engine->link);
	fl4->fl4_sport = port;
	fl4->fl4_dport = htons(path->peer_port);
	fl4->flowi4_tos = RT_TOS(tos);
	fl4->flowi4_uid = sock_net_uid(engine->net, sk);
	if (sk) {
		fl4->flowi4_oif = sk->sk_bound_dev_if;
		fl4->flowi4_mark = sk->sk_mark;
		security_sk_classify_flow(sk, flowi4_to_flowi_common(fl4));
	}
	rt = ip_route_output_flow(engine->net, fl4, sk);
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	/* As UDP without SO_BROADCAST; to groups Homa has nothing to say. */
	if (rt->rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST)) {
		ip_rt_put(rt);
		return -EACCES;
	}
	way->dst = &rt->dst;
	return 0;
}

static int homa_way_v6(struct homa_way *way, struct homa_engine *engine,
		       struct sock *sk, const struct homa_core_path *path,
		       __be16 port, u8 tclass)
{
	struct flowi6 *fl6 = &way->v6;
	struct dst_entry *dst;

	if (ipv6_addr_is_multicast(&path->peer))
		return -EACCES;
	memset(fl6, 0, sizeof(*fl6));
	fl6->daddr = path->peer;
	fl6->saddr = path->local;
	fl6->flowi6_proto = homa_protocol(engine->link);
	fl6->fl6_sport = port;
	fl6->fl6_dport = htons(path->peer_port);
	fl6->flowi6_oif = path->scope;
	fl6->flowlabel = ip6_make_flowinfo(tclass, 0);
	fl6->flowi6_uid = sock_net_uid(engine->net, sk);
	if (sk) {
		if (!fl6->flowi6_oif)
			fl6->flowi6_oif = sk->sk_bound_dev_if;
		fl6->flowi6_mark = sk->sk_mark;
		security_sk_classify_flow(sk, flowi6_to_flowi_common(fl6));
	}
	dst = ip6_dst_lookup_flow(engine->net, sk, fl6, NULL);
	if (IS_ERR(dst))
		return PTR_ERR(dst);
	way->dst = dst;
	return 0;
}

/*
 * Finds the way from our port @port to a peer; whoever uses it releases its
 * route. @sk may be NULL: the socket is closed.
 */
int homa_way_find(struct homa_way *way, struct homa_engine *engine,
		  struct sock *sk, const struct homa_core_path *path,
		  __be16 port, u8 priority)
{
	u8 tos = homa_traffic_class(priority);

	way->link = engine->link;
	way->is_v4 = ipv6_addr_v4mapped(&path->peer);
	return way->is_v4 ? homa_way_v4(way, engine, sk, path, port, tos) :
			    homa_way_v6(way, engine, sk, path, port, tos);
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
	struct homa_way way;
	u32 mtu, headers;

	*error = homa_way_find(&way, READ_ONCE(hs->engine), homa_sock_sk(hs),
			       &path, htons(hs->port), 0);
	if (*error)
		return 0;
	mtu = dst_mtu(way.dst);
	headers = homa_way_headers(&way) + HOMA_DATA_HEADER;
	dst_release(way.dst);
	if (mtu <= headers) {
		*error = -EINVAL;
		return 0;
	}
	return min_t(u32, mtu - headers, HOMA_SEGMENT_MAX);
}
