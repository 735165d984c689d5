// SPDX-License-Identifier: GPL-2.0
/*
 * Homa in UDP datagrams, as programs without rights speak it: the datagram is
 * the Homa packet, and the UDP port is the Homa port. Each Homa socket that is
 * for UDP has a UDP socket of the kernel, which hands its datagrams over.
 */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/udp.h>
#include <net/udp.h>
#include <net/udp_tunnel.h>

#include "homa_impl.h"

/* Not 0; other protocols in UDP know theirs by it, the kernel does not care. */
#define HOMA_ENCAP_TYPE 1

static bool homa_is_v4(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IP);
}

/* A datagram, its checksum verified. Under RCU. */
static int homa_udp_input(struct sock *sk, struct sk_buff *skb)
{
	struct homa_sock *hs = rcu_dereference_sk_user_data(sk);
	u16 port = ntohs(udp_hdr(skb)->source);

	if (!hs) {
		kfree_skb(skb);
		return 0;
	}
	__skb_pull(skb, sizeof(struct udphdr));
	skb_reset_transport_header(skb);
	homa_arrive(hs, skb, homa_is_v4(skb), port);
	return 0;
}

/* ICMP about a datagram of ours, whose IP header skb->data points to. */
static void homa_udp_report(struct sk_buff *skb, u32 at)
{
	if (homa_is_v4(skb))
		homa_error_v4(skb, at, ntohs(icmp_hdr(skb)->un.frag.mtu),
			      HOMA_LINK_UDP);
	else
		homa_error_v6(skb, at, icmp6_hdr(skb), HOMA_LINK_UDP);
}

HOMA_UDP_ERROR(homa_udp_error, homa_udp_report)

/* A UDP socket for a Homa socket, at @port of all addresses. Sleeps. */
struct socket *homa_udp_open(struct homa_sock *hs, u16 port)
{
	const struct sock *sk = homa_sock_sk(hs);
	struct udp_port_cfg where = {
		.family = sk->sk_family,
		.local_udp_port = htons(port),
		.use_udp6_rx_checksums = true,
	};
	struct udp_tunnel_sock_cfg what = {
		.sk_user_data = hs,
		.encap_type = HOMA_ENCAP_TYPE,
		.encap_rcv = homa_udp_input,
		.encap_err_rcv = homa_udp_error,
		.gro_receive = homa_gather_udp,
		.gro_complete = homa_gathered_udp,
	};
	struct socket *udp;
	int err;

	err = udp_sock_create(sock_net(sk), &where, &udp);
	if (err)
		return ERR_PTR(err);
	setup_udp_tunnel_sock(sock_net(sk), udp, &what);
	/* Packets of the core's that nobody cut, and such as were joined again. */
	udp_set_bit(ACCEPT_FRAGLIST, udp->sk);
	return udp;
}

/* Datagrams that are on their way in still find the Homa socket, under RCU. */
void homa_udp_close(struct socket *udp)
{
	if (!udp)
		return;
	rcu_assign_sk_user_data(udp->sk, NULL);
	kernel_sock_shutdown(udp, SHUT_RDWR);
	sock_release(udp);
}
