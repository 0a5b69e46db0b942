/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One identity map for all vCPUs, 1 GiB blocks, 4 KiB granule, 36-bit addresses: Device-nGnRE below RAM_BASE, Normal
 * write-back inner shareable for RAM. TTBR0 only, in whichever regime we run: EL1&0, EL2, or EL2&0 with E2H=1.
 */
#pragma once

#include <stdbool.h>

void mmu_build(bool e2h);	/* once, with the MMU off */
void mmu_enable(bool e2h);	/* on each vCPU */
