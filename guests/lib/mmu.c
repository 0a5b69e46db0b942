/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and control fields: Arm ARM D8.3, D24.2 (MAIR, SCTLR, TCR, TTBR0). */
#include "mmu.h"

#include "cpu.h"
#include "machine.h"

#define BLOCK_SHIFT	30
#define ADDRESS_BITS	39
#define HIGH_DEVICES	(1UL << 38)	/* PCIe's configuration space and more of the virt machine, above all RAM */
#define BLOCKS		(1u << (ADDRESS_BITS - BLOCK_SHIFT))

#define BLOCK		0x1UL
#define ATTRIBUTE(n)	((uint64_t)(n) << 2)	/* index into MAIR */
#define AP_EL0		(1UL << 6)		/* AP[1]: RES1 in the EL2 regime, EL0 access in the others */
#define INNER_SHAREABLE	(3UL << 8)
#define ACCESSED	(1UL << 10)
#define PXN		(1UL << 53)		/* RES0 in the EL2 regime */
#define UXN		(1UL << 54)		/* XN in the EL2 regime */

#define MAIR		(0x04UL | 0xffUL << 8)	/* 0: Device-nGnRE, 1: Normal write-back */
#define TCR_WALKS	((64 - ADDRESS_BITS) | 1UL << 8 | 1UL << 10 | 3UL << 12)	/* T0SZ, IRGN0, ORGN0, SH0 */
#define TCR_EL1_LAYOUT	(TCR_WALKS | 1UL << 23 | 2UL << 32)	/* EPD1, IPS: 40 bits */
#define TCR_EL2_LAYOUT	(TCR_WALKS | 1UL << 23 | 1UL << 31 | 2UL << 16)	/* RES1, PS: 40 bits */
#define SCTLR_ON	(1UL << 0 | 1UL << 2 | 1UL << 3 | 1UL << 12)	/* M, C, SA, I */
#define SCTLR_EL1_RES1	0x30d00980UL	/* without AArch32 ITD and SED too: KVM sets them when user space writes the register back */
#define SCTLR_E2H1_RES1	0x30d00800UL
#define SCTLR_EL2_RES1	0x30c50830UL

static uint64_t table[BLOCKS] __attribute__((aligned(4096)));

extern char _start[], _end[];

/*
 * What was written with the MMU off is in memory; lines that a cache holds of it are older. Throw them away before the
 * caches are looked at. (The line size is CTR_EL0.DminLine, log2 of words.)
 */
static void invalidate_image(void)
{
	uintptr_t line = 4UL << (read_sysreg(ctr_el0) >> 16 & 0xf);

	dsb();
	for (uintptr_t at = (uintptr_t)_start & ~(line - 1); at < (uintptr_t)_end; at += line)
		asm volatile("dc ivac, %0" :: "r"(at) : "memory");
	dsb();
}

void mmu_build(bool e2h)
{
	bool el2_regime = at_el2() && !e2h;
	uint64_t common = BLOCK | ACCESSED | (el2_regime ? AP_EL0 : 0);
	uint64_t device = common | ATTRIBUTE(0) | UXN | (el2_regime ? 0 : PXN);
	uint64_t normal = common | ATTRIBUTE(1) | INNER_SHAREABLE | (el2_regime ? 0 : UXN);
	uint64_t ram_end = machine.fault ? RAM_BASE + 1 : machine.ram_base + machine.ram_size;

	for (uint64_t block = 0; block < BLOCKS; block++) {
		uint64_t address = block << BLOCK_SHIFT;

		if (address < RAM_BASE || address >= HIGH_DEVICES)
			table[block] = address | device;
		else
			table[block] = address < ram_end ? address | normal : 0;
	}
	invalidate_image();
}

void mmu_enable(bool e2h)
{
	uint64_t root = (uintptr_t)table;

	if (at_el2()) {
		write_sysreg(mair_el2, MAIR);
		write_sysreg(tcr_el2, e2h ? TCR_EL1_LAYOUT : TCR_EL2_LAYOUT);
		write_sysreg(ttbr0_el2, root);
		asm volatile("tlbi alle2" ::: "memory");
	} else {
		write_sysreg(mair_el1, MAIR);
		write_sysreg(tcr_el1, TCR_EL1_LAYOUT);
		write_sysreg(ttbr0_el1, root);
		asm volatile("tlbi vmalle1" ::: "memory");
	}
	asm volatile("ic iallu" ::: "memory");
	dsb();
	isb();
	if (at_el2())
		write_sysreg(sctlr_el2, (e2h ? SCTLR_E2H1_RES1 : SCTLR_EL2_RES1) | SCTLR_ON);
	else
		write_sysreg(sctlr_el1, SCTLR_EL1_RES1 | SCTLR_ON);
	isb();
}
