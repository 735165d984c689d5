// SPDX-License-Identifier: GPL-2.0
/*
 * Packets of IP protocol 146 that arrive, and what ICMP says of those that did
 * not.
 */
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <net/icmp.h>
#include <net/inet_common.h>
#include <net/ip6_route.h>
#include <net/protocol.h>
#include <net/route.h>
#include <net/xfrm.h>

#include "homa_impl.h"

/* What every packet has; shorter ones are nobody's. */
#define HOMA_COMMON_HEADER 28

/* The ports at the beginning of a packet. */
struct homa_ports {
	__be16 source;
	__be16 dest;
};

/* A packet that stays with an RPC keeps nothing of the way that it came. */
static void homa_keep(struct sk_buff *skb)
{
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	secpath_reset(skb);
	skb_ext_reset(skb);
	skb->dev = NULL;
}

/* Hands a packet to the core. Consumes it if it is kept. */
static bool homa_deliver(struct homa_sock *hs, struct sk_buff *skb,
			 struct homa_core_path *path, const u8 *header,
			 u32 header_bytes)
{
	struct homa_engine *engine = READ_ONCE(hs->engine);
	struct homa_arrival arrival = { .sock = hs, .skb = skb };
	struct homa_core_ask ask;
	struct homa_turn turn;
	u32 length = skb->len;

	homa_keep(skb);
	homa_turn_init(&turn);
	homa_engine_lock(engine);
	/* A socket that moves to another engine has nothing to receive yet. */
	if (hs->shut || hs->engine != engine) {
		homa_engine_unlock(engine, &turn);
		return false;
	}
	path->socket = hs->index;
	homa_engine_ask(engine, &ask);
	homa_core_packet(engine->core, &ask, path, header, header_bytes,
			 length, &arrival);
	homa_engine_finish(engine, &turn);
	return arrival.kept;
}

static bool homa_takes_v4(const struct homa_sock *hs)
{
	const struct sock *sk = &hs->inet.sk;

	return sk->sk_family == AF_INET || !ipv6_only_sock(sk);
}

static bool homa_takes(const struct homa_sock *hs, bool is_v4,
		       const struct sk_buff *skb)
{
	const struct sock *sk = &hs->inet.sk;
	int bound = READ_ONCE(sk->sk_bound_dev_if);

	if (bound && bound != skb->skb_iif && bound != skb->dev->ifindex)
		return false;
	return is_v4 ? homa_takes_v4(hs) : sk->sk_family == AF_INET6;
}

static void homa_refuse(struct sk_buff *skb, bool is_v4)
{
	/* Both say nothing to what was sent to more than one host. */
	if (is_v4)
		icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
	else
		icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0);
}

static void homa_path_of(const struct sk_buff *skb, bool is_v4,
			 struct homa_core_path *path)
{
	const struct ipv6hdr *iph = ipv6_hdr(skb);

	memset(path, 0, sizeof(*path));
	if (is_v4) {
		ipv6_addr_set_v4mapped(ip_hdr(skb)->saddr, &path->peer);
		ipv6_addr_set_v4mapped(ip_hdr(skb)->daddr, &path->local);
		return;
	}
	path->peer = iph->saddr;
	path->local = iph->daddr;
	if (ipv6_addr_type(&iph->saddr) & IPV6_ADDR_LINKLOCAL)
		path->scope = inet6_iif(skb);
}

/*
 * A packet for a socket, which is consumed; skb->data points to Homa's header.
 * Under RCU.
 */
