/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions: the saved frame, and hooks for payloads that want some for themselves. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What start.S saves; a handler may change it, and the change takes effect at the return. */
struct frame {
	uint64_t x[31];
	uint64_t sp;	/* at the time of the exception, if it was taken from our own level; not restored */
	uint64_t elr;
	uint64_t spsr;
};

/* Entries of the vector table, in its order (Arm ARM D1.4.1). */
enum vector {
	VECTOR_SP0_IRQ = 1,	/* from the level we run at, on SP_EL0 */
	VECTOR_SYNC = 4,	/* from the level we run at, on SP_ELx */
	VECTOR_IRQ = 5,
	VECTOR_FIQ = 6,
	VECTOR_LOWER_SYNC = 8,	/* from AArch64 at a lower level */
	VECTOR_LOWER_IRQ = 9,
};

/* Returns true if it dealt with the exception; false leads to the default: gic.h for VECTOR_IRQ, a panic for all others. */
typedef bool (*exception_hook)(struct frame *frame);

/* Install a hook for all vCPUs; NULL takes it away. */
void exception_set_hook(enum vector vector, exception_hook hook);

/* The syndrome and fault address of the level we run at. */
uint64_t exception_syndrome(void);
uint64_t exception_fault_address(void);

void exception_entry(struct frame *frame, unsigned vector);	/* called by start.S */
