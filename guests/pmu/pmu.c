/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cycle counter of the PMU counts before the lifecycle, and has to count on afterwards, from where it was.
 * README.md has the details.
 */
#include "guest.h"

enum sabotage { HONEST, STOPS, BACK };

static const char *const sabotage_names[] = { "none", "stops", "back", NULL };

static struct {
	uint64_t sabotage;
} arg;

#define PMCR_E		(1UL << 0)
#define PMCR_LC		(1UL << 6)	/* the cycle counter has 64 bits */
#define CYCLES		(1UL << 31)	/* its bit in PMCNTENSET_EL0 */
#define FILTER_NSH	(1UL << 27)	/* count at EL2, too */
#define BUSY_US		2000
#define FAR		(1UL << 60)	/* where it starts: one that began again at 0 would not come back here */

static uint64_t before[MAX_VCPUS];

static bool have_pmu(void)
{
	uint64_t version = read_sysreg(id_aa64dfr0_el1) >> 8 & 0xf;

	return version != 0 && version != 0xf;	/* 0xf: one of the implementer's own */
}

static uint64_t cycles(void)
{
	isb();
	return read_sysreg(pmccntr_el0);
}

static void start(void *unused)
{
	(void)unused;
	write_sysreg(pmccfiltr_el0, FILTER_NSH);
	write_sysreg(pmcntenset_el0, CYCLES);
	write_sysreg(pmccntr_el0, FAR);
	write_sysreg(pmcr_el0, read_sysreg(pmcr_el0) | PMCR_E | PMCR_LC);
	isb();
	delay_us(BUSY_US);
	before[cpu_index()] = cycles();
	check(before[cpu_index()] > FAR, "PMCCNTR_EL0 does not count before the lifecycle");
	say("arranged cpu=%u cycles=%lu", cpu_index(), before[cpu_index()]);
}

static void compare(void *unused)
{
	uint64_t first, second;

	(void)unused;
	if (arg.sabotage == STOPS)
		write_sysreg(pmcntenclr_el0, CYCLES);
	if (arg.sabotage == BACK) {
		write_sysreg(pmccntr_el0, 0);
		delay_us(2 * BUSY_US);
	}
	isb();
	first = cycles();
	delay_us(BUSY_US);
	second = cycles();
	check(first >= before[cpu_index()], "PMCCNTR_EL0 went back from %lu to %lu", before[cpu_index()], first);
	check(second > first, "PMCCNTR_EL0 stands still at %lu", first);
}

void guest_main(void)
{
	static const struct argument table[] = { ARG_WORD("sabotage", arg.sabotage, sabotage_names) };

	guest_begin("pmu", table, ARRAY_SIZE(table));
	if (!have_pmu())
		skip("the CPU has no PMU");
	smp_call_all(start, NULL);
	ask();
	smp_call_all(compare, NULL);
	finish();
}
