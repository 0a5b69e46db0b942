/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GICv3 (IHI 0069): distributor, redistributors, CPU interface by system registers. One security state, all interrupts
 * in group 1. Functions on an SGI or PPI (INTID 0 to 31) act on the redistributor of the vCPU that calls them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "exception.h"

/* A lower value is a higher priority. The wake-up interrupts preempt all others, so that they end a WFI in any handler. */
#define PRIORITY_CONSOLE	0x20
#define PRIORITY_WAKE		0x40
#define PRIORITY_DEFAULT	0x80

#define SGI_WAKE		15	/* the library's own; 0 to 14 are the payload's */
#define FIRST_LPI		8192

typedef void (*irq_handler)(unsigned intid, struct frame *frame);

void gic_init(void);		/* the distributor; by guest_begin() on vCPU 0 */
void gic_cpu_init(void);	/* redistributor and CPU interface of this vCPU; by guest_begin() and smp.c */

/*
 * The handler of an INTID on all vCPUs; any INTID from FIRST_LPI on sets the one handler for all LPIs. It runs with
 * interrupts masked, after the acknowledge and before the end of interrupt. An interrupt without handler is a panic.
 */
void gic_set_handler(unsigned intid, irq_handler handler);

/*
 * For a hypervisor: from now on the handler's return only drops the priority of `intid`, and whoever has it in a list
 * register with the HW bit deactivates it (ICC_CTLR_EL1.EOImode is 1 on this vCPU; others are completed as before).
 */
void gic_forward(unsigned intid);

void gic_dispatch(struct frame *frame);		/* by exception.c */

/* How many times this vCPU acknowledged and got INTID 1020 to 1023. */
unsigned gic_spurious(void);

void gic_enable(unsigned intid);
void gic_disable(unsigned intid);
bool gic_is_enabled(unsigned intid);
void gic_set_pending(unsigned intid);
void gic_clear_pending(unsigned intid);
bool gic_is_pending(unsigned intid);
void gic_set_active(unsigned intid);
void gic_clear_active(unsigned intid);
bool gic_is_active(unsigned intid);
void gic_set_group(unsigned intid, unsigned group);	/* 0 or 1 */
unsigned gic_group(unsigned intid);
void gic_set_priority(unsigned intid, uint8_t priority);
uint8_t gic_priority(unsigned intid);
void gic_set_edge(unsigned intid, bool edge);	/* edge-triggered, or level-sensitive */
bool gic_is_edge(unsigned intid);
void gic_set_route(unsigned spi, unsigned cpu);	/* IROUTER, to one vCPU */
unsigned gic_route(unsigned spi);		/* the vCPU it is routed to; MAX_VCPUS if to none of ours */
void gic_send_sgi(unsigned sgi, unsigned cpu);
unsigned gic_lines(void);			/* the number of INTIDs below 1020 that exist */
bool gic_has_lpis(void);			/* there are LPIs and an ITS */

/* Base of this vCPU's redistributor: the RD frame; the SGI frame is 0x10000 above. */
uintptr_t gic_redistributor(void);
