/* SPDX-License-Identifier: Apache-2.0 */
/* From the entry with MMU off to C with MMU, caches, vectors and a stack. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void start_secondary(void);			/* start.S: the entry for PSCI CPU_ON */
uint64_t boot_context(unsigned cpu);		/* the context id that start_secondary() wants in x0 */
_Noreturn void boot_first(const void *dtb);	/* called by start.S with the MMU off */
_Noreturn void boot_secondary(uint64_t context);

/* Why HCR_EL2.E2H does not have the value that e2h= asked for; NULL if it has. */
extern const char *e2h_fault;
