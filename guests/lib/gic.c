/* SPDX-License-Identifier: Apache-2.0 */
#include "gic.h"

#include <stddef.h>

#include "cpu.h"
#include "machine.h"
#include "say.h"

/* Offsets in the distributor; those from 0x80 on are the same in a redistributor's SGI frame. */
enum {
	GICD_CTLR = 0x0, GICD_TYPER = 0x4, IGROUPR = 0x80, ISENABLER = 0x100, ICENABLER = 0x180, ISPENDR = 0x200,
	ICPENDR = 0x280, ISACTIVER = 0x300, ICACTIVER = 0x380, IPRIORITYR = 0x400, ICFGR = 0xc00, IROUTER = 0x6000,
	GICR_CTLR = 0x0, GICR_TYPER = 0x8, GICR_WAKER = 0x14, GICR_SGI_FRAME = 0x10000,
};
#define CTLR_ENABLE_GROUP1	(1u << 1)
#define CTLR_ARE		(1u << 4)
#define CTLR_RWP		(1u << 31)
#define GICR_CTLR_RWP		(1u << 3)
#define GICR_TYPER_LAST		(1u << 4)
#define WAKER_PROCESSOR_SLEEP	(1u << 1)
#define WAKER_CHILDREN_ASLEEP	(1u << 2)
#define TYPER_LPIS		(1u << 17)
#define CTLR_EOIMODE		(1u << 1)	/* of ICC_CTLR_EL1 */
#define AFFINITY		0xff00ffffffUL
#define FIRST_SPI		32
#define FIRST_SPECIAL		1020

static uintptr_t redistributors[MAX_VCPUS];
static irq_handler handlers[FIRST_SPECIAL];
static irq_handler lpi_handler;
static unsigned forwarded;	/* 0, an SGI, is never */
static unsigned spurious[MAX_VCPUS];

uintptr_t gic_redistributor(void)
{
	return redistributors[cpu_index()];
}

/* The frame that holds the registers of an INTID. */
static uintptr_t frame_of(unsigned intid)
{
	return intid < FIRST_SPI ? gic_redistributor() + GICR_SGI_FRAME : GICD_BASE;
}

static void settle(unsigned intid)
{
	if (intid < FIRST_SPI)
		while (read32(gic_redistributor() + GICR_CTLR) & GICR_CTLR_RWP)
			;
	else
		while (read32(GICD_BASE + GICD_CTLR) & CTLR_RWP)
			;
}

static bool get_bit(unsigned registers, unsigned intid)
{
	return read32(frame_of(intid) + registers + intid / 32 * 4) >> intid % 32 & 1;
}

static void set_bit(unsigned registers, unsigned intid)
{
	write32(frame_of(intid) + registers + intid / 32 * 4, 1u << intid % 32);
	settle(intid);
}

void gic_enable(unsigned intid) { set_bit(ISENABLER, intid); }
void gic_disable(unsigned intid) { set_bit(ICENABLER, intid); }
bool gic_is_enabled(unsigned intid) { return get_bit(ISENABLER, intid); }
void gic_set_pending(unsigned intid) { set_bit(ISPENDR, intid); }
void gic_clear_pending(unsigned intid) { set_bit(ICPENDR, intid); }
bool gic_is_pending(unsigned intid) { return get_bit(ISPENDR, intid); }
void gic_set_active(unsigned intid) { set_bit(ISACTIVER, intid); }
void gic_clear_active(unsigned intid) { set_bit(ICACTIVER, intid); }
bool gic_is_active(unsigned intid) { return get_bit(ISACTIVER, intid); }
unsigned gic_group(unsigned intid) { return get_bit(IGROUPR, intid); }

void gic_set_group(unsigned intid, unsigned group)
{
	uintptr_t address = frame_of(intid) + IGROUPR + intid / 32 * 4;
	uint32_t bit = 1u << intid % 32;

	write32(address, group ? read32(address) | bit : read32(address) & ~bit);
}

void gic_set_priority(unsigned intid, uint8_t priority)
{
	write8(frame_of(intid) + IPRIORITYR + intid, priority);
}

uint8_t gic_priority(unsigned intid)
{
	return read8(frame_of(intid) + IPRIORITYR + intid);
}

void gic_set_edge(unsigned intid, bool edge)
{
	uintptr_t address = frame_of(intid) + ICFGR + intid / 16 * 4;
	uint32_t bit = 2u << intid % 16 * 2;

	write32(address, edge ? read32(address) | bit : read32(address) & ~bit);
}

bool gic_is_edge(unsigned intid)
{
	return read32(frame_of(intid) + ICFGR + intid / 16 * 4) & 2u << intid % 16 * 2;
}

void gic_set_route(unsigned spi, unsigned cpu)
{
	write64(GICD_BASE + IROUTER + spi * 8UL, machine.mpidr[cpu] & AFFINITY);
}

unsigned gic_route(unsigned spi)
{
	uint64_t route = read64(GICD_BASE + IROUTER + spi * 8UL);

	for (unsigned cpu = 0; cpu < machine.cpus && cpu < MAX_VCPUS; cpu++)
		if (route == (machine.mpidr[cpu] & AFFINITY))
			return cpu;
	return MAX_VCPUS;
}