void homa_arrive(struct homa_sock *hs, struct sk_buff *skb, bool is_v4,
		 u16 peer_port)
{
	u8 buffer[HOMA_HEADER_MAX];
	struct homa_core_path path;
	const u8 *header;
	u32 header_bytes;

	if (skb->len < HOMA_COMMON_HEADER || skb->pkt_type != PACKET_HOST ||
	    !homa_takes(hs, is_v4, skb) || sk_filter(homa_sock_sk(hs), skb)) {
		kfree_skb(skb);
		return;
	}
	/* Kept or not, it stays as it is while the core reads it. */
	header_bytes = min_t(u32, skb->len, HOMA_HEADER_MAX);
	header = skb_header_pointer(skb, 0, header_bytes, buffer);
	if (!header) {
		kfree_skb(skb);
		return;
	}
	homa_path_of(skb, is_v4, &path);
	path.peer_port = peer_port;
	if (!homa_deliver(hs, skb, &path, header, header_bytes))
		consume_skb(skb);
}

/* Under RCU: the IP layer calls protocols so. */
static int homa_input(struct sk_buff *skb, bool is_v4)
{
	const struct homa_ports *ports;
	struct homa_engine *engine;
	struct homa_ports buffer;
	struct homa_sock *hs;

	ports = skb_header_pointer(skb, 0, sizeof(buffer), &buffer);
	if (skb->len < HOMA_COMMON_HEADER || skb->pkt_type != PACKET_HOST ||
	    !ports) {
		kfree_skb(skb);
		return 0;
	}
	engine = homa_engine_of(dev_net(skb->dev), HOMA_LINK_IP);
	hs = engine ? homa_sock_lookup(engine, ntohs(ports->dest)) : NULL;
	if (!hs || !homa_takes(hs, is_v4, skb)) {
		homa_refuse(skb, is_v4);
		kfree_skb(skb);
		return 0;
	}
	homa_arrive(hs, skb, is_v4, ntohs(ports->source));
	return 0;
}

static int homa_input_v4(struct sk_buff *skb)
{
	return homa_input(skb, true);
}

static int homa_input_v6(struct sk_buff *skb)
{
	return homa_input(skb, false);
}

/**
 * struct homa_report - what ICMP says of a packet of ours
 * @path:          where it went
 * @link:          what it travelled in
 * @at:            where its Homa header begins in the report
 * @cause:         enum homa_core_unreachable
 * @segment_bytes: what a packet can carry, if this one was too big
 */
struct homa_report {
	struct homa_core_path path;
	enum homa_link link;
	u32 at;
	u32 cause;
	u32 segment_bytes;
};

/* A packet did not fit @mtu. */
static void homa_too_big(struct homa_report *report, u32 mtu, u32 ip_header)
{
	u32 headers = ip_header + homa_udp_header(report->link) +
		      HOMA_COMMON_HEADER * 2;

	report->cause = HOMA_UNREACHABLE_TOO_BIG;
	/* Less no router says (RFC 791): it is forged or broken. */
	report->segment_bytes = mtu < IPV4_MIN_MTU ? 0 : mtu - headers;
}

static int homa_reported(struct sk_buff *skb, struct homa_report *report)
{
	struct homa_engine *engine = homa_engine_of(dev_net(skb->dev),
						    report->link);
	/* UDP's ports are those of Homa. */
	u32 ports_at = report->at - homa_udp_header(report->link);
	u8 offending[HOMA_COMMON_HEADER];
	struct homa_ports ports;
	struct homa_turn turn;
	struct homa_sock *hs;
	u32 length = 0;

	/* Eight bytes come back at least, which are the ports and no id. */
	if (skb_copy_bits(skb, ports_at, &ports, sizeof(ports)))
		return -EINVAL;
	if (skb->len > report->at)
		length = min_t(u32, skb->len - report->at, sizeof(offending));
	if (skb_copy_bits(skb, report->at, offending, length))
		return -EINVAL;
	hs = engine ? homa_sock_lookup(engine, ntohs(ports.source)) : NULL;
	if (!hs)
		return -ENOENT;
	report->path.peer_port = ntohs(ports.dest);
	homa_turn_init(&turn);
	homa_engine_lock(engine);
	homa_core_unreachable(engine->core, ktime_get_ns(), &report->path,
			      offending, length, report->cause,
			      report->segment_bytes);
	homa_engine_settle(engine, &turn);
	return 0;
}

