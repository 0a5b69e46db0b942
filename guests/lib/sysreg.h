/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System registers: read, write, and names for those that an Armv8.0 assembler does not know.
 * Encodings and fields: Arm ARM, chapter D24 and, for ICC_*, the GIC architecture specification (IHI 0069).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SYSREG_TEXT_(name)	#name
#define SYSREG_TEXT(name)	SYSREG_TEXT_(name)

#define read_sysreg(name) ({							\
	uint64_t value_;							\
	asm volatile("mrs %0, " SYSREG_TEXT(name) : "=r"(value_) :: "memory");	\
	value_;									\
})
#define write_sysreg(name, value)						\
	asm volatile("msr " SYSREG_TEXT(name) ", %x0" :: "rZ"((uint64_t)(value)) : "memory")

static inline void isb(void) { asm volatile("isb" ::: "memory"); }
static inline void dsb(void) { asm volatile("dsb sy" ::: "memory"); }
static inline void wfi(void) { asm volatile("dsb sy\n\twfi" ::: "memory"); }

#define ID_AA64ISAR2_EL1	S3_0_C0_C6_2
#define ID_AA64MMFR4_EL1	S3_0_C0_C7_4

#define ICC_PMR_EL1	S3_0_C4_C6_0
#define ICC_IAR0_EL1	S3_0_C12_C8_0
#define ICC_EOIR0_EL1	S3_0_C12_C8_1
#define ICC_BPR0_EL1	S3_0_C12_C8_3
#define ICC_AP1R0_EL1	S3_0_C12_C9_0
#define ICC_DIR_EL1	S3_0_C12_C11_1
#define ICC_RPR_EL1	S3_0_C12_C11_3
#define ICC_SGI1R_EL1	S3_0_C12_C11_5
#define ICC_IAR1_EL1	S3_0_C12_C12_0
#define ICC_EOIR1_EL1	S3_0_C12_C12_1
#define ICC_HPPIR1_EL1	S3_0_C12_C12_2
#define ICC_BPR1_EL1	S3_0_C12_C12_3
#define ICC_CTLR_EL1	S3_0_C12_C12_4
#define ICC_SRE_EL1	S3_0_C12_C12_5
#define ICC_IGRPEN0_EL1	S3_0_C12_C12_6
#define ICC_IGRPEN1_EL1	S3_0_C12_C12_7
#define ICC_SRE_EL2	S3_4_C12_C9_5

#define ICH_HCR_EL2	S3_4_C12_C11_0
#define ICH_EISR_EL2	S3_4_C12_C11_3
#define ICH_VMCR_EL2	S3_4_C12_C11_7
#define ICH_AP1R0_EL2	S3_4_C12_C9_0
#define ICH_LR0_EL2	S3_4_C12_C12_0

#define HCR_VM		(1UL << 0)
#define HCR_FMO		(1UL << 3)
#define HCR_IMO		(1UL << 4)
#define HCR_AMO		(1UL << 5)
#define HCR_TGE		(1UL << 27)
#define HCR_RW		(1UL << 31)
#define HCR_E2H		(1UL << 34)
#define HCR_APK		(1UL << 40)
#define HCR_API		(1UL << 41)

/* The four-bit field of an ID register whose lowest bit is `shift`. */
static inline unsigned id_field(uint64_t id_register, unsigned shift)
{
	return (id_register >> shift) & 0xf;
}

static inline bool at_el2(void)
{
	return (read_sysreg(CurrentEL) >> 2) == 2;
}

/* HCR_EL2.E2H as it is now; false at EL1. */
static inline bool e2h_set(void)
{
	return at_el2() && (read_sysreg(hcr_el2) & HCR_E2H);
}
