// SPDX-License-Identifier: GPL-2.0
/*
 * From bursts to packets.
 */
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/route.h>

#include "homa_impl.h"
#include "homa_platform.h"

/**
 * struct homa_sending - a burst on its way out
 * @engine:    whose it is
 * @sk:        its socket, NULL if that is closed
 * @wanted:    where it goes, at which level, and the first packet
 * @way:       how
 * @burst:     the packets
 * @messages:  of each packet with payload the message
 * @port:      our port
 */
struct homa_sending {
	struct homa_engine *engine;
	struct sock *sk;
	const struct homa_core_turn *wanted;
	const struct homa_way *way;
	const struct homa_burst *burst;
	struct homa_message *const *messages;
	__be16 port;
};

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
static void homa_encapsulate(struct sk_buff *skb,
			     const struct homa_sending *sending)
{
	const struct homa_way *way = sending->way;
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
		.source = sending->port,
		.dest = htons(sending->wanted->path.peer_port),
		.len = htons(skb->len),
	};
	homa_checksum(skb, way, IPPROTO_UDP, offsetof(struct udphdr, check));
	if (skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST) {
		skb_shinfo(skb)->gso_type |= SKB_GSO_UDP_TUNNEL_CSUM;
		homa_mark_inner(skb, sizeof(*udp));
	}
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
	if (homa_test_refuses())
		return NULL;
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

static int homa_send_packet(const struct homa_sending *sending,
			    struct sk_buff *skb)
{
	const struct homa_way *way = sending->way;
	struct sock *sk = sending->sk;
	u8 tos = homa_traffic_class(sending->wanted->priority);

	homa_encapsulate(skb, sending);
	skb_dst_set_noref(skb, way->dst);
	skb->priority = sending->wanted->priority;
	if (sk)
		skb->mark = sk->sk_mark;
	return way->is_v4 ? homa_send_v4(skb, way, sending->engine, sk, tos) :
			    homa_send_v6(skb, way, sending->engine, sk, tos);
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
 * One packet for a burst of datagrams of several messages, which the stack or
 * the device cuts: what leaves are copies of headers and payload, one after the
 * other.
 */
static struct sk_buff *homa_datagrams(const struct homa_sending *sending)
{
	const struct homa_way *way = sending->way;
	u32 head = LL_RESERVED_SPACE(way->dst->dev) + homa_way_headers(way) +
		   way->dst->header_len;
	struct homa_core_packet_view view;
	u32 bytes = 0, at = 0, first = 0, i;
	struct sk_buff *skb;
	int err;

	for (i = 0; i < sending->wanted->packets; i++) {
		if (!homa_core_burst_packet(sending->burst, i, &view) ||
		    (view.length && !sending->messages[i]))
			return NULL;
		bytes += view.header_bytes + view.length;
		if (!i)
			first = bytes;
	}
	skb = alloc_skb_with_frags(head, bytes, PAGE_ALLOC_COSTLY_ORDER, &err,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, head);
	skb->data_len = bytes;
	skb->len = bytes;
	for (i = 0; i < sending->wanted->packets; i++) {
		homa_core_burst_packet(sending->burst, i, &view);
		err = skb_store_bits(skb, at, view.header, view.header_bytes);
		at += view.header_bytes;
		if (!err && view.length)
			err = homa_message_write(sending->messages[i],
						 view.offset, view.length, skb,
						 at);
		at += view.length;
		if (err) {
			kfree_skb(skb);
			return NULL;
		}
	}
	skb_shinfo(skb)->gso_size = first;
	skb_shinfo(skb)->gso_segs = sending->wanted->packets;
	skb_shinfo(skb)->gso_type = SKB_GSO_UDP_L4;
	return skb;
}

static void homa_send_skb(const struct homa_sending *sending,
			  struct sk_buff *skb)
{
	int err = skb ? homa_send_packet(sending, skb) : -ENOMEM;

	if (net_xmit_eval(err))
		atomic64_inc(&sending->engine->tx_errors);
}

/* One packet, which the stack or the device may cut. */
static void homa_send_joined(const struct homa_sending *sending)
{
	const struct homa_core_turn *wanted = sending->wanted;
	struct sk_buff *skb;

	skb = homa_packet(&wanted->packet, sending->messages[0], sending->way);
	if (skb)
		homa_join(skb, wanted->segment_bytes, wanted->segments);
	homa_send_skb(sending, skb);
}

/* The same where nobody after us can cut it: each piece is a packet. */
static void homa_send_cut(const struct homa_sending *sending)
{
	const struct homa_core_turn *wanted = sending->wanted;
	u32 piece = wanted->segment_bytes - HOMA_DATA_HEADER;
	struct homa_core_packet_view view = wanted->packet;
	u32 left = view.length;
	u8 header[HOMA_DATA_HEADER];

	memcpy(header, view.header, sizeof(header));
	view.header = header;
	for (; left; left -= view.length, view.offset += view.length) {
		view.length = min(left, piece);
		put_unaligned_be32(view.offset, header + HOMA_SEQUENCE_AT);
		put_unaligned_be32(view.offset, header + HOMA_OFFSET_AT);
		homa_send_skb(sending, homa_packet(&view, sending->messages[0],
						   sending->way));
	}
}

static void homa_send_each(const struct homa_sending *sending)
{
	struct homa_core_packet_view view = sending->wanted->packet;
	u32 i;

	for (i = 0; i < sending->wanted->packets; i++) {
		if (i)
			homa_core_burst_packet(sending->burst, i, &view);
		/* Its RPC ended in the meantime. */
		if (view.length && !sending->messages[i])
			continue;
		homa_send_skb(sending, homa_packet(&view, sending->messages[i],
						   sending->way));
	}
}

static void homa_send_packets(const struct homa_sending *sending)
{
	bool is_joined = sending->wanted->segments > sending->wanted->packets;
	struct sk_buff *skb = NULL;
	/* What is to be encrypted is cut before. */
	bool may_cut = !dst_xfrm(sending->way->dst);

	if (is_joined && !sending->messages[0])
		return;
	if (is_joined && may_cut) {
		homa_send_joined(sending);
		return;
	}
	if (is_joined) {
		homa_send_cut(sending);
		return;
	}
	if (sending->wanted->packets > 1 && may_cut &&
	    sending->way->link == HOMA_LINK_UDP)
		skb = homa_datagrams(sending);
	if (skb)
		homa_send_skb(sending, skb);
	else
		homa_send_each(sending);
}

/*
 * Sends a burst. Bottom halves are off, the lock is not held. What is lost here
 * is asked for again, as what the network loses.
 */
void homa_send_burst(struct homa_engine *engine, struct homa_sock *hs,
		     const struct homa_core_turn *wanted,
		     const struct homa_burst *burst,
		     struct homa_message *const *messages)
{
	struct homa_sending sending = {
		.engine = engine,
		.sk = hs ? homa_sock_sk(hs) : NULL,
		.wanted = wanted,
		.burst = burst,
		.messages = messages,
	};
	int err;

	/* Every packet begins with it; the socket may be gone. */
	memcpy(&sending.port, wanted->packet.header, sizeof(sending.port));
	sending.way = homa_way_find(engine, sending.sk, &wanted->path,
				    sending.port, wanted->priority);
	err = PTR_ERR_OR_ZERO(sending.way);
	if (err) {
		atomic64_inc(&engine->tx_errors);
		if (err != -ENOMEM && err != -ENOBUFS)
			homa_send_failed(engine, &wanted->path);
		return;
	}
	/* Packets hold the route only where they have to wait. */
	rcu_read_lock();
	homa_send_packets(&sending);
	rcu_read_unlock();
}
