/* SPDX-License-Identifier: GPL-2.0 */
/* The way out of a panic: homa_guard.S. */
#ifndef _HOMA_PLATFORM_H
#define _HOMA_PLATFORM_H

/* Where homa_guard_enter left its stack; homa_guard.S knows the offset. */
struct homa_escape {
	unsigned long stack;
};

int homa_guard_enter(void (*run)(void *), void *argument,
		     struct homa_escape *escape);
void __noreturn homa_guard_leave(const struct homa_escape *escape);

#endif /* _HOMA_PLATFORM_H */
