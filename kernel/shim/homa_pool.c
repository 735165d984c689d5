// SPDX-License-Identifier: GPL-2.0
/*
 * The receive region: which pages of the program's memory a message goes to.
 *
 * A message takes as many whole pages as it fills; what is left over shares a
 * page with the ends of other messages. A page is free again when every message
 * in it was given back.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "homa_impl.h"

/* So much there must be, beyond a page for each processor. */
#define HOMA_REGION_MIN 2000000ULL
#define HOMA_REGION_MAX BIT_ULL(32)

/* The program has to be able to receive into the region: its start is tried. */
#define HOMA_REGION_PROBE 64

void homa_pool_init(struct homa_pool *pool)
{
	spin_lock_init(&pool->lock);
}

static int homa_region_check(const struct homa_rcvbuf_args *args)
{
	u64 least = (u64)nr_cpu_ids * HOMA_BPAGE_SIZE + HOMA_REGION_MIN;
	char __user *start = u64_to_user_ptr(args->start);

	if (!PAGE_ALIGNED(args->start) || args->start > ULONG_MAX)
		return -EINVAL;
	if (args->length < least || args->length > HOMA_REGION_MAX)
		return -EINVAL;
	if (!access_ok(start, args->length))
		return -EFAULT;
	if (fault_in_safe_writeable(start, HOMA_REGION_PROBE))
		return -EFAULT;
	return 0;
}

/* Sets the region, once. Takes memory, so without a lock. */
int homa_pool_set(struct homa_pool *pool, const struct homa_rcvbuf_args *args)
{
	u32 count = args->length >> HOMA_BPAGE_SHIFT;
	u32 *refs, *free, i;
	int err;

	err = homa_region_check(args);
	if (err)
		return err;
	refs = kvcalloc(count, sizeof(*refs), GFP_KERNEL_ACCOUNT);
	free = kvmalloc_array(count, sizeof(*free), GFP_KERNEL_ACCOUNT);
	if (!refs || !free) {
		err = -ENOMEM;
		goto out;
	}
	for (i = 0; i < count; i++)
		free[i] = count - 1 - i;

	spin_lock_bh(&pool->lock);
	if (pool->count) {
		err = -EINVAL;
	} else {
		pool->region = u64_to_user_ptr(args->start);
		swap(pool->refs, refs);
		swap(pool->free, free);
		pool->nr_free = count;
		pool->shared = count;
		/* Who sees a count sees the rest. */
		smp_store_release(&pool->count, count);
	}
	spin_unlock_bh(&pool->lock);
out:
	kvfree(refs);
	kvfree(free);
	return err;
}

void homa_pool_destroy(struct homa_pool *pool)
{
	kvfree(pool->refs);
	kvfree(pool->free);
}

static u32 homa_page_take(struct homa_pool *pool)
{
	u32 page = pool->free[--pool->nr_free];

	pool->refs[page] = 1;
	return page;
}

static void homa_page_drop(struct homa_pool *pool, u32 page)
{
	if (--pool->refs[page])
		return;
	if (page == pool->shared)
		pool->used = 0;
	else
		pool->free[pool->nr_free++] = page;
}

/* The end of a message: behind the ends of others, or in a page of its own. */
static u32 homa_end_take(struct homa_pool *pool, u32 bytes)
{
	u32 old = pool->shared;
	u32 offset;

	if (old == pool->count || pool->used + bytes > HOMA_BPAGE_SIZE) {
		pool->shared = homa_page_take(pool);
		pool->used = 0;
		if (old != pool->count && !pool->refs[old])
			pool->free[pool->nr_free++] = old;
	} else {
		pool->refs[old]++;
	}
	offset = (pool->shared << HOMA_BPAGE_SHIFT) + pool->used;
	/* Messages begin at cache lines. */
	pool->used = ALIGN(pool->used + bytes, SMP_CACHE_BYTES);
	return offset;
}

/* Free pages that a message of @length bytes takes. Under the lock. */
static u32 homa_pages_for(const struct homa_pool *pool, u32 length)
{
	u32 end = length & (HOMA_BPAGE_SIZE - 1);
	u32 whole = length >> HOMA_BPAGE_SHIFT;

	if (end && (pool->shared == pool->count ||
		    pool->used + end > HOMA_BPAGE_SIZE))
		return whole + 1;
	return whole;
}

/* Whether there is room for a message of @length bytes. */
bool homa_pool_has_room(struct homa_pool *pool, u32 length)
{
	bool room;

	spin_lock_bh(&pool->lock);
	room = homa_pages_for(pool, length) <= pool->nr_free;
	spin_unlock_bh(&pool->lock);
	return room;
}

/* Finds room for a message of @length bytes; false: there is none now. */
bool homa_pool_take(struct homa_pool *pool, u32 length, u32 *offsets,
		    u32 *count)
{
	u32 whole = length >> HOMA_BPAGE_SHIFT;
	u32 end = length & (HOMA_BPAGE_SIZE - 1);
	bool room = false;
	u32 i;

	spin_lock_bh(&pool->lock);
	if (homa_pages_for(pool, length) <= pool->nr_free) {
		for (i = 0; i < whole; i++)
			offsets[i] = homa_page_take(pool) << HOMA_BPAGE_SHIFT;
		if (end)
			offsets[i++] = homa_end_take(pool, end);
		*count = i;
		room = true;
	}
	spin_unlock_bh(&pool->lock);
	return room;
}

/* Takes pages back; stops at the first that is not out. */
int homa_pool_give_back(struct homa_pool *pool, const u32 *offsets, u32 count)
{
	int err = 0;
	u32 i;

	spin_lock_bh(&pool->lock);
	for (i = 0; i < count; i++) {
		u32 page = offsets[i] >> HOMA_BPAGE_SHIFT;

		if (page >= pool->count || !pool->refs[page]) {
			err = -EINVAL;
			break;
		}
		homa_page_drop(pool, page);
	}
	spin_unlock_bh(&pool->lock);
	return err;
}

/* What lies in no message, the rest of the page for ends included. */
u64 homa_pool_free_bytes(struct homa_pool *pool)
{
	u64 bytes;

	spin_lock_bh(&pool->lock);
	bytes = (u64)pool->nr_free << HOMA_BPAGE_SHIFT;
	if (pool->shared != pool->count)
		bytes += HOMA_BPAGE_SIZE - pool->used;
	spin_unlock_bh(&pool->lock);
	return bytes;
}
