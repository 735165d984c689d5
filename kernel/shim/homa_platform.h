/* SPDX-License-Identifier: GPL-2.0 */
/* What the core takes from its system, as the shim sees it. */
#ifndef _HOMA_PLATFORM_H
#define _HOMA_PLATFORM_H

#include <linux/types.h>

bool homa_test_refuses(void);

/* Where homa_guard_enter left its stack; homa_guard.S knows the offset. */
struct homa_escape {
	unsigned long stack;
};

int homa_guard_enter(void (*run)(void *), void *argument,
		     struct homa_escape *escape);
void __noreturn homa_guard_leave(const struct homa_escape *escape);

#endif /* _HOMA_PLATFORM_H */