void gic_send_sgi(unsigned sgi, unsigned cpu)
{
	uint64_t mpidr = machine.mpidr[cpu];
	uint64_t aff0 = mpidr & 0xff, aff1 = mpidr >> 8 & 0xff, aff2 = mpidr >> 16 & 0xff, aff3 = mpidr >> 32 & 0xff;

	dsb();
	write_sysreg(ICC_SGI1R_EL1, aff3 << 48 | aff0 >> 4 << 44 | aff2 << 32 | (uint64_t)sgi << 24 | aff1 << 16 |
		     1UL << (aff0 & 0xf));
	isb();
}

unsigned gic_lines(void)
{
	unsigned lines = 32 * ((read32(GICD_BASE + GICD_TYPER) & 0x1f) + 1);

	return lines < FIRST_SPECIAL ? lines : FIRST_SPECIAL;
}

/* The ITS has to be asked for apart: QEMU's distributor says LPIS without one too (its=off). */
bool gic_has_lpis(void)
{
	return machine.its && read32(GICD_BASE + GICD_TYPER) & TYPER_LPIS;
}

void gic_set_handler(unsigned intid, irq_handler handler)
{
	if (intid >= FIRST_LPI)
		store(lpi_handler, handler);
	else if (intid < FIRST_SPECIAL)
		store(handlers[intid], handler);
	else
		panic("INTID %u cannot have a handler", intid);
}

unsigned gic_spurious(void)
{
	return spurious[cpu_index()];
}

void gic_dispatch(struct frame *frame)
{
	unsigned intid = (unsigned)read_sysreg(ICC_IAR1_EL1);
	irq_handler handler = NULL;

	dsb();
	if (intid >= FIRST_SPECIAL && intid < FIRST_LPI) {
		spurious[cpu_index()]++;
		return;
	}
	handler = intid >= FIRST_LPI ? load(lpi_handler) : load(handlers[intid]);
	if (!handler)
		panic_at(frame->elr, 0, 0, "interrupt %u has no handler", intid);
	handler(intid, frame);
	write_sysreg(ICC_EOIR1_EL1, intid);
	isb();
	if (read_sysreg(ICC_CTLR_EL1) & CTLR_EOIMODE && intid != load(forwarded)) {
		write_sysreg(ICC_DIR_EL1, intid);
		isb();
	}
}

void gic_forward(unsigned intid)
{
	store(forwarded, intid);
	write_sysreg(ICC_CTLR_EL1, CTLR_EOIMODE);
	isb();
}

void gic_init(void)
{
	unsigned lines = gic_lines();

	write32(GICD_BASE + GICD_CTLR, 0);
	settle(FIRST_SPI);
	write32(GICD_BASE + GICD_CTLR, CTLR_ARE);
	for (unsigned intid = FIRST_SPI; intid < lines; intid += 32) {
		write32(GICD_BASE + ICENABLER + intid / 8, ~0u);
		write32(GICD_BASE + IGROUPR + intid / 8, ~0u);
	}
	for (unsigned intid = FIRST_SPI; intid < lines; intid += 4)
		write32(GICD_BASE + IPRIORITYR + intid, PRIORITY_DEFAULT * 0x01010101u);
	settle(FIRST_SPI);
	write32(GICD_BASE + GICD_CTLR, CTLR_ARE | CTLR_ENABLE_GROUP1);
	settle(FIRST_SPI);
}

/* The redistributor whose GICR_TYPER carries our affinity. */
static uintptr_t find_redistributor(void)
{
	uint64_t mpidr = machine.mpidr[cpu_index()];
	uint64_t wanted = (mpidr >> 32 & 0xff) << 24 | (mpidr & 0xffffff);

	for (uintptr_t base = GICR_BASE;; base += GICR_STRIDE) {
		uint64_t typer = read64(base + GICR_TYPER);

		if (typer >> 32 == wanted)
			return base;
		if (typer & GICR_TYPER_LAST)
			panic("no redistributor for MPIDR 0x%lx", mpidr);
	}
}

void gic_cpu_init(void)
{
	uintptr_t base = find_redistributor();

	redistributors[cpu_index()] = base;
	write32(base + GICR_WAKER, read32(base + GICR_WAKER) & ~WAKER_PROCESSOR_SLEEP);
	while (read32(base + GICR_WAKER) & WAKER_CHILDREN_ASLEEP)
		;
	base += GICR_SGI_FRAME;
	write32(base + ICENABLER, ~0u);
	write32(base + IGROUPR, ~0u);
	for (unsigned intid = 0; intid < FIRST_SPI; intid += 4)
		write32(base + IPRIORITYR + intid, PRIORITY_DEFAULT * 0x01010101u);
	settle(0);

	write_sysreg(ICC_SRE_EL1, read_sysreg(ICC_SRE_EL1) | 1);
	isb();
	write_sysreg(ICC_PMR_EL1, 0xff);
	write_sysreg(ICC_BPR1_EL1, 0);		/* the least the implementation has: every priority preempts a lower one */
	write_sysreg(ICC_CTLR_EL1, 0);		/* EOIR drops the priority and deactivates */
	write_sysreg(ICC_IGRPEN1_EL1, 1);
	isb();
}
