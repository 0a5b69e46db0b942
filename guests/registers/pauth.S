/* SPDX-License-Identifier: Apache-2.0 */
	.arch	armv8.3-a

	.globl	pauth_sign, pauth_authenticate
// void pauth_sign(uint64_t pointer, uint64_t modifier, uint64_t out[5]): with keys IA, IB, DA, DB; the generic one
pauth_sign:
	mov	x3, x0
	pacia	x3, x1
	mov	x4, x0
	pacib	x4, x1
	stp	x3, x4, [x2]
	mov	x3, x0
	pacda	x3, x1
	mov	x4, x0
	pacdb	x4, x1
	stp	x3, x4, [x2, #16]
	pacga	x3, x0, x1
	str	x3, [x2, #32]
	ret

// void pauth_authenticate(const uint64_t in[4], uint64_t modifier, uint64_t out[4])
pauth_authenticate:
	ldp	x3, x4, [x0]
	autia	x3, x1
	autib	x4, x1
	stp	x3, x4, [x2]
	ldp	x3, x4, [x0, #16]
	autda	x3, x1
	autdb	x4, x1
	stp	x3, x4, [x2, #16]
	ret
