/* SPDX-License-Identifier: Apache-2.0 */
/* Vector lengths and their controls: Arm ARM D24.2 (ZCR_ELx, SMCR_ELx, CPTR_EL2, CPACR_EL1), B1.2 (Z, P, FFR, ZA). */
#include "fp.h"

#include "features.h"
#include "guest.h"
#include "sysregs.h"

#define FPCR		S3_3_C4_C4_0
#define FPSR		S3_3_C4_C4_1
#define SVCR		S3_3_C4_C2_2
#define ZCR_EL1		S3_0_C1_C2_0
#define ZCR_EL2		S3_4_C1_C2_0
#define SMCR_EL1	S3_0_C1_C2_6
#define SMCR_EL2	S3_4_C1_C2_6

#define FPCR_BITS	0x07c89f07UL	/* AHP, DN, FZ, RMode, FZ16, trap enables, NEP, AH, FIZ */
#define FPSR_BITS	0x0800009fUL	/* QC and the cumulative exceptions */
#define SVCR_ZA		2UL
#define ZEN		(3UL << 16)	/* the same in CPACR_EL1 and, with E2H=1, in CPTR_EL2 */
#define SMEN		(3UL << 24)
#define CPTR_TZ		(1UL << 8)	/* with E2H=0 */
#define CPTR_TSM	(1UL << 12)
#define LEN_MOST	0xfUL
#define EZT0		(1UL << 30)

#define VL_MOST		256		/* bytes, of 2048 bits */

struct fp {
	uint64_t fpcr, fpsr, svcr, vl, svl;
	bool with_zt0;
	uint64_t z[32 * VL_MOST / 8], p[16 * VL_MOST / 64], ffr[VL_MOST / 64];	/* each as long as vl says; V: 16 bytes */
	uint64_t za[VL_MOST * VL_MOST / 8], zt0[8];
};

static struct fp had_by[PATTERN_VCPUS], has_by[PATTERN_VCPUS];

void v_load(const void *v);
void v_save(void *v);
void z_load(const void *z, const void *p, const void *ffr);
void z_save(void *z, void *p, void *ffr);
void za_load(const void *za);
void za_save(void *za);
void zt0_load(const void *zt0);
void zt0_save(void *zt0);
uint64_t sve_bytes(void);
uint64_t sme_bytes(void);

void fp_enable(void)
{
	uint64_t on = (have_sve() ? ZEN : 0) | (have_sme() ? SMEN : 0);

	if (!at_el2())
		write_sysreg(cpacr_el1, read_sysreg(cpacr_el1) | on);
	else if (e2h_set())
		write_sysreg(cptr_el2, read_sysreg(cptr_el2) | on);
	else
		write_sysreg(cptr_el2, read_sysreg(cptr_el2) &
				       ~((have_sve() ? CPTR_TZ : 0) | (have_sme() ? CPTR_TSM : 0)));
	isb();
	if (have_sve() && at_el2())
		write_sysreg(ZCR_EL2, LEN_MOST);
	else if (have_sve())
		write_sysreg(ZCR_EL1, LEN_MOST);
	if (have_sme() && at_el2())
		write_sysreg(SMCR_EL2, LEN_MOST | (have_sme2() ? EZT0 : 0));
	else if (have_sme())
		write_sysreg(SMCR_EL1, LEN_MOST | (have_sme2() ? EZT0 : 0));
	isb();
}

static void fill(uint64_t *to, uint64_t bytes, uint64_t seed, uint64_t what)
{
	for (uint64_t i = 0; i < (bytes + 7) / 8; i++)
		to[i] = pattern(seed, what, i);
}

/* FFR can only hold ones followed by zeros; anything else reads as UNKNOWN. */
static void fill_ffr(uint64_t *ffr, uint64_t vl, uint64_t seed)
{
	uint64_t ones = 1 + pattern(seed, 5, 0) % (vl - 1);

	for (uint64_t bit = 0; bit < ones; bit++)
		ffr[bit / 64] |= 1UL << bit % 64;
}

/* What the two registers hold after the pattern was written; they are put back. */
static void choose_controls(struct fp *had, uint64_t seed)
{
	uint64_t fpcr = read_sysreg(FPCR), fpsr = read_sysreg(FPSR);

	write_sysreg(FPCR, (pattern(seed, 6, 0) & FPCR_BITS) | 1UL << 25);
	write_sysreg(FPSR, (pattern(seed, 6, 1) & FPSR_BITS) | 1UL << 27);
	had->fpcr = read_sysreg(FPCR);
	had->fpsr = read_sysreg(FPSR);
	write_sysreg(FPCR, fpcr);
	write_sysreg(FPSR, fpsr);
}

void fp_choose(unsigned sets, uint64_t seed)
{
	struct fp *had = &had_by[cpu_index()];

	had->vl = sets & FP_Z ? sve_bytes() : 16;
	fill(had->z, 32 * had->vl, seed, 2);
	if (sets & FP_V)
		choose_controls(had, seed);
	if (sets & FP_Z) {
		fill(had->p, 16 * had->vl / 8, seed, 3);
		fill_ffr(had->ffr, had->vl, seed);
	}
	if (sets & FP_ZA) {
		had->svcr = SVCR_ZA;
		had->svl = sme_bytes();
		had->with_zt0 = have_sme2();
		fill(had->za, had->svl * had->svl, seed, 4);
		fill(had->zt0, sizeof(had->zt0), seed, 7);
	}
}

