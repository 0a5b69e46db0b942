/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hypervisor (main.c, at EL2) and its guest L2 (l2.c, at EL1) have in common: the memory of one L2, and the
 * hypercalls. An address that L2 uses for its memory is the same at EL2; the IPA between them is IPA_OFFSET away.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum instant { ARMED, PENDING_LR, ACTIVE_LR, L2_RUNNING, L2_WFI };

/* x0 of HVC #0. Arguments are in x1 and up; all registers come back as they were, but for x0. */
enum hypercall {
	CALL_ARRANGED,	/* L2 is in the instant. x0 comes back as the address of l2.go */
	CALL_BEAT,
	CALL_IRQ,	/* x1 INTID, x2 CVAL, x3 counter, x4 CTL: an interrupt was taken */
	CALL_CHECK,	/* x1 holds, x2 name (text), x3 had, x4 has */
	CALL_PANIC,	/* x1 vector, x2 ESR, x3 ELR, x4 FAR */
	CALL_LOST,	/* x1 CVAL, x2 counter, x3 CTL: the interrupt that the instant needs does not come */
};

#define IPA_OFFSET	(8UL << 30)	/* modulo 64 GiB */
#define ADDRESS_BITS	36
#define L2_REGISTERS	29		/* x1 to x29 hold patterns while L2 waits */
#define L2_VMPIDR(cpu)	(0x80000000UL | 0x1100 | (cpu))
#define L2_VIRTUAL_OFFSET (-0x0000765432100000UL)	/* CNTVOFF_EL2 while L2 exists */

/* One for each vCPU, the only memory that L2 can write; page-aligned because stage 2 maps pages. */
struct l2 {
	uint8_t stack[8192];
	uint64_t table[512];			/* stage 1 */
	bool go;				/* the lifecycle is over; written by the hypervisor */
	bool reading;				/* the timer, for CALL_IRQ; cleared by the hypervisor, which says nothing before that */
	unsigned cpu;
	uint64_t instant, ticks, ahead, period, lost, reading_time;	/* arguments; times in counter ticks */
	uint64_t cval;				/* as last written */
	uint64_t newest;			/* the highest counter value read */
	uint64_t beats;
	unsigned count;				/* interrupts taken */
	bool armed;
	uint64_t had[L2_REGISTERS], has[L2_REGISTERS];	/* x1 to x29 before and after the wait */
} __attribute__((aligned(4096)));

_Noreturn void l2_start(struct l2 *l2);		/* L2's entry point */
void l2_irq(struct l2 *l2);			/* called by l2_vectors */

/* l2.S */
extern char l2_vectors[];
uint64_t l2_call(enum hypercall call, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Load x1 to x29 from had, make CALL_ARRANGED, wait for its flag with nothing changed, store x1 to x29 in has. */
void l2_hold_running(const uint64_t *had, uint64_t *has);
void l2_hold_wfi(const uint64_t *had, uint64_t *has);
