/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation tags (FEAT_MTE2): a tag for each granule of the working set, which has to be the same after the lifecycle, as have
 * what it holds and the registers of the extension. README.md has the details; Arm ARM D10 the architecture.
 */
#include "guest.h"

enum sabotage { HONEST, LOSE_TAG, LOSE_DATA };

static const char *const sabotage_names[] = { "none", "lose-tag", "lose-data", NULL };

static struct {
	uint64_t kib, sabotage;
} arg = { .kib = 64 };

#define GRANULE		16
#define TAG_SHIFT	56
#define MAX_FAILS	16	/* after that many bad granules the rest is not looked at */

#define MAIR_TAGGED	(0x04UL | 0xf0UL << 8)	/* as lib/mmu.c, with Normal memory tagged */
#define TCR_TBI0	(1UL << 37)
#define SCTLR_ATA	(1UL << 43)
#define SCTLR_TCF_SYNC	(1UL << 40)
#define MTE_SHIFT	8	/* of ID_AA64PFR1_EL1.MTE */
#define MTE2		2
#define DFSC_TAG_CHECK	0x11	/* of ESR_EL1 */

#define RGSR_EL1	S3_0_C1_C0_5
#define GCR_EL1		S3_0_C1_C0_6
#define TFSR_EL1	S3_0_C5_C6_0
#define TFSRE0_EL1	S3_0_C5_C6_1

static uintptr_t start;		/* the working set: from the end of the image on */
static uint64_t count;		/* granules */
static unsigned faults;		/* tag check faults taken, on the vCPU that provokes one */

extern char _end[];

/* Neighbours have different tags, and pages different rows of them. */
static uint64_t tag_of(uint64_t granule)
{
	return (granule * 7 + granule / 256 + 3) & 0xf;
}

static uint64_t datum(uint64_t granule)
{
	return granule * 0x9e3779b97f4a7c15UL;
}

static uintptr_t place(uint64_t granule)
{
	return start + granule * GRANULE;
}

static uintptr_t tagged(uint64_t granule)
{
	return place(granule) | tag_of(granule) << TAG_SHIFT;
}

static void set_tag(uintptr_t address)
{
	asm volatile(".arch armv8.5-a+memtag\n\tstg %0, [%0]" :: "r"(address) : "memory");
}

static uint64_t get_tag(uintptr_t address)
{
	uintptr_t found = address;

	asm volatile(".arch armv8.5-a+memtag\n\tldg %0, [%0]" : "+r"(found) :: "memory");
	return found >> TAG_SHIFT & 0xf;
}

static void registers(uint64_t values[4])
{
	values[0] = read_sysreg(GCR_EL1);
	values[1] = read_sysreg(RGSR_EL1);
	values[2] = read_sysreg(TFSR_EL1);
	values[3] = read_sysreg(TFSRE0_EL1);
}

static const char *const register_names[] = { "gcr_el1", "rgsr_el1", "tfsr_el1", "tfsre0_el1" };
static uint64_t held[MAX_VCPUS][4];

/* Have tags looked at, by this vCPU, in every access. */
static void enable(void *unused)
{
	(void)unused;
	write_sysreg(mair_el1, MAIR_TAGGED);
	write_sysreg(tcr_el1, read_sysreg(tcr_el1) | TCR_TBI0);
	isb();
	asm volatile("tlbi vmalle1" ::: "memory");
	dsb();
	write_sysreg(sctlr_el1, read_sysreg(sctlr_el1) | SCTLR_ATA | SCTLR_TCF_SYNC);
	isb();
	asm volatile(".arch armv8.5-a+memtag\n\tmsr tco, #0" ::: "memory");
	write_sysreg(GCR_EL1, 0x1a5a5 ^ cpu_index());
	write_sysreg(RGSR_EL1, 0x123405 + (cpu_index() << 8));
	write_sysreg(TFSR_EL1, 1);
	write_sysreg(TFSRE0_EL1, 2);
	isb();
}

static void say_registers(void *unused)
{
	(void)unused;
	registers(held[cpu_index()]);
	for (unsigned i = 0; i < ARRAY_SIZE(register_names); i++)
		say("reg cpu=%u name=%s value=%#lx", cpu_index(), register_names[i], held[cpu_index()][i]);
}

static bool on_fault(struct frame *frame)
{
	if ((exception_syndrome() & 0x3f) != DFSC_TAG_CHECK)
		return false;
	faults++;
	frame->elr += 4;
	return true;
}

/* An access with another tag than the granule's must fault: tags are looked at. */
static void provoke(void)
{
	faults = 0;
	read32(tagged(0) ^ 1UL << TAG_SHIFT);
	check(faults == 1, "an access with another tag than the granule's made %u faults, expected 1", faults);
}

static void verify(void *unused)
{
	uint64_t now[4];
	unsigned fails = 0;

	(void)unused;
	registers(now);
	for (unsigned i = 0; i < ARRAY_SIZE(now); i++)
		check(now[i] == held[cpu_index()][i], "%s had %#lx has %#lx", register_names[i], held[cpu_index()][i], now[i]);
	for (uint64_t i = 0; i < count && fails < MAX_FAILS; i++) {
		uint64_t tag = get_tag(place(i));

		if (!check(tag == tag_of(i), "granule %lu at %#lx: tag had %#lx has %#lx", i, place(i), tag_of(i), tag))
			fails++;
		else
			fails += !check(read64(tagged(i)) == datum(i), "granule %lu at %#lx: had %#lx has %#lx", i, place(i),
					datum(i), read64(tagged(i)));
	}
	provoke();
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_NUMBER("kib", arg.kib, 4, 4096),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};

	guest_begin("tags", table, ARRAY_SIZE(table));
	if (at_el2())
		skip("tags are for EL1: KVM shows them to no guest at EL2");
	if (id_field(read_sysreg(id_aa64pfr1_el1), MTE_SHIFT) < MTE2)
		skip("no FEAT_MTE2");
	start = ((uintptr_t)_end + 4095) & ~4095UL;
	count = arg.kib * 1024 / GRANULE;
	exception_set_hook(VECTOR_SYNC, on_fault);
	smp_call_all(enable, NULL);
	for (uint64_t i = 0; i < count; i++) {
		set_tag(tagged(i));
		write64(tagged(i), datum(i));
	}
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, say_registers, NULL);
	say("arranged cpu=0 granules=%lu", count);
	ask();
	if (arg.sabotage == LOSE_TAG)
		set_tag(place(5));
	if (arg.sabotage == LOSE_DATA)
		write64(tagged(5), 0);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, verify, NULL);
	finish();
}
