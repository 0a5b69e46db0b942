/* SPDX-License-Identifier: Apache-2.0 */
/* The ID registers as a guest reads them on each vCPU, told in `reg` lines and the same after the lifecycle. README.md. */
#include "guest.h"

enum sabotage { HONEST, FLIP };

static const char *const sabotage_names[] = { "none", "flip", NULL };

static struct {
	uint64_t sabotage;
} arg;

/* Name in a `reg` line, encoding: op1, CRm, op2 of S3_<op1>_C0_C<CRm>_<op2> (Arm ARM D24.2). */
#define ROWS(ROW)						\
	ROW(id_pfr0_el1, S3_0_C0_C1_0)				\
	ROW(id_pfr1_el1, S3_0_C0_C1_1)				\
	ROW(id_dfr0_el1, S3_0_C0_C1_2)				\
	ROW(id_mmfr0_el1, S3_0_C0_C1_4)				\
	ROW(id_mmfr1_el1, S3_0_C0_C1_5)				\
	ROW(id_mmfr2_el1, S3_0_C0_C1_6)				\
	ROW(id_mmfr3_el1, S3_0_C0_C1_7)				\
	ROW(id_isar0_el1, S3_0_C0_C2_0)				\
	ROW(id_isar1_el1, S3_0_C0_C2_1)				\
	ROW(id_isar2_el1, S3_0_C0_C2_2)				\
	ROW(id_isar3_el1, S3_0_C0_C2_3)				\
	ROW(id_isar4_el1, S3_0_C0_C2_4)				\
	ROW(id_isar5_el1, S3_0_C0_C2_5)				\
	ROW(id_mmfr4_el1, S3_0_C0_C2_6)				\
	ROW(id_isar6_el1, S3_0_C0_C2_7)				\
	ROW(mvfr0_el1, S3_0_C0_C3_0)				\
	ROW(mvfr1_el1, S3_0_C0_C3_1)				\
	ROW(mvfr2_el1, S3_0_C0_C3_2)				\
	ROW(id_pfr2_el1, S3_0_C0_C3_4)				\
	ROW(id_dfr1_el1, S3_0_C0_C3_5)				\
	ROW(id_mmfr5_el1, S3_0_C0_C3_6)				\
	ROW(id_aa64pfr0_el1, S3_0_C0_C4_0)			\
	ROW(id_aa64pfr1_el1, S3_0_C0_C4_1)			\
	ROW(id_aa64pfr2_el1, S3_0_C0_C4_2)			\
	ROW(id_aa64zfr0_el1, S3_0_C0_C4_4)			\
	ROW(id_aa64smfr0_el1, S3_0_C0_C4_5)			\
	ROW(id_aa64fpfr0_el1, S3_0_C0_C4_7)			\
	ROW(id_aa64dfr0_el1, S3_0_C0_C5_0)			\
	ROW(id_aa64dfr1_el1, S3_0_C0_C5_1)			\
	ROW(id_aa64afr0_el1, S3_0_C0_C5_4)			\
	ROW(id_aa64afr1_el1, S3_0_C0_C5_5)			\
	ROW(id_aa64isar0_el1, S3_0_C0_C6_0)			\
	ROW(id_aa64isar1_el1, S3_0_C0_C6_1)			\
	ROW(id_aa64isar2_el1, S3_0_C0_C6_2)			\
	ROW(id_aa64isar3_el1, S3_0_C0_C6_3)			\
	ROW(id_aa64mmfr0_el1, S3_0_C0_C7_0)			\
	ROW(id_aa64mmfr1_el1, S3_0_C0_C7_1)			\
	ROW(id_aa64mmfr2_el1, S3_0_C0_C7_2)			\
	ROW(id_aa64mmfr3_el1, S3_0_C0_C7_3)			\
	ROW(id_aa64mmfr4_el1, S3_0_C0_C7_4)			\
	ROW(ctr_el0, S3_3_C0_C0_1)

#define GETTER(name, encoding) static uint64_t get_##name(void) { return read_sysreg(encoding); }
ROWS(GETTER)

static const struct {
	const char *name;
	uint64_t (*get)(void);
} rows[] = {
#define ENTRY(name, encoding) { #name, get_##name },
	ROWS(ENTRY)
};

static uint64_t held[MAX_VCPUS][ARRAY_SIZE(rows)];

static void say_all(void *unused)
{
	uint64_t *values = held[cpu_index()];

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		values[i] = rows[i].get();
		say("reg cpu=%u name=%s value=%#lx", cpu_index(), rows[i].name, values[i]);
	}
	if (arg.sabotage == FLIP)
		values[0] ^= 1;
}

static void verify(void *unused)
{
	const uint64_t *values = held[cpu_index()];

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t now = rows[i].get();

		check(now == values[i], "%s had %#lx has %#lx", rows[i].name, values[i], now);
	}
}

void guest_main(void)
{
	static const struct argument table[] = { ARG_WORD("sabotage", arg.sabotage, sabotage_names) };

	guest_begin("idregs", table, ARRAY_SIZE(table));
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, say_all, NULL);
	say("arranged cpu=0 registers=%u", (unsigned)ARRAY_SIZE(rows));
	ask();
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, verify, NULL);
	finish();
}
