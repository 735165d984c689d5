/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls a function, and comes back from it a second way: homa_guard_leave()
 * drops every frame above homa_guard_enter() and has that return -EIO.
 */
#include <linux/linkage.h>
#include <asm/errno.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

	.text

.macro SAVE_CALLEE
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp	/* keeps the stack aligned at the call */
.endm

.macro RESTORE_CALLEE
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
.endm

/*
 * int homa_guard_enter(void (*run)(void *), void *argument,
 *			struct homa_escape *escape)
 */
SYM_FUNC_START(homa_guard_enter)
	SAVE_CALLEE
	movq	%rsp, (%rdx)
	movq	%rdi, %rax
	movq	%rsi, %rdi
	CALL_NOSPEC rax
	xorl	%eax, %eax
	RESTORE_CALLEE
	RET
SYM_FUNC_END(homa_guard_enter)

/* void homa_guard_leave(const struct homa_escape *escape) */
SYM_FUNC_START(homa_guard_leave)
	movq	(%rdi), %rsp
	RESTORE_CALLEE
	movl	$-EIO, %eax
	UNWIND_HINT_FUNC
	RET
SYM_FUNC_END(homa_guard_leave)
