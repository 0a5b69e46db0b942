/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 64-byte arm64 Image header (kernel documentation, arch/arm64/booting), the two ways into the guest, and the
 * exception vectors.
 */
#include "layout.h"

	.section .head.text, "ax"
	.globl	_start
_start:
	b	start_first
	.long	0
	.quad	0			// text_offset
	.quad	_end - _start		// image_size
	.quad	0xa			// flags: little endian, 4 KiB pages, anywhere in RAM
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

	.text
// x0 = device tree; MMU off. The place it was linked for is in guest.ld.
start_first:
	mov	x19, x0
	msr	spsel, #1
	bl	set_vectors

	adrp	x0, _start
	mov	x1, #0x40000000
	movk	x1, #0x4020, lsl #16
	sub	x1, x0, x1		// x1 = where it is - where it was linked
	adrp	x2, rela_start
	add	x2, x2, :lo12:rela_start
	adrp	x3, rela_end
	add	x3, x3, :lo12:rela_end
1:	cmp	x2, x3
	b.hs	2f
	ldp	x4, x5, [x2], #16	// r_offset, r_info
	ldr	x6, [x2], #8		// r_addend
	cmp	x5, #1027		// R_AARCH64_RELATIVE; the link makes no other kind
	b.ne	bad_relocation
	add	x6, x6, x1
	str	x6, [x4, x1]
	b	1b

2:	adrp	x2, bss_start
	add	x2, x2, :lo12:bss_start
	adrp	x3, bss_end
	add	x3, x3, :lo12:bss_end
3:	cmp	x2, x3
	b.hs	4f
	str	xzr, [x2], #8
	b	3b

4:	mov	x0, #0
	bl	set_stack
	mov	x0, x19
	bl	boot_first
bad_relocation:
	b	.			// a link fault of our own: nothing is there yet to print with

// x0 = the context given to CPU_ON: bits 7:0 the vCPU's number, bit 8 the value of HCR_EL2.E2H; MMU off.
	.globl	start_secondary
start_secondary:
	mov	x19, x0
	msr	spsel, #1
	bl	set_vectors
	and	x0, x19, #0xff
	bl	set_stack
	mov	x0, x19
	bl	boot_secondary
	b	.

// x0 = vCPU number
set_stack:
	adrp	x1, stacks
	add	x1, x1, :lo12:stacks
	add	x0, x0, #1
	add	x1, x1, x0, lsl #STACK_SHIFT
	mov	sp, x1
	mov	x29, #0
	ret

set_vectors:
	mrs	x1, CurrentEL
	cmp	x1, #(2 << 2)
	b.eq	1f
	adrp	x1, vectors_el1
	add	x1, x1, :lo12:vectors_el1
	msr	vbar_el1, x1
	isb
	ret
1:	adrp	x1, vectors_el2
	add	x1, x1, :lo12:vectors_el2
	msr	vbar_el2, x1
	isb
	ret

// One table for each exception level we run at: at EL2 the _EL1 names mean the same registers only while E2H is 1.
.macro	vector_table el
	.balign	2048
	.globl	vectors_el\el
vectors_el\el:
	.set	index, 0
	.rept	16
	.balign	128
	sub	sp, sp, #FRAME_SIZE
	stp	x0, x1, [sp]
	mov	x1, #index
	b	enter_el\el
	.set	index, index + 1
	.endr

enter_el\el:
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x19, [sp, #144]
	stp	x20, x21, [sp, #160]
	stp	x22, x23, [sp, #176]
	stp	x24, x25, [sp, #192]
	stp	x26, x27, [sp, #208]
	stp	x28, x29, [sp, #224]
	add	x2, sp, #FRAME_SIZE
	stp	x30, x2, [sp, #240]
	mrs	x2, elr_el\el
	mrs	x3, spsr_el\el
	stp	x2, x3, [sp, #256]
	mov	x0, sp
	bl	exception_entry
	ldp	x2, x3, [sp, #256]
	msr	elr_el\el, x2
	msr	spsr_el\el, x3
	ldp	x0, x1, [sp]
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldp	x18, x19, [sp, #144]
	ldp	x20, x21, [sp, #160]
	ldp	x22, x23, [sp, #176]
	ldp	x24, x25, [sp, #192]
	ldp	x26, x27, [sp, #208]
	ldp	x28, x29, [sp, #224]
	ldr	x30, [sp, #240]
	add	sp, sp, #FRAME_SIZE
	eret
.endm

	vector_table 1
	vector_table 2

	.bss
	.balign	1 << STACK_SHIFT
	.globl	stacks
stacks:
	.skip	MAX_VCPUS << STACK_SHIFT
