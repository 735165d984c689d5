// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What a call of chance is given. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#define PAGE 4096UL
#define GIVEN_BYTES (64 * PAGE)

/* All threads' arguments, so that each spoils those of others. */
static uint8_t *arena;

/* A page that is there, can be read only, or is not there. */
static uint8_t *loose;

void given_make(void)
{
	arena = mmap(NULL, GIVEN_BYTES + 3 * PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(arena != MAP_FAILED);
	CHECK(!mprotect(arena, GIVEN_BYTES, PROT_READ | PROT_WRITE));
	loose = arena + GIVEN_BYTES + PAGE;
}

uint32_t any(struct chance *c)
{
	c->state ^= c->state << 13;
	c->state ^= c->state >> 7;
	c->state ^= c->state << 17;
	return c->state * 0x2545f4914f6cdd1dULL >> 32;
}

uint32_t below(struct chance *c, uint32_t limit)
{
	return (uint64_t)any(c) * limit >> 32;
}

bool one_in(struct chance *c, uint32_t many)
{
	return below(c, many) == 0;
}

static uint64_t border(struct chance *c)
{
	static const uint64_t borders[] = {
		0, 1, 2, 3, 7, 8, 16, 28, 88, 128, 255, 1000, 4095, 4096,
		HOMA_MIN_DEFAULT_PORT, 65535, HOMA_BPAGE_SIZE,
		HOMA_MAX_MESSAGE_LENGTH, HOMA_MAX_MESSAGE_LENGTH + 1, INT_MAX,
		1ULL << 31, UINT_MAX, 1ULL << 32, 1ULL << 47, LONG_MAX,
		1ULL << 63, ULONG_MAX - 4095, ULONG_MAX,
	};

	return borders[below(c, sizeof(borders) / sizeof(borders[0]))];
}

static uint64_t any_wide(struct chance *c)
{
	return (uint64_t)any(c) << 32 | any(c);
}

uint64_t number(struct chance *c, uint64_t right)
{
	switch (c->mood) {
	case RIGHT:
		return right;
	case ALMOST:
		return one_in(c, 2) ? right :
		       one_in(c, 2) ? right + below(c, 3) - 1 : border(c);
	default:
		return one_in(c, 2) ? border(c) : any_wide(c);
	}
}

void *bad_pointer(struct chance *c)
{
	switch (below(c, 7)) {
	case 0:
		return NULL;
	case 1:
		return (void *)8;
	case 2:
		return (void *)(uintptr_t)0xffff888000001000;
	case 3:
		return (void *)(uintptr_t)0x8000000000000000;
	case 4:
		return loose + below(c, PAGE);
	case 5:
		return arena + GIVEN_BYTES - below(c, 64);
	default:
		/* Far below what programs have mapped. */
		return (void *)(uintptr_t)(PAGE + below(c, 1 << 20));
	}
}

bool is_given(const void *at, size_t length)
{
	const uint8_t *byte = at;

	return byte >= arena && byte + length <= arena + GIVEN_BYTES;
}

/* A few of its bytes become something else. */
static void mutate(struct chance *c, uint8_t *at, size_t length)
{
	uint64_t value = border(c);
	size_t width = 1U << below(c, 4), from;

	if (width > length)
		width = length;
	from = below(c, (length - width) / width + 1) * width;
	if (one_in(c, 4))
		value = any_wide(c);
	memcpy(at + from, &value, width);
}

void *given(struct chance *c, const void *right, size_t length)
{
	uint8_t *at = arena + below(c, (GIVEN_BYTES - length) / 8) * 8;
	size_t i;

	if (c->mood == WILD ? one_in(c, 3) :
	    c->mood == ALMOST && one_in(c, 10))
		return bad_pointer(c);
	memcpy(at, right, length);
	if (!length)
		return at;
	if (c->mood == ALMOST && one_in(c, 3))
		mutate(c, at, length);
	if (c->mood == WILD && one_in(c, 2))
		for (i = 0; i < length; i++)
			at[i] = any(c);
	return at;
}

void given_spoil(struct chance *c)
{
	static const int rights[] = { PROT_NONE, PROT_READ,
				      PROT_READ | PROT_WRITE };

	if (one_in(c, 2))
		mutate(c, arena + below(c, GIVEN_BYTES / PAGE) * PAGE, PAGE);
	else
		mprotect(loose, PAGE, rights[below(c, 3)]);
}
