/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and control fields: Arm ARM D8.3 (stage 1 and 2), D24.2 (VTCR_EL2, VTTBR_EL2, HCR_EL2). */
#include "world.h"

#define PAGE		4096UL
#define TABLE_OR_PAGE	3UL
#define BLOCK		1UL
#define ACCESSED	(1UL << 10)
#define SHAREABLE	(3UL << 8)
#define NORMAL_INDEX	(1UL << 2)		/* stage 1: MAIR attribute 1 */
#define S2_NORMAL	(0xfUL << 2)		/* stage 2: Normal write-back */
#define S2_READ		(1UL << 6)
#define S2_WRITE	(2UL << 6)
#define S2_XN		(1UL << 54)
#define ADDRESS		0xfffffffff000UL
#define POOL		8			/* tables below the root: two levels for code, two for data, and to spare */

#define MAIR		(0xffUL << 8)		/* 1: Normal write-back; L2 has no devices */
#define WALKS		((64 - ADDRESS_BITS) | 1UL << 8 | 1UL << 10 | 3UL << 12)	/* T0SZ, IRGN0, ORGN0, SH0 */
#define TCR		(WALKS | 1UL << 23 | 1UL << 32)			/* EPD1, IPS: 36 bits */
#define VTCR		(WALKS | 1UL << 6 | 1UL << 16 | 1UL << 31)	/* SL0: level 1, PS: 36 bits, RES1 */
#define SCTLR		(0x30d00980UL | 1UL << 0 | 1UL << 2 | 1UL << 3 | 1UL << 12)	/* RES1 (without AArch32 ITD, SED too), M, C, SA, I */
#define FPEN		(3UL << 20)
#define SPSR_EL1H_DAIF	0x3c5UL

#define SCTLR_EL12	S3_5_C1_C0_0
#define CPACR_EL12	S3_5_C1_C0_2
#define TTBR0_EL12	S3_5_C2_C0_0
#define TCR_EL12	S3_5_C2_C0_2
#define MAIR_EL12	S3_5_C10_C2_0
#define VBAR_EL12	S3_5_C12_C0_0
#define CNTKCTL_EL12	S3_5_C14_C1_0