/* A register of any length, the most significant byte first. */
static void say_long(const char *name, unsigned number, const void *value, uint64_t bytes)
{
	const unsigned char *byte = value;
	char hex[2 * VL_MOST + 1];

	for (uint64_t i = 0; i < bytes; i++) {
		hex[2 * i] = "0123456789abcdef"[byte[bytes - 1 - i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[byte[bytes - 1 - i] & 0xf];
	}
	hex[2 * bytes] = '\0';
	if (number < 32)
		say("reg cpu=%u name=%s%u value=0x%s", cpu_index(), name, number, hex);
	else
		say("reg cpu=%u name=%s value=0x%s", cpu_index(), name, hex);
}

void fp_say(unsigned sets)
{
	const struct fp *had = &had_by[cpu_index()];
	const unsigned nameless = 32;

	if (sets & FP_V) {
		for (unsigned n = 0; n < 32; n++)
			say_long("v", n, (const char *)had->z + n * had->vl, 16);
		say("reg cpu=%u name=fpcr value=%#lx", cpu_index(), had->fpcr);
		say("reg cpu=%u name=fpsr value=%#lx", cpu_index(), had->fpsr);
	}
	if (sets & FP_Z) {
		for (unsigned n = 0; n < 32; n++)
			say_long("z", n, (const char *)had->z + n * had->vl, had->vl);
		for (unsigned n = 0; n < 16; n++)
			say_long("p", n, (const char *)had->p + n * had->vl / 8, had->vl / 8);
		say_long("ffr", nameless, had->ffr, had->vl / 8);
	}
	if (sets & FP_ZA) {
		say("reg cpu=%u name=svcr value=%#lx", cpu_index(), had->svcr);
		if (had->with_zt0)
			say_long("zt0", nameless, had->zt0, sizeof(had->zt0));
	}
}

void fp_load(unsigned sets)
{
	const struct fp *had = &had_by[cpu_index()];

	if (sets & FP_ZA) {
		write_sysreg(SVCR, had->svcr);
		isb();
		za_load(had->za);
		if (had->with_zt0)
			zt0_load(had->zt0);
	}
	if (sets & FP_Z)
		z_load(had->z, had->p, had->ffr);
	else if (sets & FP_V)
		v_load(had->z);
	if (sets & FP_V) {
		write_sysreg(FPSR, had->fpsr);
		write_sysreg(FPCR, had->fpcr);
	}
}

/* SVCR and the lengths come first: what they say decides what can be read at all. */
void fp_capture(unsigned sets)
{
	struct fp *has = &has_by[cpu_index()];

	has->fpcr = read_sysreg(FPCR);
	has->fpsr = read_sysreg(FPSR);
	has->vl = sets & FP_Z ? sve_bytes() : 16;
	has->svl = sets & FP_ZA ? sme_bytes() : 0;
	has->svcr = sets & FP_ZA ? read_sysreg(SVCR) : 0;
	if (sets & FP_Z && has->svcr == had_by[cpu_index()].svcr)
		z_save(has->z, has->p, has->ffr);
	else if (sets & (FP_V | FP_Z))
		v_save(has->z);
	if (has->svcr & SVCR_ZA) {
		za_save(has->za);
		if (had_by[cpu_index()].with_zt0)
			zt0_save(has->zt0);
		write_sysreg(SVCR, 0);
	}
	if (sets & FP_V) {
		write_sysreg(FPCR, 0);
		write_sysreg(FPSR, 0);
	}
	isb();
}

/* One check: the first 64 bits that differ, by their lowest bit. Predicates of short vectors are shorter than that. */
static void verify_long(const char *name, unsigned number, const void *had, const void *has, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += 8) {
		uint64_t length = bytes - at < 8 ? bytes - at : 8, a = 0, b = 0;

		memcpy(&a, (const char *)had + at, length);
		memcpy(&b, (const char *)has + at, length);
		if (a != b) {
			check(false, "%s%u, from bit %lu on, had %#lx has %#lx", name, number, at * 8, a, b);
			return;
		}
	}
	check(true, "%s%u", name, number);
}

static void verify_array(const char *name, unsigned count, const void *had, const void *has, uint64_t bytes)
{
	for (unsigned n = 0; n < count; n++)
		verify_long(name, n, (const char *)had + n * bytes, (const char *)has + n * bytes, bytes);
}

void fp_verify(unsigned sets)
{
	const struct fp *had = &had_by[cpu_index()], *has = &has_by[cpu_index()];
	bool same_length;

	if (sets & FP_V) {
		compare("fpcr", had->fpcr, has->fpcr);
		compare("fpsr", had->fpsr, has->fpsr);
	}
	if (sets & FP_ZA)
		compare("svcr", had->svcr, has->svcr);
	same_length = check(had->vl == has->vl, "the SVE vector length had %lu bytes, has %lu", had->vl, has->vl);
	if (same_length && sets & FP_Z && had->svcr == has->svcr) {
		verify_array("Z", 32, had->z, has->z, had->vl);
		verify_array("P", 16, had->p, has->p, had->vl / 8);
		verify_array("FFR", 1, had->ffr, has->ffr, had->vl / 8);
	} else if (same_length && sets & FP_V && !(sets & FP_Z)) {
		verify_array("V", 32, had->z, has->z, 16);
	}
	if (sets & FP_ZA) {
		same_length = check(had->svl == has->svl, "the SME vector length had %lu bytes, has %lu", had->svl, has->svl);
		if (same_length && has->svcr & SVCR_ZA) {
			verify_array("ZA row ", (unsigned)had->svl, had->za, has->za, had->svl);
			if (had->with_zt0)
				verify_array("ZT", 1, had->zt0, has->zt0, sizeof(had->zt0));
		}
	}
}
