/* SPDX-License-Identifier: Apache-2.0 */
#include "exception.h"

#include "cpu.h"
#include "gic.h"
#include "say.h"

_Static_assert(sizeof(struct frame) == FRAME_SIZE, "start.S saves what struct frame says");

#define VECTORS 16

static exception_hook hooks[VECTORS];

void exception_set_hook(enum vector vector, exception_hook hook)
{
	store(hooks[vector], hook);
}

uint64_t exception_syndrome(void)
{
	return at_el2() ? read_sysreg(esr_el2) : read_sysreg(esr_el1);
}

uint64_t exception_fault_address(void)
{
	return at_el2() ? read_sysreg(far_el2) : read_sysreg(far_el1);
}

void exception_entry(struct frame *frame, unsigned vector)
{
	exception_hook hook = load(hooks[vector]);

	if (hook && hook(frame))
		return;
	if (vector == VECTOR_IRQ) {
		gic_dispatch(frame);
		return;
	}
	panic_at(frame->elr, exception_syndrome(), exception_fault_address(), "unexpected exception, vector %u", vector);
}
