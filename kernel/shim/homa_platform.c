// SPDX-License-Identifier: GPL-2.0
/* What the Rust core takes from its system: memory, and the end of a panic. */
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/slab.h>

#include "homa_core.h"
#include "homa_platform.h"

/* For tests: of so many allocations one fails; 0: none does. */
static unsigned int homa_refuse_one_of;
module_param_named(refuse_one_of, homa_refuse_one_of, uint, 0600);
MODULE_PARM_DESC(refuse_one_of, "for tests: of so many allocations one fails");

static DEFINE_PER_CPU(unsigned int, homa_allocations);

/* Whether a test wants the next allocation to fail. */
bool homa_test_refuses(void)
{
	unsigned int one_of = READ_ONCE(homa_refuse_one_of);

	return unlikely(one_of) &&
	       this_cpu_inc_return(homa_allocations) % one_of == 0;
}

/*
 * kmalloc aligns what is a power of two to itself. The core allocates under its
 * lock, so it may not sleep; it lives with a refusal.
 */
static size_t homa_alloc_bytes(size_t bytes, size_t align)
{
	if (align <= ARCH_KMALLOC_MINALIGN)
		return bytes;
	return roundup_pow_of_two(max(bytes, align));
}

#define HOMA_CORE_GFP (GFP_ATOMIC | __GFP_NOWARN | __GFP_ACCOUNT)

void *homa_shim_alloc(size_t bytes, size_t align)
{
	if (homa_test_refuses())
		return NULL;
	return kmalloc(homa_alloc_bytes(bytes, align), HOMA_CORE_GFP);
}

void *homa_shim_realloc(void *old, size_t bytes, size_t align)
{
	if (homa_test_refuses())
		return NULL;
	return krealloc(old, homa_alloc_bytes(bytes, align), HOMA_CORE_GFP);
}

void homa_shim_free(void *old)
{
	kfree(old);
}

/* Where a panic on this processor goes: the innermost guard. */
static DEFINE_PER_CPU(struct homa_escape *, homa_escapes);

/* Runs @run; -EIO if it panicked. Preemption is off: it is one processor. */
int homa_shim_guard(void (*run)(void *), void *argument)
{
	struct homa_escape escape;
	struct homa_escape *outer = this_cpu_read(homa_escapes);
	int err;

	this_cpu_write(homa_escapes, &escape);
	err = homa_guard_enter(run, argument, &escape);
	this_cpu_write(homa_escapes, outer);
	return err;
}

void homa_shim_panic(const u8 *text, size_t bytes)
{
	struct homa_escape *escape = this_cpu_read(homa_escapes);

	pr_err("homa: the engine panicked and is given up: %.*s\n",
	       (int)bytes, text);
	if (escape)
		homa_guard_leave(escape);
	/* Nothing of ours calls the core without a guard. */
	BUG();
}
