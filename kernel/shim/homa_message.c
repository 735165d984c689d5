// SPDX-License-Identifier: GPL-2.0
/*
 * Messages to be sent: a copy of the program's bytes that stays until the RPC
 * is over, since any of them may have to be sent again. Long messages lie in
 * pages that packets share; short ones are copied into theirs.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "homa_impl.h"
#include "homa_platform.h"

/* Up to so many bytes a copy is cheaper than pages and their references. */
#define HOMA_INLINE_MAX 1536

/* Chunks are of 32 KiB where memory has them: a packet then needs two. */
#define HOMA_CHUNK_ORDER 3

static u32 homa_chunk_bytes(const struct homa_message *message)
{
	return PAGE_SIZE << message->order;
}

/* Nobody needs it, and its socket does not pay for it. */
static void homa_message_free(struct homa_message *message)
{
	u32 i;

	for (i = 0; i < message->room; i++)
		__free_pages(message->chunks[i], message->order);
	kfree(message);
}

static struct page *homa_chunk_alloc(u16 order)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_COMP;

	if (homa_test_refuses())
		return NULL;
	/* Large chunks may fail: smaller ones are tried then. */
	if (order)
		gfp |= __GFP_NOWARN | __GFP_NORETRY;
	return alloc_pages(gfp, order);
}

static struct homa_message *homa_message_alloc(u32 length, u16 order)
{
	struct homa_message *message;
	u32 chunk = PAGE_SIZE << order;
	u32 count = 0;
	size_t bytes = length;

	if (length > HOMA_INLINE_MAX) {
		count = DIV_ROUND_UP(length, chunk);
		bytes = count * sizeof(message->chunks[0]);
	}
	if (homa_test_refuses())
		return NULL;
	/* All of what it will get anyway: the next one may be longer. */
	bytes = kmalloc_size_roundup(sizeof(*message) + bytes);
	message = kmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!message)
		return NULL;
	message->order = order;
	message->room = 0;
	message->charge = bytes + count * chunk;
	while (message->room < count) {
		struct page *page = homa_chunk_alloc(order);

		if (!page) {
			homa_message_free(message);
			return NULL;
		}
		message->chunks[message->room++] = page;
	}
	return message;
}

/* Replaces the chunks that packets still refer to, which others may read. */
static bool homa_message_renew(struct homa_message *message)
{
	u32 i;

	for (i = 0; i < message->room; i++) {
		struct page *page;

		if (page_ref_count(message->chunks[i]) == 1)
			continue;
		page = homa_chunk_alloc(message->order);
		if (!page)
			return false;
		__free_pages(message->chunks[i], message->order);
		message->chunks[i] = page;
	}
	return true;
}

/* Whether a message of @length bytes fits, and takes half of the room. */
static bool homa_message_suits(const struct homa_message *message, u32 length)
{
	u32 count = DIV_ROUND_UP(length, homa_chunk_bytes(message));

	if (message->room)
		return count <= message->room && count > message->room / 2;
	length += sizeof(*message);
	return length <= message->charge && length > message->charge / 2;
}

/*
 * The memory of a message that the socket sent before, for one of @length bytes:
 * it need not be found, and pages that were cleared once not be cleared again.
 */
static struct homa_message *homa_message_reuse(struct homa_sock *hs, u32 length)
{
	struct homa_message **spare = &hs->spares[length > HOMA_INLINE_MAX];
	struct homa_message *message;

	if (!READ_ONCE(*spare))
		return NULL;
	message = xchg(spare, NULL);
	if (!message)
		return NULL;
	if (homa_message_suits(message, length) && homa_message_renew(message))
		return message;
	homa_message_free(message);
	return NULL;
}

static struct homa_message *homa_message_make(struct homa_sock *hs, u32 length)
{
	u16 order = min(get_order(length), HOMA_CHUNK_ORDER);
	struct homa_message *message = homa_message_reuse(hs, length);

	if (!message)
		message = homa_message_alloc(length, order);
	if (!message && order && length > HOMA_INLINE_MAX)
		message = homa_message_alloc(length, 0);
	if (!message)
		return NULL;
	refcount_set(&message->refs, 1);
	message->length = length;
	message->count = 0;
	if (message->room)
		message->count = DIV_ROUND_UP(length,
					      homa_chunk_bytes(message));
	return message;
}

