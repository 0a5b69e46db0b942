/* SPDX-License-Identifier: Apache-2.0 */
/* The rows are in sysregs.def; ID register fields: Arm ARM D24.2. */
#include "sysregs.h"

#include "features.h"
#include "guest.h"

enum { AT_EL1 = 1, AT_E2H0 = 2, AT_E2H1 = 4, AT_EL2 = AT_E2H0 | AT_E2H1, ANYWHERE = AT_EL1 | AT_EL2 };

#define SCTLR_FOR_EL0	0x0405c200UL	/* UCI, nTWE, nTWI, UCT, DZE, UMA */
#define TCR_OF_TTBR1	0x0f1f0000UL	/* T1SZ below the sign bit, IRGN1, ORGN1; EPD1 keeps them without effect */
#define ISTATUS		4

struct reg {
	const char *name;
	uint64_t (*get)(void);
	void (*put)(uint64_t);
	unsigned (*have)(void);	/* how many of its kind there are on this CPU */
	uint64_t mask;		/* bits that get a pattern */
	uint64_t value;		/* the pattern, if it does not come from the seed */
	uint64_t unknown;	/* bits that are not compared */
	unsigned char number;	/* of its kind */
	unsigned char where;
	unsigned char set;
	bool lost;		/* overwritten by the interrupt that ends the lifecycle */
};

/* First pass over the table: two functions for each row. Register encodings have to be constants. */
#define ACCESS2(where, name, encoding, set, clear)								\
	static uint64_t get_##where##_##name(void) { return read_sysreg(encoding); }				\
	static void put_##where##_##name(uint64_t value)							\
	{													\
		if (clear)											\
			write_sysreg(encoding, ~0UL);								\
		write_sysreg(set, value);									\
	}
#define ENTRY(where, name, encoding, set, clear, mask, value, unknown, have, number, which, lost)		\
	ACCESS2(where, name, encoding, set, clear)
#define ROWS_OF(where, name, encoding, mask, value, unknown, have, number, which, lost)				\
	ENTRY(where, name, encoding, encoding, false, mask, value, unknown, have, number, which, lost)

