/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns in the FP, SVE and SME registers. Each function acts on the vCPU it runs on. */
#pragma once

#include <stdint.h>

/* FP_V: all 128 bits of V0 to V31, FPCR, FPSR. FP_Z: Z, P, FFR at the largest length. FP_ZA: ZA, and ZT0 of SME2. */
enum { FP_V = 1, FP_Z = 2, FP_ZA = 4 };

void fp_enable(void);				/* no traps, the largest vector lengths */
void fp_choose(unsigned sets, uint64_t seed);
void fp_say(unsigned sets);
void fp_load(unsigned sets);			/* from here on code with FP, SVE or SME instructions would disturb */
void fp_capture(unsigned sets);			/* and end the use of ZA */
void fp_verify(unsigned sets);
void fp_sabotage(void);				/* flip one bit in V9 */
