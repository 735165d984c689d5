// SPDX-License-Identifier: GPL-2.0
/*
 * Large packets. What the core has cut into packets leaves as one, which a
 * device that can carry it takes whole, as veth and loopback do; for others it
 * is cut here, just before them. How those that arrive become one again is in
 * homa_gather.c.
 *
 * The kernel has no name for such packets of protocol 146. They go as
 * SKB_GSO_FRAGLIST without a list: devices that can pass on one packet as it is
 * say that they can take those, and no hardware does. In UDP they are a tunnel
 * besides, whose content the kernel has us cut.
 */
#include <net/ip6_checksum.h>
#include <net/protocol.h>

#include "homa_impl.h"

/* How a packet in UDP is marked, with a checksum of UDP or without. */
#define HOMA_GSO_UDP (SKB_GSO_UDP_TUNNEL | SKB_GSO_UDP_TUNNEL_CSUM)

/*
 * Says of a packet that it is to be cut into @segments, which have @bytes each
 * but the last, with Homa's header: whoever forwards it knows that of IP only.
 */
void homa_join(struct sk_buff *skb, u32 bytes, u32 segments)
{
	skb_shinfo(skb)->gso_size = bytes;
	skb_shinfo(skb)->gso_segs = segments;
	skb_shinfo(skb)->gso_type |= SKB_GSO_FRAGLIST;
}

/*
 * Makes the same packet, in UDP, a tunnel, Homa's header in which is @at behind
 * skb->data. In UDP's checksum stands that of the pseudo header.
 */
void homa_mark_inner(struct sk_buff *skb, int at)
{
	skb->encapsulation = 1;
	skb_set_inner_mac_header(skb, at);
	skb_set_inner_network_header(skb, at);
	skb_set_inner_transport_header(skb, at);
	skb_set_inner_ipproto(skb, IPPROTO_HOMA);
	/* As that of a tunnel's content, which in Homa nobody looks at. */
	homa_sum_from(skb, at);
}

/* Has the checksum of Homa's header, @at behind skb->data, be written later. */
void homa_sum_from(struct sk_buff *skb, int at)
{
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + at;
	skb->csum_offset = HOMA_CHECKSUM_AT;
}

/* What stands in the checksum until then; of @length bytes from there on. */
__sum16 homa_pseudo(const struct sk_buff *skb, u32 length, bool is_v4)
{
	const struct ipv6hdr *v6 = ipv6_hdr(skb);
	const struct iphdr *v4 = ip_hdr(skb);

	if (is_v4)
		return ~csum_tcpudp_magic(v4->saddr, v4->daddr, length,
					  IPPROTO_TCP, 0);
	return ~csum_ipv6_magic(&v6->saddr, &v6->daddr, length, IPPROTO_TCP, 0);
}

/* Gives a piece the header that its packet had, and says where it belongs. */
static void homa_finish_piece(struct sk_buff *skb, u32 offset, bool is_udp,
			      bool is_v4)
{
	u8 *header = skb_transport_header(skb);
	__sum16 *field = (__sum16 *)(header + HOMA_CHECKSUM_AT);
	u32 length = skb_tail_pointer(skb) - header + skb->data_len;

	put_unaligned_be32(offset, header + HOMA_SEQUENCE_AT);
	put_unaligned_be32(offset, header + HOMA_OFFSET_AT);
	if (is_udp) {
		/* Who called us makes UDP's, or has a device make it. */
		skb->ip_summed = CHECKSUM_NONE;
		return;
	}
	*field = homa_pseudo(skb, length, is_v4);
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		gso_reset_checksum(skb, ~csum_unfold(*field));
	else
		*field = gso_make_checksum(skb, ~csum_unfold(*field));
}

/*
 * Whether UDP's checksum will be written by who takes the pieces, so that there
 * is no need to sum them up; the kernel decides it so.
 */
static bool homa_sums_later(const struct sk_buff *skb)
{
	const struct dst_entry *dst = skb_dst(skb);

	return skb->dev->features & NETIF_F_HW_CSUM &&
	       !(dst && dst_xfrm(dst)) && !skb_sec_path(skb);
}

static struct sk_buff *homa_cut(struct sk_buff *skb, netdev_features_t features,
				bool is_v4)
{
	u32 piece = skb_shinfo(skb)->gso_size - HOMA_DATA_HEADER;
	bool is_udp = skb_shinfo(skb)->gso_type & HOMA_GSO_UDP;
	struct sk_buff *pieces;
	u32 offset;

	if (!(skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST) ||
	    skb_shinfo(skb)->gso_size <= HOMA_DATA_HEADER ||
	    !pskb_may_pull(skb, HOMA_DATA_HEADER) ||
	    skb_unclone(skb, GFP_ATOMIC))
		return ERR_PTR(-EINVAL);
	if (is_udp && homa_sums_later(skb))
		features |= NETIF_F_HW_CSUM;
	/* Pieces are packets, and none of them large again. */
	features &= ~(NETIF_F_GSO_FRAGLIST | NETIF_F_GSO_PARTIAL);
	/* So far it told who looks for packets that are too big all of one. */
	skb_shinfo(skb)->gso_size = piece;
	offset = get_unaligned_be32(skb->data + HOMA_OFFSET_AT);
	__skb_pull(skb, HOMA_DATA_HEADER);
	pieces = skb_segment(skb, features);
	if (IS_ERR(pieces))
		return pieces;
	for (skb = pieces; skb; skb = skb->next) {
		homa_finish_piece(skb, offset, is_udp, is_v4);
		offset += piece;
	}
	return pieces;
}

static struct sk_buff *homa_cut_v4(struct sk_buff *skb,
				   netdev_features_t features)
{
	return homa_cut(skb, features, true);
}

static struct sk_buff *homa_cut_v6(struct sk_buff *skb,
				   netdev_features_t features)
{
	return homa_cut(skb, features, false);
}

static const struct net_offload homa_offload_v4 = {
	.callbacks = {
		.gso_segment = homa_cut_v4,
		.gro_receive = homa_gather,
		.gro_complete = homa_gathered_v4,
	},
};

static const struct net_offload homa_offload_v6 = {
	.callbacks = {
		.gso_segment = homa_cut_v6,
		.gro_receive = homa_gather,
		.gro_complete = homa_gathered_v6,
	},
};

int homa_offload_init(void)
{
	int err;

	err = inet_add_offload(&homa_offload_v4, IPPROTO_HOMA);
	if (err)
		return err;
	err = inet6_add_offload(&homa_offload_v6, IPPROTO_HOMA);
	if (err)
		inet_del_offload(&homa_offload_v4, IPPROTO_HOMA);
	return err;
}

/* When it returns nothing is being cut or gathered. */
void homa_offload_exit(void)
{
	inet6_del_offload(&homa_offload_v6, IPPROTO_HOMA);
	inet_del_offload(&homa_offload_v4, IPPROTO_HOMA);
}