/* skb->data points to the IP header of our packet, @at: to that of Homa. */
int homa_error_v4(struct sk_buff *skb, u32 at, u32 info, enum homa_link link)
{
	const struct iphdr *iph = (const struct iphdr *)skb->data;
	struct homa_report report = { .at = at, .link = link };
	u8 type = icmp_hdr(skb)->type;
	u8 code = icmp_hdr(skb)->code;

	if (type != ICMP_DEST_UNREACH)
		return 0;
	ipv6_addr_set_v4mapped(iph->daddr, &report.path.peer);
	if (code == ICMP_PORT_UNREACH || code == ICMP_PROT_UNREACH) {
		report.cause = HOMA_UNREACHABLE_PORT;
	} else if (code == ICMP_FRAG_NEEDED) {
		/* UDP does that itself. */
		if (link == HOMA_LINK_IP)
			ipv4_update_pmtu(skb, dev_net(skb->dev), info, 0,
					 IPPROTO_HOMA);
		homa_too_big(&report, info, sizeof(*iph));
	}
	return homa_reported(skb, &report);
}

int homa_error_v6(struct sk_buff *skb, u32 at, const struct icmp6hdr *icmp,
		  enum homa_link link)
{
	const struct ipv6hdr *iph = (const struct ipv6hdr *)skb->data;
	struct homa_report report = { .at = at, .link = link };
	struct net *net = dev_net(skb->dev);

	if (icmp->icmp6_type != ICMPV6_DEST_UNREACH &&
	    icmp->icmp6_type != ICMPV6_PKT_TOOBIG)
		return 0;
	report.path.peer = iph->daddr;
	if (ipv6_addr_type(&iph->daddr) & IPV6_ADDR_LINKLOCAL)
		report.path.scope = inet6_iif(skb);
	if (icmp->icmp6_type == ICMPV6_PKT_TOOBIG) {
		if (link == HOMA_LINK_IP)
			ip6_update_pmtu(skb, net, icmp->icmp6_mtu,
					skb->dev->ifindex, 0,
					sock_net_uid(net, NULL));
		homa_too_big(&report, ntohl(icmp->icmp6_mtu), sizeof(*iph));
	} else if (icmp->icmp6_code == ICMPV6_PORT_UNREACH) {
		report.cause = HOMA_UNREACHABLE_PORT;
	}
	return homa_reported(skb, &report);
}

static int homa_ip_error_v4(struct sk_buff *skb, u32 info)
{
	const struct iphdr *iph = (const struct iphdr *)skb->data;

	return homa_error_v4(skb, iph->ihl * 4, info, HOMA_LINK_IP);
}

static int homa_ip_error_v6(struct sk_buff *skb, struct inet6_skb_parm *opt,
			    u8 type, u8 code, int offset, __be32 info)
{
	return homa_error_v6(skb, offset, icmp6_hdr(skb), HOMA_LINK_IP);
}

static const struct net_protocol homa_protocol_v4 = {
	.handler = homa_input_v4,
	.err_handler = homa_ip_error_v4,
};

static const struct inet6_protocol homa_protocol_v6 = {
	.handler = homa_input_v6,
	.err_handler = homa_ip_error_v6,
	.flags = INET6_PROTO_FINAL,
};

/* -EBUSY: another module has the protocol. */
int homa_input_init(void)
{
	if (inet_add_protocol(&homa_protocol_v4, IPPROTO_HOMA))
		return -EBUSY;
	if (inet6_add_protocol(&homa_protocol_v6, IPPROTO_HOMA)) {
		inet_del_protocol(&homa_protocol_v4, IPPROTO_HOMA);
		return -EBUSY;
	}
	return 0;
}

/* When it returns no packet is on its way in. */
void homa_input_exit(void)
{
	inet6_del_protocol(&homa_protocol_v6, IPPROTO_HOMA);
	inet_del_protocol(&homa_protocol_v4, IPPROTO_HOMA);
}