static int homa_message_fill(struct homa_message *message,
			     struct iov_iter *from)
{
	u32 chunk = homa_chunk_bytes(message);
	u32 left = message->length;
	u32 i;

	if (!message->count)
		return copy_from_iter_full(message->bytes, left, from) ?
		       0 : -EFAULT;
	for (i = 0; i < message->count; i++) {
		u32 bytes = min(chunk, left);

		if (copy_page_from_iter(message->chunks[i], 0, bytes, from) !=
		    bytes)
			return -EFAULT;
		left -= bytes;
	}
	return 0;
}

/* Copies a message from the program; sleeps. */
struct homa_message *homa_message_copy(struct homa_sock *hs,
				       struct msghdr *msg, size_t length)
{
	struct homa_message *message = homa_message_make(hs, length);
	int err;

	if (!message)
		return ERR_PTR(-ENOMEM);
	err = homa_message_fill(message, &msg->msg_iter);
	if (err) {
		homa_message_free(message);
		return ERR_PTR(err);
	}
	sock_hold(homa_sock_sk(hs));
	message->sock = hs;
	atomic_add(message->charge, &hs->wmem);
	return message;
}

void homa_message_put(struct homa_message *message)
{
	struct homa_sock *hs;

	if (!message || !refcount_dec_and_test(&message->refs))
		return;
	hs = message->sock;
	/* Ordered against who sets the flag and then looks for room. */
	atomic_sub_return(message->charge, &hs->wmem);
	if (READ_ONCE(hs->starved)) {
		WRITE_ONCE(hs->starved, false);
		homa_sock_sk(hs)->sk_write_space(homa_sock_sk(hs));
	}
	message = xchg(&hs->spares[message->room > 0], message);
	if (message)
		homa_message_free(message);
	sock_put(homa_sock_sk(hs));
}

/* Nobody sends with the socket any more. */
void homa_message_drop_spares(struct homa_sock *hs)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(hs->spares); i++) {
		struct homa_message *message = xchg(&hs->spares[i], NULL);

		if (message)
			homa_message_free(message);
	}
}

/* How many of @length bytes of the message go into a packet's linear part. */
u32 homa_message_linear(const struct homa_message *message, u32 length)
{
	return message->count ? 0 : length;
}

/* Appends bytes @offset.. of the message to a packet. */
int homa_message_add_to(const struct homa_message *message, u32 offset,
			u32 length, struct sk_buff *skb)
{
	u32 chunk = homa_chunk_bytes(message);
	int frag = 0;

	/* The core asks for what the message has; a mistake must not leak. */
	if (WARN_ON_ONCE((u64)offset + length > message->length))
		return -EINVAL;
	if (!message->count) {
		skb_put_data(skb, message->bytes + offset, length);
		return 0;
	}
	skb->len += length;
	skb->data_len += length;
	skb->truesize += length;
	while (length) {
		struct page *page = message->chunks[offset / chunk];
		u32 at = offset % chunk;
		u32 bytes = min(length, chunk - at);

		if (WARN_ON_ONCE(frag == MAX_SKB_FRAGS))
			return -EINVAL;
		get_page(page);
		skb_fill_page_desc(skb, frag++, page, at, bytes);
		offset += bytes;
		length -= bytes;
	}
	return 0;
}

/* Copies bytes @offset.. of the message to @at of a packet. */
int homa_message_write(const struct homa_message *message, u32 offset,
		       u32 length, struct sk_buff *skb, u32 at)
{
	u32 chunk = homa_chunk_bytes(message);
	int err = 0;

	if (WARN_ON_ONCE((u64)offset + length > message->length))
		return -EINVAL;
	if (!message->count)
		return skb_store_bits(skb, at, message->bytes + offset, length);
	while (length && !err) {
		const u8 *page = page_address(message->chunks[offset / chunk]);
		u32 bytes = min(length, chunk - offset % chunk);

		err = skb_store_bits(skb, at, page + offset % chunk, bytes);
		offset += bytes;
		length -= bytes;
		at += bytes;
	}
	return err;
}
