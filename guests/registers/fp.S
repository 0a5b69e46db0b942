/* SPDX-License-Identifier: Apache-2.0 */
/* x0, x1, ... = the buffers, in the order of the arguments. */
	.arch	armv8.2-a+sve+sme

	.altmacro
.macro	v_pair	instruction, a, b
	\instruction q\a, q\b, [x0, #(\a * 16)]
.endm
.macro	all_v	instruction
	.set	i, 0
	.rept	16
	v_pair	\instruction, %i, %(i + 1)
	.set	i, i + 2
	.endr
.endm
.macro	one_vl	instruction, letter, base, n
	\instruction \letter\n, [\base, #\n, mul vl]
.endm
.macro	all_vl	instruction, letter, base, count
	.set	i, 0
	.rept	\count
	one_vl	\instruction, \letter, \base, %i
	.set	i, i + 1
	.endr
.endm

	.globl	v_load, v_save, z_load, z_save, za_load, za_save, zt0_load, zt0_save, sve_bytes, sme_bytes
v_load:
	all_v	ldp
	ret
v_save:
	all_v	stp
	ret

// z_load(z, p, ffr)
z_load:
	ldr	p0, [x2]
	wrffr	p0.b
	all_vl	ldr, z, x0, 32
	all_vl	ldr, p, x1, 16
	ret
z_save:
	all_vl	str, z, x0, 32
	all_vl	str, p, x1, 16
	rdffr	p0.b
	str	p0, [x2]
	ret

sve_bytes:
	rdvl	x0, #1
	ret
sme_bytes:
	rdsvl	x0, #1
	ret

// za_load(za): as many rows as the streaming vector length has bytes, each as long
za_load:
	rdsvl	x1, #1
	mov	w12, #0
1:	ldr	za[w12, 0], [x0]
	add	x0, x0, x1
	add	w12, w12, #1
	cmp	w12, w1
	b.lo	1b
	ret
za_save:
	rdsvl	x1, #1
	mov	w12, #0
1:	str	za[w12, 0], [x0]
	add	x0, x0, x1
	add	w12, w12, #1
	cmp	w12, w1
	b.lo	1b
	ret

// By their codes (Arm ARM C9): assemblers of 2023 do not know SME2.
zt0_load:
	.inst	0xe11f8000	// ldr zt0, [x0]
	ret
zt0_save:
	.inst	0xe13f8000	// str zt0, [x0]
	ret

	.globl	fp_sabotage
fp_sabotage:
	mov	x0, v9.d[1]
	eor	x0, x0, #(1 << 17)
	mov	v9.d[1], x0
	ret
