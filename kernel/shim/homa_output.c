// SPDX-License-Identifier: GPL-2.0
/*
 * From bursts to packets.
 */
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "homa_impl.h"

/* Where the checksum stands: Homa's header is laid over that of TCP. */
#define HOMA_CHECKSUM_AT 16

/*
 * Has the network card, or the stack before it, write the checksum of @protocol
 * into the field at @at.
 */
static void homa_checksum(struct sk_buff *skb, const struct homa_way *way,
			  u8 protocol, u32 at)
{
	__sum16 *field = (__sum16 *)(skb_transport_header(skb) + at);

	if (way->is_v4)
		*field = ~csum_tcpudp_magic(way->v4.saddr, way->v4.daddr,
					    skb->len, protocol, 0);
	else
		*field = ~csum_ipv6_magic(&way->v6.saddr, &way->v6.daddr,
					  skb->len, protocol, 0);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = at;
}

/* Puts the header before that of IP, or what stands for it, into its place. */
static void homa_encapsulate(struct sk_buff *skb, const struct homa_way *way,
			     const struct homa_core_path *path, __be16 port)
{
	struct udphdr *udp;

	if (way->link == HOMA_LINK_IP) {
		skb_reset_transport_header(skb);
		/* The pseudo header says TCP: network cards take it for that. */
		homa_checksum(skb, way, IPPROTO_TCP, HOMA_CHECKSUM_AT);
		return;
	}
	udp = skb_push(skb, sizeof(*udp));
	skb_reset_transport_header(skb);
	*udp = (struct udphdr) {
		.source = port,
		.dest = htons(path->peer_port),
		.len = htons(skb->len),
	};
	homa_checksum(skb, way, IPPROTO_UDP, offsetof(struct udphdr, check));
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
		.protocol = homa_protocol(way->link),
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
	iph->nexthdr = homa_protocol(way->link);
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
	u32 head = LL_RESERVED_SPACE(way->dst->dev) + homa_way_headers(way) +
		   way->dst->header_len;
	u32 linear = view->header_bytes;
	struct sk_buff *skb;

	if (view->length)
		linear += homa_message_linear(message, view->length);
	skb = alloc_skb(head + linear, GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, head);
	skb_put_data(skb, view->header, view->header_bytes);
	if (view->length &&
	    homa_message_add_to(message, view->offset, view->length, skb)) {
		kfree_skb(skb);
		return NULL;
	}
	return skb;
}

static int homa_send_packet(struct sk_buff *skb, const struct homa_way *way,
			    struct homa_engine *engine, struct sock *sk,
			    const struct homa_core_path *path, __be16 port,
			    u8 priority)
{
	u8 tos = homa_traffic_class(priority);

	homa_encapsulate(skb, way, path, port);
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
	struct homa_core_packet_view view;
	struct homa_way way;
	__be16 port;
	int err;
	u32 i;

	if (!homa_core_burst_packet(burst, 0, &view))
		return;
	/* Every packet begins with it; the socket may be gone. */
	memcpy(&port, view.header, sizeof(port));
	err = homa_way_find(&way, engine, sk, path, port, priority);
	if (err) {
		atomic64_inc(&engine->tx_errors);
		if (err != -ENOMEM && err != -ENOBUFS)
			homa_send_failed(engine, path);
		return;
	}
	for (i = 0; i < count; i++) {
		struct sk_buff *skb;

		if (!homa_core_burst_packet(burst, i, &view))
			break;
		/* Its RPC ended in the meantime. */
		if (view.length && !messages[i])
			continue;
		skb = homa_packet(&view, messages[i], &way);
		err = skb ? homa_send_packet(skb, &way, engine, sk, path, port,
					     priority) :
			    -ENOMEM;
		if (net_xmit_eval(err))
			atomic64_inc(&engine->tx_errors);
	}
	dst_release(way.dst);
}