#define ROW(where, name, encoding, mask, have)		ROWS_OF(where, name, encoding, mask, 0, 0, have, 0, SYS_PLAIN, false)
#define FIXED(where, name, encoding, mask, value, have)	ROWS_OF(where, name, encoding, mask, value, 0, have, 0, SYS_PLAIN, false)
#define LOST(where, name, encoding, mask, have)		ROWS_OF(where, name, encoding, mask, 0, 0, have, 0, SYS_PLAIN, true)
#define NTH(where, name, encoding, mask, have, n)	ROWS_OF(where, name, encoding, mask, 0, 0, have, n, SYS_PLAIN, false)
#define TIMER_CTL(where, name, encoding, have)		ROWS_OF(where, name, encoding, 2, 0, ISTATUS, have, 0, SYS_PLAIN, false)
#define KEY(name, encoding)				ROWS_OF(ANYWHERE, name, encoding, ~0UL, 0, 0, have_pauth, 0, SYS_KEYS, false)
#define SET_CLEAR(where, name, set, clear, mask, have)	ENTRY(where, name, clear, set, true, mask, 0, 0, have, 0, SYS_PLAIN, false)
#define ANY(name, encoding, mask, have)			ROW(ANYWHERE, name, encoding, mask, have)
#define EL2(name, encoding, mask, have)			ROW(AT_EL2, name, encoding, mask, have)
#define EL1(name, suffix, mask1, mask2, have)			\
	ROW(AT_EL1, name, S3_0_##suffix, mask1, have)		\
	ROW(AT_E2H0, name, S3_0_##suffix, mask2, have)		\
	ROW(AT_E2H1, name##2, S3_5_##suffix, mask2, have)
#define EL0_TIMER(name, suffix, mask)				\
	ROW(AT_EL1, name, S3_3_##suffix, mask, always)		\
	ROW(AT_E2H0, name, S3_3_##suffix, mask, always)		\
	ROW(AT_E2H1, name##2, S3_5_##suffix, mask, always)
#define EL0_TIMER_CTL(name, suffix)				\
	TIMER_CTL(AT_EL1, name, S3_3_##suffix, always)		\
	TIMER_CTL(AT_E2H0, name, S3_3_##suffix, always)		\
	TIMER_CTL(AT_E2H1, name##2, S3_5_##suffix, always)

#include "sysregs.def"

/* Second pass: the table. */
#undef ENTRY
#define ENTRY(at, id, encoding, write, clear, bits, chosen, ignored, count, n, which, overwritten)		\
	{ .name = #id, .get = get_##at##_##id, .put = put_##at##_##id, .have = count, .mask = bits, .value = chosen,	\
	  .unknown = ignored, .number = n, .where = at, .set = which, .lost = overwritten },

static const struct reg table[] = {
#include "sysregs.def"
};

#define ROWS ARRAY_SIZE(table)

/* Third pass: the names. */
#undef ENTRY
#define ENTRY(at, id, encoding, write, clear, bits, chosen, ignored, count, n, which, overwritten) #id,

const char *const sysreg_names[] = {
#include "sysregs.def"
	NULL,
};

bool sysregs_left_out[ROWS];

/* By name: one register may have a row for each place to run at. */
static bool left_out(const struct reg *reg)
{
	for (unsigned row = 0; row < ROWS; row++)
		if (sysregs_left_out[row] && text_equal(sysreg_names[row], reg->name))
			return true;
	return false;
}

static struct values {
	bool chosen;	/* there from the start: one that has gone since is met by its access, not passed over */
	uint64_t old, had, has;
} values[PATTERN_VCPUS][ROWS];

uint64_t pattern(uint64_t seed, uint64_t what, uint64_t n)
{
	uint64_t value = seed ^ (what << 32 | n << 8 | cpu_index());

	for (unsigned i = 0; i < 2; i++) {
		value = (value + 0x9e3779b97f4a7c15UL) * 0xbf58476d1ce4e5b9UL;	/* odd: no two arguments collide */
		value ^= value >> 29;
	}
	return value;
}

/* Whether the row is one of `sets` and the register exists where we run. */
static bool wanted(const struct reg *reg, unsigned sets)
{
	unsigned here = !at_el2() ? AT_EL1 : e2h_set() ? AT_E2H1 : AT_E2H0;

	return (reg->set & sets) && (reg->where & here) && !left_out(reg) && reg->number < reg->have();
}

static struct values *values_of(const struct reg *reg)
{
	return &values[cpu_index()][reg - table];
}

#define for_each(reg, condition) \
	for (const struct reg *reg = table; reg < table + ROWS; reg++) if (condition)
#define for_each_chosen(reg, sets) for_each(reg, (reg->set & (sets)) && values_of(reg)->chosen)

void sysregs_choose(unsigned sets, uint64_t seed)
{
	for_each(reg, wanted(reg, sets)) {
		struct values *v = values_of(reg);
		uint64_t bits = reg->value ? reg->value : pattern(seed, 1, (uint64_t)(reg - table));

		v->chosen = true;
		v->old = reg->get();
		if (((v->old ^ bits) & reg->mask) == 0)
			bits = ~bits;	/* a pattern that is the old value would prove nothing */
		if (reg->mask) {
			reg->put((v->old & ~reg->mask) | (bits & reg->mask));
			isb();
		}
		v->had = reg->get();
		if (reg->mask) {
			reg->put(v->old);
			isb();
		}
	}
}

void sysregs_say(unsigned sets)
{
	for_each_chosen(reg, sets)
		say("reg cpu=%u name=%s value=%#lx", cpu_index(), reg->name, values_of(reg)->had);
}

void sysregs_load(unsigned sets)
{
	for_each_chosen(reg, sets)
		if (reg->mask)
			reg->put(values_of(reg)->had);
	isb();
}

void sysregs_capture(unsigned sets)
{
	for_each_chosen(reg, sets)
		values_of(reg)->has = reg->get();
	for_each_chosen(reg, sets)
		if (reg->mask)
			reg->put(values_of(reg)->old);
	isb();
}

void compare(const char *name, uint64_t had, uint64_t has)
{
	char upper[24];
	unsigned i;

	for (i = 0; name[i] && i < sizeof(upper) - 1; i++)
		upper[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
	upper[i] = '\0';
	check(has == had, "%s had %#lx has %#lx", upper, had, has);
}

void sysregs_verify(unsigned sets)
{
	for_each_chosen(reg, sets) {
		const struct values *v = values_of(reg);

		if (!reg->lost)
			compare(reg->name, v->had & ~reg->unknown, v->has & ~reg->unknown);
	}
}
