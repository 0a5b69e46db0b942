/* SPDX-License-Identifier: Apache-2.0 */
/* What this CPU has, from its ID registers (Arm ARM D24.2). Each function returns how many, or 1 or 0. */
#pragma once

#include "sysreg.h"

#define PATTERN_VCPUS		2	/* the most this payload runs on */

#define ID_AA64SMFR0_EL1	S3_0_C0_C4_5
#define ID_AA64MMFR2_EL1	S3_0_C0_C7_2
#define ID_AA64MMFR3_EL1	S3_0_C0_C7_3
#define PMCR_EL0		S3_3_C9_C12_0
#define ICH_VTR_EL2		S3_4_C12_C11_1

#define FEATURE(name, id, shift, least)							\
	static inline unsigned name(void) { return id_field(read_sysreg(id), shift) >= (least); }

static inline unsigned always(void) { return 1; }

FEATURE(have_sve, id_aa64pfr0_el1, 32, 1)
FEATURE(have_sme, id_aa64pfr1_el1, 24, 1)
FEATURE(have_sme2, ID_AA64SMFR0_EL1, 56, 1)
FEATURE(have_ras, id_aa64pfr0_el1, 28, 1)
FEATURE(have_dit, id_aa64pfr0_el1, 48, 1)
FEATURE(have_ssbs, id_aa64pfr1_el1, 4, 2)
FEATURE(have_mte2, id_aa64pfr1_el1, 8, 2)
FEATURE(have_gcs, id_aa64pfr1_el1, 44, 1)
FEATURE(have_the, id_aa64pfr1_el1, 48, 1)
FEATURE(have_el1_aarch32, id_aa64pfr0_el1, 4, 2)
FEATURE(have_accdata, id_aa64isar1_el1, 60, 3)
FEATURE(have_fgt, id_aa64mmfr0_el1, 56, 1)
FEATURE(have_fgt2, id_aa64mmfr0_el1, 56, 2)
FEATURE(have_cntpoff, id_aa64mmfr0_el1, 60, 2)
FEATURE(have_vhe, id_aa64mmfr1_el1, 8, 1)
FEATURE(have_lor, id_aa64mmfr1_el1, 16, 1)
FEATURE(have_pan, id_aa64mmfr1_el1, 20, 1)
FEATURE(have_hcrx, id_aa64mmfr1_el1, 40, 1)
FEATURE(have_uao, ID_AA64MMFR2_EL1, 4, 1)
FEATURE(have_nv2, ID_AA64MMFR2_EL1, 24, 2)
FEATURE(have_tcr2, ID_AA64MMFR3_EL1, 0, 1)
FEATURE(have_sctlr2, ID_AA64MMFR3_EL1, 4, 1)
FEATURE(have_s1pie, ID_AA64MMFR3_EL1, 8, 1)
FEATURE(have_s2pie, ID_AA64MMFR3_EL1, 12, 1)
FEATURE(have_s1poe, ID_AA64MMFR3_EL1, 16, 1)
FEATURE(have_s2poe, ID_AA64MMFR3_EL1, 20, 1)
FEATURE(have_aie, ID_AA64MMFR3_EL1, 24, 1)

/* FEAT_CSV2_2, or FEAT_CSV2_1p2. */
static inline unsigned have_csv2_2(void)
{
	unsigned csv2 = id_field(read_sysreg(id_aa64pfr0_el1), 56);

	return csv2 >= 2 || (csv2 == 1 && id_field(read_sysreg(id_aa64pfr1_el1), 32) >= 2);
}

static inline unsigned have_pauth(void)
{
	uint64_t isar1 = read_sysreg(id_aa64isar1_el1);

	return id_field(isar1, 4) || id_field(isar1, 8) || id_field(read_sysreg(ID_AA64ISAR2_EL1), 12);
}

/* FEAT_PMUv3; 0xf is a PMU that is not the architecture's. */
static inline unsigned have_pmu(void)
{
	unsigned version = id_field(read_sysreg(id_aa64dfr0_el1), 8);

	return version && version != 0xf;
}

static inline unsigned have_counters(void)
{
	return have_pmu() ? read_sysreg(PMCR_EL0) >> 11 & 0x1f : 0;
}

static inline unsigned have_breakpoints(void) { return id_field(read_sysreg(id_aa64dfr0_el1), 12) + 1; }
static inline unsigned have_watchpoints(void) { return id_field(read_sysreg(id_aa64dfr0_el1), 20) + 1; }
static inline unsigned have_lrs(void) { return (read_sysreg(ICH_VTR_EL2) & 0x1f) + 1; }
