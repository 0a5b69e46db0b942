/* SPDX-License-Identifier: Apache-2.0 */
/* L2 at EL1: vectors, hypercalls, and the wait in which all its registers hold patterns. */

	.text
// x0 = call, x1 to x4 = arguments
	.globl	l2_call
l2_call:
	hvc	#0
	ret

// x0 = had, x1 = has. x30 is the scratch register; everything else is as loaded when the hypervisor sends `now`.
.macro	hold name, sleep
	.globl	\name
\name:
	stp	x29, x30, [sp, #-112]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	str	x1, [sp, #96]
	mov	x30, x0
	.irp	n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27
	pair	ldp, \n
	.endr
	ldr	x29, [x30, #224]
	mov	x0, #0			// CALL_ARRANGED
	hvc	#0
1:	\sleep
	ldarb	w30, [x0]
	cbz	w30, 1b
	ldr	x30, [sp, #96]
	.irp	n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27
	pair	stp, \n
	.endr
	str	x29, [x30, #224]
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #112
	ret
.endm

.altmacro
.macro	pair_of op, n, m
	\op	x\n, x\m, [x30, #(\n - 1) * 8]
.endm
.macro	pair op, n
	pair_of	\op, \n, %(\n + 1)
.endm

	hold	l2_hold_running, yield
	hold	l2_hold_wfi, wfi

// TPIDR_EL1 = struct l2
	.balign	2048
	.globl	l2_vectors
l2_vectors:
	.set	index, 0
	.rept	16
	.balign	128
	.if	index == 5
	b	irq
	.else
	mov	x1, #index
	b	bad
	.endif
	.set	index, index + 1
	.endr

bad:	mov	x0, #4			// CALL_PANIC
	mrs	x2, esr_el1
	mrs	x3, elr_el1
	mrs	x4, far_el1
	hvc	#0
	b	.

irq:	sub	sp, sp, #192
	stp	x0, x1, [sp]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x29, [sp, #144]
	mrs	x1, elr_el1
	mrs	x2, spsr_el1
	stp	x30, x1, [sp, #160]
	str	x2, [sp, #176]
	mrs	x0, tpidr_el1
	bl	l2_irq			// keeps x19 to x28
	ldr	x2, [sp, #176]
	ldp	x30, x1, [sp, #160]
	msr	elr_el1, x1
	msr	spsr_el1, x2
	ldp	x18, x29, [sp, #144]
	ldp	x16, x17, [sp, #128]
	ldp	x14, x15, [sp, #112]
	ldp	x12, x13, [sp, #96]
	ldp	x10, x11, [sp, #80]
	ldp	x8, x9, [sp, #64]
	ldp	x6, x7, [sp, #48]
	ldp	x4, x5, [sp, #32]
	ldp	x2, x3, [sp, #16]
	ldp	x0, x1, [sp]
	add	sp, sp, #192
	eret
