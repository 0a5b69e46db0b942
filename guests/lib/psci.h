/* SPDX-License-Identifier: Apache-2.0 */
/* PSCI calls (Arm DEN 0022), by the conduit that the device tree names. */
#pragma once

#include <stdint.h>

/* Start the vCPU `mpidr` at `entry` with x0 = `context`; returns a PSCI status, 0 for success. */
int64_t psci_cpu_on(uint64_t mpidr, uintptr_t entry, uint64_t context);

/* Turn the machine off. */
_Noreturn void psci_system_off(void);
