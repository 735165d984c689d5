// SPDX-License-Identifier: GPL-2.0
/*
 * Packets of one RPC that follow each other in what a device hands over at a
 * time become one (GRO) before they take their way through the stack, so that
 * the core is called once for all of them. It is the packet that the sender cut:
 * one header, and all the payload. Who forwards it cuts it again, in homa_cut().
 *
 * Only packets in the middle of long messages are held, and until the device has
 * no more; what a short message waits for goes on at once.
 */
#include <net/gro.h>
#include <net/ip.h>

#include "homa_impl.h"

static u32 homa_offset_of(const u8 *header)
{
	return get_unaligned_be32(header + HOMA_OFFSET_AT);
}

/* Whether two packets are of one RPC, and differ in where they belong only. */
static bool homa_is_same(const u8 *a, const u8 *b)
{
	const u32 behind_sequence = HOMA_SEQUENCE_AT + sizeof(__be32);
	const u32 behind_checksum = HOMA_CHECKSUM_AT + sizeof(__sum16);

	return !memcmp(a + behind_checksum, b + behind_checksum,
		       HOMA_OFFSET_AT - behind_checksum) &&
	       !memcmp(a, b, HOMA_SEQUENCE_AT) &&
	       !memcmp(a + behind_sequence, b + behind_sequence,
		       HOMA_CHECKSUM_AT - behind_sequence);
}

/* The packet that is held for the RPC of a header. */
static struct sk_buff *homa_held(struct list_head *head, const u8 *header,
				 u32 at)
{
	struct sk_buff *held;

	list_for_each_entry(held, head, list)
		if (NAPI_GRO_CB(held)->same_flow &&
		    homa_is_same(held->data + at, header))
			return held;
	return NULL;
}

/* The version of IP, and of the traffic class what switches look at. */
static u16 homa_class(const void *ip_header)
{
	return get_unaligned((const u16 *)ip_header);
}

/* Whether @skb, whose payload belongs at @offset, goes behind @held. */
static bool homa_follows(struct sk_buff *held, struct sk_buff *skb, u32 at,
			 u32 offset)
{
	u32 payload = held->len - at - HOMA_DATA_HEADER;

	return homa_offset_of(held->data + at) + payload == offset &&
	       skb_gro_len(skb) <= skb_shinfo(held)->gso_size &&
	       held->len + skb_gro_len(skb) <= IP_MAX_MTU &&
	       homa_class(skb_network_header(held)) ==
	       homa_class(skb_gro_network_header(skb)) &&
	       !NAPI_GRO_CB(held)->flush &&
	       pskb_may_pull(skb, skb_gro_offset(skb));
}

static void homa_append(struct sk_buff *held, struct sk_buff *skb)
{
	u32 bytes = skb_gro_len(skb);

	/* What they cost is the receiver's from now on. */
	skb_orphan(held);
	skb_orphan(skb);
	__skb_pull(skb, skb_gro_offset(skb));
	if (NAPI_GRO_CB(held)->last == held)
		skb_shinfo(held)->frag_list = skb;
	else
		NAPI_GRO_CB(held)->last->next = skb;
	NAPI_GRO_CB(held)->last = skb;
	__skb_header_release(skb);
	held->len += bytes;
	held->data_len += bytes;
	held->truesize += skb->truesize;
	NAPI_GRO_CB(held)->count++;
	NAPI_GRO_CB(skb)->same_flow = 1;
}

/* Looks at a packet; returns one that is to be held no longer. */
struct sk_buff *homa_gather(struct list_head *head, struct sk_buff *skb)
{
	u32 at = skb_gro_offset(skb), offset, left;
	struct sk_buff *held;
	const u8 *header;

	header = skb_gro_header(skb, at + HOMA_DATA_HEADER, at);
	if (!header || header[HOMA_TYPE_AT] != HOMA_TYPE_DATA ||
	    skb_gro_len(skb) <= HOMA_DATA_HEADER || NAPI_GRO_CB(skb)->flush)
		goto alone;
	offset = homa_offset_of(header);
	/* Else a device has cut it that knows of the first of them only. */
	if (offset != get_unaligned_be32(header + HOMA_SEQUENCE_AT))
		goto alone;
	left = get_unaligned_be32(header + HOMA_LENGTH_AT) - offset;
	held = homa_held(head, header, at);
	skb_gro_pull(skb, HOMA_DATA_HEADER);
	if (held && homa_follows(held, skb, at, offset)) {
		u32 bytes = skb_gro_len(skb);

		homa_append(held, skb);
		if (bytes == left || bytes < skb_shinfo(held)->gso_size ||
		    NAPI_GRO_CB(held)->count == HOMA_BURST_MAX)
			return held;
		return NULL;
	}
	if (skb_gro_len(skb) < left)
		return held;
alone:
	NAPI_GRO_CB(skb)->flush |= 1;
	return NULL;
}

/* One is complete; its Homa header is @at behind skb->data. */
static int homa_gathered(struct sk_buff *skb, int at, bool is_v4)
{
	__sum16 *field = (__sum16 *)(skb->data + at + HOMA_CHECKSUM_AT);

	homa_join(skb, skb_shinfo(skb)->gso_size + HOMA_DATA_HEADER,
		  NAPI_GRO_CB(skb)->count);
	*field = homa_pseudo(skb, skb->len - at, is_v4);
	homa_sum_from(skb, at);
	return 0;
}

int homa_gathered_v4(struct sk_buff *skb, int at)
{
	return homa_gathered(skb, at, true);
}

int homa_gathered_v6(struct sk_buff *skb, int at)
{
	return homa_gathered(skb, at, false);
}

/* The same in UDP, for the UDP socket of a Homa socket. */
struct sk_buff *homa_gather_udp(struct sock *sk, struct list_head *head,
				struct sk_buff *skb)
{
	return homa_gather(head, skb);
}

int homa_gathered_udp(struct sock *sk, struct sk_buff *skb, int at)
{
	homa_join(skb, skb_shinfo(skb)->gso_size + HOMA_DATA_HEADER,
		  NAPI_GRO_CB(skb)->count);
	homa_mark_inner(skb, at);
	return 0;
}
