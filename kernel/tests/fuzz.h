/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Calls of chance: fuzz.c has processes make them, fuzz_calls.c makes one, and
 * fuzz_chance.c chooses what it is given.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdatomic.h>

#include "guest.h"

/* How right the arguments of a call are. */
enum mood { RIGHT, ALMOST, WILD };

/* What a thread chooses with; the same seed chooses the same. */
struct chance {
	uint64_t state;
	enum mood mood;
};

uint32_t any(struct chance *c);
uint32_t below(struct chance *c, uint32_t limit);
bool one_in(struct chance *c, uint32_t many);
/* A number that is @right, next to it, or at the border of something. */
uint64_t number(struct chance *c, uint64_t right);
/* A pointer that no call should be given. */
void *bad_pointer(struct chance *c);
/* Where a call finds a copy of @right, as the mood has it. */
void *given(struct chance *c, const void *right, size_t length);
/* Whether @length bytes there are memory of given(), and can be read. */
bool is_given(const void *at, size_t length);
/* Memory of given() with a guard behind it, and a page that comes and goes. */
void given_make(void);
/* Has that page come or go, and bytes change under other threads' calls. */
void given_spoil(struct chance *c);

/* A kind of call, which can do as it is asked; @run returns what it returned. */
struct fuzz_kind {
	const char *name;
	unsigned int weight;
	long (*run)(struct chance *c);
};

#define FUZZ_KINDS 20

extern const struct fuzz_kind fuzz_kinds[FUZZ_KINDS];

/* Sockets and memory of a process that makes calls. */
void fuzz_calls_begin(void);

#endif /* FUZZ_H */
