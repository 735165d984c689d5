// SPDX-License-Identifier: GPL-2.0
/*
 * From bursts to packets of IP protocol 146.
 */
#include <linux/security.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "homa_impl.h"

/* Where the checksum stands: Homa's header is laid over that of TCP. */
#define HOMA_CHECKSUM_AT 16

/* A DATA header. */
#define HOMA_DATA_HEADER 56

/* Payload of a packet, at most: it fits an IP packet with all headers. */
#define HOMA_SEGMENT_MAX 60000

/**
 * struct homa_way - how packets reach a peer
 * @dst:   the route, with a reference
 * @v4:    of an IPv4 peer
 * @v6:    of an IPv6 peer
 * @is_v4: which of them
 */
struct homa_way {
	struct dst_entry *dst;
	union {
		struct flowi4 v4;
		struct flowi6 v6;
	};
	bool is_v4;
};

/* Switches read the level from the first three bits of the traffic class. */
static u8 homa_traffic_class(u8 priority)
{
	return priority << 5;
}

static int homa_way_v4(struct homa_way *way, struct homa_engine *engine,
		       struct sock *sk, const struct homa_core_path *path,
		       u8 tos)
{
	struct flowi4 *fl4 = &way->v4;
	struct rtable *rt;

	memset(fl4, 0, sizeof(*fl4));
	fl4->daddr = path->peer.s6_addr32[3];
	if (!ipv6_addr_any(&path->local))
		fl4->saddr = path->local.s6_addr32[3];
	fl4->flowi4_proto = IPPROTO_HOMA;
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
		       u8 tclass)
{
	struct flowi6 *fl6 = &way->v6;
	struct dst_entry *dst;

	if (ipv6_addr_is_multicast(&path->peer))
		return -EACCES;
	memset(fl6, 0, sizeof(*fl6));
	fl6->daddr = path->peer;
	fl6->saddr = path->local;
	fl6->flowi6_proto = IPPROTO_HOMA;
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

static int homa_way_find(struct homa_way *way, struct homa_engine *engine,
			 struct sock *sk, const struct homa_core_path *path,
			 u8 priority)
{
	u8 tos = homa_traffic_class(priority);

	way->is_v4 = ipv6_addr_v4mapped(&path->peer);
	return way->is_v4 ? homa_way_v4(way, engine, sk, path, tos) :
			    homa_way_v6(way, engine, sk, path, tos);
}

static u32 homa_ip_header(const struct homa_way *way)
{
	return way->is_v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Payload that a packet to @peer can carry; 0 and an error without a way. */
u32 homa_segment_bytes(struct homa_sock *hs, const struct in6_addr *peer,
		       u32 scope, int *error)
{
	struct homa_core_path path = { .peer = *peer, .scope = scope };
	struct homa_way way;
	u32 mtu, headers;

	*error = homa_way_find(&way, hs->engine, homa_sock_sk(hs), &path, 0);
	if (*error)
		return 0;
	mtu = dst_mtu(way.dst);
	headers = homa_ip_header(&way) + HOMA_DATA_HEADER;
	dst_release(way.dst);
	if (mtu <= headers) {
		*error = -EINVAL;
		return 0;
	}
	return min_t(u32, mtu - headers, HOMA_SEGMENT_MAX);
}

/* Has the network card, or the stack before it, write TCP's checksum. */
static void homa_checksum(struct sk_buff *skb, const struct homa_way *way)
{
	__sum16 *field = (__sum16 *)(skb_transport_header(skb) +
				     HOMA_CHECKSUM_AT);

	/* The pseudo header says TCP: network cards take it for that. */
	if (way->is_v4)
		*field = ~csum_tcpudp_magic(way->v4.saddr, way->v4.daddr,
					    skb->len, IPPROTO_TCP, 0);
	else
		*field = ~csum_ipv6_magic(&way->v6.saddr, &way->v6.daddr,
					  skb->len, IPPROTO_TCP, 0);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = HOMA_CHECKSUM_AT;
}

static int homa_send_v4(struct sk_buff *skb, const struct homa_way *way,
			struct homa_engine *engine, struct sock *sk, u8 tos)
{
	struct iphdr *iph = skb_push(skb, sizeof(*iph));

	skb_reset_network_header(skb);
	*iph = (struct iphdr) {
		.version = 4,
		.ihl = sizeof(*iph) / 4,
		.tos = tos,
		/* Homa cuts its messages itself. */
		.frag_off = htons(IP_DF),
		.ttl = ip4_dst_hoplimit(way->dst),
		.protocol = IPPROTO_HOMA,
		.saddr = way->v4.saddr,
		.daddr = way->v4.daddr,
	};
	skb->protocol = htons(ETH_P_IP);
	return ip_local_out(engine->net, sk, skb);
}

static int homa_send_v6(struct sk_buff *skb, const struct homa_way *way,
			struct homa_engine *engine, struct sock *sk, u8 tclass)
{
	struct ipv6hdr *iph = skb_push(skb, sizeof(*iph));

	skb_reset_network_header(skb);
	ip6_flow_hdr(iph, tclass, 0);
	iph->payload_len = 0;
	iph->nexthdr = IPPROTO_HOMA;
	iph->hop_limit = ip6_dst_hoplimit(way->dst);
	iph->saddr = way->v6.saddr;
	iph->daddr = way->v6.daddr;
	skb->protocol = htons(ETH_P_IPV6);
	return ip6_local_out(engine->net, sk, skb);
}

static struct sk_buff *homa_packet(const struct homa_core_packet_view *view,
				   const struct homa_message *message,
				   const struct homa_way *way)
{
	u32 head = LL_RESERVED_SPACE(way->dst->dev) + homa_ip_header(way) +
		   way->dst->header_len;
	u32 linear = view->header_bytes;
	struct sk_buff *skb;

	if (view->length)
		linear += homa_message_linear(message, view->length);
	skb = alloc_skb(head + linear, GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, head);
	skb_reset_transport_header(skb);
	skb_put_data(skb, view->header, view->header_bytes);
	if (view->length &&
	    homa_message_add_to(message, view->offset, view->length, skb)) {
		kfree_skb(skb);
		return NULL;
	}
	homa_checksum(skb, way);
	return skb;
}

static int homa_send_packet(struct sk_buff *skb, const struct homa_way *way,
			    struct homa_engine *engine, struct sock *sk,
			    u8 priority)
{
	u8 tos = homa_traffic_class(priority);

	skb_dst_set(skb, dst_clone(way->dst));
	skb->priority = priority;
	if (sk)
		skb->mark = sk->sk_mark;
	return way->is_v4 ? homa_send_v4(skb, way, engine, sk, tos) :
			    homa_send_v6(skb, way, engine, sk, tos);
}

/* Tells the core that the peer cannot be reached, in answer to a burst. */
static void homa_send_failed(struct homa_engine *engine,
			     const struct homa_core_path *path)
{
	static const u8 nothing[1];

	spin_lock(&engine->lock);
	homa_core_unreachable(engine->core, ktime_get_ns(), path, nothing, 0,
			      HOMA_UNREACHABLE_HOST, 0);
	spin_unlock(&engine->lock);
}

/*
 * Sends a burst. Bottom halves are off, the lock is not held. What is lost here
 * is asked for again, as what the network loses.
 */
void homa_send_burst(struct homa_engine *engine, struct homa_sock *hs,
		     const struct homa_core_path *path, u8 priority,
		     const struct homa_burst *burst,
		     struct homa_message *const *messages, u32 count)
{
	struct sock *sk = hs ? homa_sock_sk(hs) : NULL;
	struct homa_way way;
	int err;
	u32 i;

	err = homa_way_find(&way, engine, sk, path, priority);
	if (err) {
		atomic64_inc(&engine->tx_errors);
		if (err != -ENOMEM && err != -ENOBUFS)
			homa_send_failed(engine, path);
		return;
	}
	for (i = 0; i < count; i++) {
		struct homa_core_packet_view view;
		struct sk_buff *skb;

		if (!homa_core_burst_packet(burst, i, &view))
			break;
		/* Its RPC ended in the meantime. */
		if (view.length && !messages[i])
			continue;
		skb = homa_packet(&view, messages[i], &way);
		err = skb ? homa_send_packet(skb, &way, engine, sk, priority) :
			    -ENOMEM;
		if (net_xmit_eval(err))
			atomic64_inc(&engine->tx_errors);
	}
	dst_release(way.dst);
}
