/* SPDX-License-Identifier: Apache-2.0 */
/* All of the library; a payload includes this and defines guest_main(). */
#pragma once

#include <stddef.h>

#include "args.h"
#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "exception.h"
#include "gic.h"
#include "machine.h"
#include "psci.h"
#include "say.h"
#include "smp.h"
#include "text.h"
#include "timer.h"

/* The payload: runs on vCPU 0 with the MMU on; has to begin with guest_begin(). Returning is finish(). */
void guest_main(void);

/*
 * Parse the arguments (`vcpus` and `e2h` are known without a table), print `hello`, end with `skip` where E2H cannot
 * have the value asked for or there is no GICv3, then start GIC, console wake-up and secondaries and unmask interrupts.
 */
void guest_begin(const char *name, const struct argument *table, size_t count);
