// SPDX-License-Identifier: GPL-2.0
/*
 * Large packets. What the core has cut into packets leaves as one, which a
 * device that can carry it takes whole, as veth and loopback do; for others it
 * is cut here, just before them.
 *
 * The kernel has no name for such packets of protocol 146. They go as
 * SKB_GSO_FRAGLIST without a list: devices that can pass on one packet as it is
 * say that they can take those, and no hardware does.
 */
#include <net/ip6_checksum.h>
#include <net/protocol.h>

#include "homa_impl.h"

static __sum16 homa_pseudo_v4(const struct sk_buff *skb, u32 length)
{
	const struct iphdr *iph = ip_hdr(skb);

	return ~csum_tcpudp_magic(iph->saddr, iph->daddr, length, IPPROTO_TCP,
				  0);
}

static __sum16 homa_pseudo_v6(const struct sk_buff *skb, u32 length)
{
	const struct ipv6hdr *iph = ipv6_hdr(skb);

	return ~csum_ipv6_magic(&iph->saddr, &iph->daddr, length, IPPROTO_TCP,
				0);
}

/* Gives a piece the header that its packet had. */
static void homa_finish_piece(struct sk_buff *skb, u32 offset, bool is_v4)
{
	u8 *header = skb_transport_header(skb);
	__sum16 *field = (__sum16 *)(header + HOMA_CHECKSUM_AT);
	u32 length = skb_tail_pointer(skb) - header + skb->data_len;

	put_unaligned_be32(offset, header + HOMA_SEQUENCE_AT);
	put_unaligned_be32(offset, header + HOMA_OFFSET_AT);
	*field = is_v4 ? homa_pseudo_v4(skb, length) :
			 homa_pseudo_v6(skb, length);
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		gso_reset_checksum(skb, ~csum_unfold(*field));
	else
		*field = gso_make_checksum(skb, ~csum_unfold(*field));
}

static struct sk_buff *homa_cut(struct sk_buff *skb, netdev_features_t features,
				bool is_v4)
{
	u32 piece = skb_shinfo(skb)->gso_size - HOMA_DATA_HEADER;
	struct sk_buff *pieces;
	u32 offset;

	if (!(skb_shinfo(skb)->gso_type & SKB_GSO_FRAGLIST) ||
	    skb_shinfo(skb)->gso_size <= HOMA_DATA_HEADER ||
	    !pskb_may_pull(skb, HOMA_DATA_HEADER) ||
	    skb_unclone(skb, GFP_ATOMIC))
		return ERR_PTR(-EINVAL);
	/* So far it told who looks for packets that are too big all of one. */
	skb_shinfo(skb)->gso_size = piece;
	offset = get_unaligned_be32(skb->data + HOMA_OFFSET_AT);
	__skb_pull(skb, HOMA_DATA_HEADER);
	pieces = skb_segment(skb, features);
	if (IS_ERR(pieces))
		return pieces;
	for (skb = pieces; skb; skb = skb->next) {
		homa_finish_piece(skb, offset, is_v4);
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
	.callbacks = { .gso_segment = homa_cut_v4 },
};

static const struct net_offload homa_offload_v6 = {
	.callbacks = { .gso_segment = homa_cut_v6 },
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

/* When it returns nothing is being cut. */
void homa_offload_exit(void)
{
	inet6_del_offload(&homa_offload_v6, IPPROTO_HOMA);
	inet_del_offload(&homa_offload_v4, IPPROTO_HOMA);
}
