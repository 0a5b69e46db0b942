/* SPDX-License-Identifier: Apache-2.0 */
/* What the device tree says about the machine we are on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* Order of the arch timer's interrupts in its device tree node (binding arm,arch_timer). */
enum timer_interrupt { TIMER_SECURE, TIMER_PHYS, TIMER_VIRT, TIMER_HYP_PHYS, TIMER_HYP_VIRT, TIMER_INTERRUPTS };

/* One range of addresses of a device, which is the `index`th of its node's. */
struct region {
	const char *node;		/* in the device tree */
	unsigned index;
	uint64_t base, size;		/* bytes */
};

#define MAX_REGIONS 64

struct machine {
	char bootargs[512];
	bool psci_smc;			/* the conduit: SMC if true, else HVC */
	uint64_t ram_base, ram_size;	/* bytes */
	unsigned cpus;			/* how many the machine has; at most MAX_VCPUS are listed */
	uint64_t mpidr[MAX_VCPUS];	/* affinity fields */
	unsigned timer_intid[TIMER_INTERRUPTS];	/* 0: not wired */
	bool its;			/* there is an ITS */
	struct region regions[MAX_REGIONS];	/* of devices, as far as there is room */
	unsigned region_count;
	const char *fault;		/* what is wrong with the device tree; NULL if nothing */
};

/* Read-only after start-up. */
extern struct machine machine;

/* Fill `machine` from the device tree; works with the MMU off. */
void machine_read(const void *dtb);

/* Find KEY= in the boot arguments and return what follows, or NULL. The value ends at a space or at the string's end. */
const char *machine_bootarg(const char *key);
