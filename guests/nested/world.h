/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that an L2 sees: its stage 2, its EL1 registers, the way in and out. */
#pragma once

#include "guest.h"
#include "l2.h"

#define NESTED_VCPUS	4

void enter_l2(struct frame *l2);			/* world.S */
_Noreturn void leave_l2(struct frame *on_stack);	/* world.S */

/* HCR_EL2 while L2 runs; the hypervisor's own is what the library has set. */
uint64_t l2_hcr(void);

/* Prepare everything an L2 sees, on the vCPU it is to run on, and the frame to enter it with. */
void world_build(unsigned cpu, struct l2 *l2, struct frame *entry);

/* EL2 registers that have to survive, by number below WORLD_REGISTERS; name for messages. */
#define WORLD_REGISTERS 9
uint64_t world_register(unsigned number, const char **name);
