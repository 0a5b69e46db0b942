/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LPIs and the one ITS at GITS_BASE (IHI 0069, chapters 5 and 12). Collection n belongs to vCPU n. All functions are for
 * vCPU 0, but its_cpu_init(); a command that the ITS does not take within a second is a panic.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define LPI_ID_BITS	14	/* INTIDs below 16384 */
#define ITS_EVENT_BITS	5	/* EventIDs below 32 for each device */
#define ITS_DEVICES	2

/* Memory for all tables; zero at first. The payload owns it, so that others do not carry it. */
struct its_tables {
	uint8_t pending[MAX_VCPUS][65536] __attribute__((aligned(65536)));	/* an LPI pending table starts at 64 KiB */
	uint8_t devices[65536] __attribute__((aligned(65536)));
	uint8_t collections[65536] __attribute__((aligned(65536)));
	uint64_t commands[4096 / 8] __attribute__((aligned(65536)));
	uint8_t properties[1u << LPI_ID_BITS] __attribute__((aligned(4096)));
	uint8_t translations[ITS_DEVICES][4096] __attribute__((aligned(4096)));
};

void its_init(struct its_tables *tables);	/* the ITS itself, with its tables; after gic_init() */
void its_cpu_init(void);			/* LPIs and collection of this vCPU; after its_init(), on vCPU 0 first */

/* Priority and enable of an LPI, in memory; takes effect at its_invalidate(). */
void its_set_property(unsigned lpi, uint8_t priority, bool enabled);
uint8_t its_property(unsigned lpi);		/* the byte in the table */

void its_map_collections(void);			/* MAPC of each vCPU's; after its_cpu_init() on all */
void its_map_device(unsigned index, uint32_t device);	/* MAPD with the translation table `index` */
void its_map_event(uint32_t device, uint32_t event, unsigned lpi, unsigned cpu);	/* MAPTI */
void its_unmap_device(uint32_t device);		/* MAPD with V clear: its translation table is free */
void its_discard(uint32_t device, uint32_t event);					/* DISCARD */
void its_move(uint32_t device, uint32_t event, unsigned cpu);				/* MOVI */
void its_interrupt(uint32_t device, uint32_t event);					/* INT */
void its_clear(uint32_t device, uint32_t event);					/* CLEAR */
void its_invalidate(uint32_t device, uint32_t event);					/* INV */

/* The registers that have to survive, by number below ITS_REGISTERS, as seen on this vCPU; name for messages. */
#define ITS_REGISTERS	9
uint64_t its_register(unsigned number, const char **name);
