/* SPDX-License-Identifier: Apache-2.0 */
	.text
	.globl	hold, hold_loop, hold_end
/*
 * void hold(const uint64_t x[31], uint64_t resume[13], uint64_t nzcv)
 *
 * On SP_EL0, with interrupts unmasked, load x0 to x30, store w1 to [x0], sleep. The hook of the interrupt that ends it
 * makes the frame return to our caller, from resume[]: x19 to x30, SP.
 */
hold:
	stp	x19, x20, [x1]
	stp	x21, x22, [x1, #16]
	stp	x23, x24, [x1, #32]
	stp	x25, x26, [x1, #48]
	stp	x27, x28, [x1, #64]
	stp	x29, x30, [x1, #80]
	mov	x3, sp
	str	x3, [x1, #96]
	msr	nzcv, x2
	mov	x30, x0
	ldp	x0, x1, [x30]
	ldp	x2, x3, [x30, #16]
	ldp	x4, x5, [x30, #32]
	ldp	x6, x7, [x30, #48]
	ldp	x8, x9, [x30, #64]
	ldp	x10, x11, [x30, #80]
	ldp	x12, x13, [x30, #96]
	ldp	x14, x15, [x30, #112]
	ldp	x16, x17, [x30, #128]
	ldp	x18, x19, [x30, #144]
	ldp	x20, x21, [x30, #160]
	ldp	x22, x23, [x30, #176]
	ldp	x24, x25, [x30, #192]
	ldp	x26, x27, [x30, #208]
	ldp	x28, x29, [x30, #224]
	ldr	x30, [x30, #240]
	msr	spsel, #0
	msr	daifclr, #2
	str	w1, [x0]
hold_loop:
	wfi
	b	hold_loop
hold_end:
