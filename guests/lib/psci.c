/* SPDX-License-Identifier: Apache-2.0 */
#include "psci.h"

#include "cpu.h"
#include "machine.h"

#define PSCI_SYSTEM_OFF	0x84000008UL
#define PSCI_CPU_ON	0xc4000003UL

static int64_t psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 asm("x0") = function;
	register uint64_t x1 asm("x1") = a;
	register uint64_t x2 asm("x2") = b;
	register uint64_t x3 asm("x3") = c;
	/* Without a device tree there is still a rule: HVC traps to EL2 only from EL1. */
	bool smc = machine.fault ? at_el2() : machine.psci_smc;

	/* The calling convention lets the callee change x4 to x17. */
	if (smc)
		asm volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) :: "x4", "x5", "x6", "x7", "x8", "x9",
			     "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");
	else
		asm volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) :: "x4", "x5", "x6", "x7", "x8", "x9",
			     "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");
	return (int64_t)x0;
}

int64_t psci_cpu_on(uint64_t mpidr, uintptr_t entry, uint64_t context)
{
	return psci(PSCI_CPU_ON, mpidr, entry, context);
}

void psci_system_off(void)
{
	psci(PSCI_SYSTEM_OFF, 0, 0, 0);
	for (;;)
		wfi();
}