/* With E2H=1 the _EL1 names mean the hypervisor's own registers. */
#define write_el1(name, value) do {				\
	if (e2h_set())						\
		write_sysreg(name##_EL12, value);		\
	else							\
		write_sysreg(name##_EL1, value);		\
} while (0)

struct stage2 {
	uint64_t root[512], pool[POOL][512];
	unsigned used;
} __attribute__((aligned(4096)));

static struct stage2 stage2[NESTED_VCPUS];

extern char _start[], bss_start[];

static uint64_t ipa_of(const void *address)
{
	return ((uintptr_t)address + IPA_OFFSET) & ((1UL << ADDRESS_BITS) - 1);
}

static uint64_t *next_level(struct stage2 *s, uint64_t *entry)
{
	if (!*entry) {
		if (s->used == POOL)
			panic("stage 2 needs more than %u tables", POOL);
		*entry = (uintptr_t)s->pool[s->used++] | TABLE_OR_PAGE;
	}
	return (uint64_t *)(*entry & ADDRESS);
}

static void map(struct stage2 *s, const void *from, const void *to, uint64_t attributes)
{
	for (uintptr_t pa = (uintptr_t)from & ~(PAGE - 1); pa < (uintptr_t)to; pa += PAGE) {
		uint64_t ipa = ipa_of((const void *)pa);
		uint64_t *middle = next_level(s, &s->root[ipa >> 30]);
		uint64_t *last = next_level(s, &middle[ipa >> 21 & 511]);

		last[ipa >> 12 & 511] = pa | TABLE_OR_PAGE | ACCESSED | SHAREABLE | S2_NORMAL | attributes;
	}
}

/*
 * Page by page: for `vmalls12e1` KVM goes through all addresses that the stage 2 of this VMID could have, in small steps between
 * which it hands a lock to any vCPU that wants it too. On an emulated host, once there is such a stage 2, as after a reset, that
 * takes 7 s.
 */
static void invalidate(const void *from, const void *to)
{
	for (uintptr_t pa = (uintptr_t)from & ~(PAGE - 1); pa < (uintptr_t)to; pa += PAGE)
		asm volatile("tlbi ipas2e1, %0" :: "r"(ipa_of((const void *)pa) >> 12) : "memory");
}

/* Stage 1 of L2: an address that it uses becomes the IPA that stage 2 turns back. */
static void build_stage1(struct l2 *l2)
{
	for (uint64_t block = 0; block < 1UL << (ADDRESS_BITS - 30); block++)
		l2->table[block] = ipa_of((const void *)(block << 30)) | BLOCK | ACCESSED | SHAREABLE | NORMAL_INDEX;
}

uint64_t l2_hcr(void)
{
	return HCR_VM | HCR_FMO | HCR_IMO | HCR_AMO | HCR_RW | HCR_API | HCR_APK | (e2h_set() ? HCR_E2H : 0);
}

static void set_el1(struct l2 *l2)
{
	write_el1(SCTLR, SCTLR);
	write_el1(CPACR, FPEN);
	write_el1(TTBR0, ipa_of(l2->table));
	write_el1(TCR, TCR);
	write_el1(MAIR, MAIR);
	write_el1(VBAR, (uintptr_t)l2_vectors);
	write_el1(CNTKCTL, 0);
	write_sysreg(tpidr_el1, (uintptr_t)l2);
	write_sysreg(sp_el1, (uintptr_t)l2->stack + sizeof(l2->stack));
}

void world_build(unsigned cpu, struct l2 *l2, struct frame *entry)
{
	struct stage2 *s = &stage2[cpu];

	build_stage1(l2);
	map(s, _start, bss_start, S2_READ);
	map(s, l2, l2 + 1, S2_READ | S2_WRITE | S2_XN);
	write_sysreg(vtcr_el2, VTCR);
	write_sysreg(vttbr_el2, (uintptr_t)s->root | (uint64_t)(cpu + 0x21) << 48);	/* VMID */
	write_sysreg(vpidr_el2, read_sysreg(midr_el1));
	write_sysreg(vmpidr_el2, L2_VMPIDR(cpu));
	write_sysreg(cntvoff_el2, far_offset(L2_VIRTUAL_OFFSET));
	set_el1(l2);
	dsb();
	isb();
	invalidate(_start, bss_start);
	invalidate(l2, l2 + 1);
	dsb();
	asm volatile("tlbi vmalle1" ::: "memory");
	dsb();
	isb();
	*entry = (struct frame){ .elr = (uintptr_t)l2_start, .spsr = SPSR_EL1H_DAIF };
	entry->x[0] = (uintptr_t)l2;
}

uint64_t world_register(unsigned number, const char **name)
{
	static const char *const names[WORLD_REGISTERS] = {
		"HCR_EL2", "VTTBR_EL2", "VTCR_EL2", "VPIDR_EL2", "VMPIDR_EL2", "CNTVOFF_EL2", "CNTHCTL_EL2", "ICH_HCR_EL2",
		"ICH_VMCR_EL2",
	};

	*name = names[number];
	switch (number) {
	case 0: return read_sysreg(hcr_el2);
	case 1: return read_sysreg(vttbr_el2);
	case 2: return read_sysreg(vtcr_el2);
	case 3: return read_sysreg(vpidr_el2);
	case 4: return read_sysreg(vmpidr_el2);
	case 5: return read_sysreg(cntvoff_el2);
	case 6: return read_sysreg(cnthctl_el2);
	case 7: return read_sysreg(ICH_HCR_EL2);
	case 8: return read_sysreg(ICH_VMCR_EL2);
	default: panic("no register %u", number);
	}
}
