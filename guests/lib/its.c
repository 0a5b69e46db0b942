/* SPDX-License-Identifier: Apache-2.0 */
#include "its.h"

#include "cpu.h"
#include "gic.h"
#include "say.h"
#include "smp.h"
#include "timer.h"

enum {
	GITS_CTLR = 0x0, GITS_TYPER = 0x8, GITS_CBASER = 0x80, GITS_CWRITER = 0x88, GITS_CREADR = 0x90, GITS_BASER = 0x100,
	GICR_CTLR = 0x0, GICR_TYPER = 0x8, GICR_PROPBASER = 0x70, GICR_PENDBASER = 0x78,
};
enum command { MOVI = 0x1, INT = 0x3, CLEAR = 0x4, SYNC = 0x5, MAPD = 0x8, MAPC = 0x9, MAPTI = 0xa, INV = 0xc, DISCARD = 0xf };

#define VALID			(1UL << 63)
#define CTLR_ENABLE_LPIS	1u
#define TYPER_PTA		(1UL << 19)
#define BASERS			8
#define BASER_TYPE(value)	((value) >> 56 & 7)
#define BASER_PAGE(value)	((value) >> 8 & 3)
#define TYPE_DEVICES		1
#define TYPE_COLLECTIONS	4
#define BASER_ATTRIBUTES	(7UL << 59 | 1UL << 10)		/* Normal write-back, inner shareable */
#define CBASER_ATTRIBUTES	(7UL << 59 | 1UL << 10)
#define GICR_ATTRIBUTES		(7UL << 7 | 1UL << 10)
#define PENDBASER_ZERO		(1UL << 62)
#define PROPERTY_ENABLE		1u

static struct its_tables *memory;
static uint64_t targets[MAX_VCPUS];	/* RDbase in commands: bits 51:16 */
static uint32_t next;			/* where in the queue the next command goes, in bytes */

static void send(uint64_t d0, uint64_t d1, uint64_t d2)
{
	uint64_t *slot = &memory->commands[next / 8];
	uint64_t start = counter_now();

	slot[0] = d0;
	slot[1] = d1;
	slot[2] = d2;
	slot[3] = 0;
	dsb();
	next = (next + 32) % sizeof(memory->commands);
	write64(GITS_BASE + GITS_CWRITER, next);
	while (read64(GITS_BASE + GITS_CREADR) != next)
		if (counter_now() - start > counter_frequency())
			panic("the ITS did not take the command %#lx %#lx %#lx: CREADR is %#lx", d0, d1, d2,
			      read64(GITS_BASE + GITS_CREADR));
}

/* A command, and a SYNC for every redistributor: its effect is there when this returns. */
static void command(enum command what, uint32_t device, uint64_t d1, uint64_t d2)
{
	send((uint64_t)what | (uint64_t)device << 32, d1, d2);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		send(SYNC, 0, targets[cpu]);
}

/* Give one of the ITS its table of 64 KiB, in pages of the size it wants. */
static void set_base(unsigned n, const void *table)
{
	uintptr_t address = GITS_BASE + GITS_BASER + n * 8UL;
	static const unsigned pages[] = { 16, 4, 1, 1 };	/* of 4, 16 and 64 KiB; 3 is as 2 */
	uint64_t page = BASER_PAGE(read64(address));
	uint64_t value = VALID | BASER_ATTRIBUTES | (uintptr_t)table | page << 8 | (pages[page] - 1);

	write64(address, value);
	if (BASER_PAGE(read64(address)) != page || !(read64(address) & VALID))
		panic("GITS_BASER%u reads %#lx after %#lx was written", n, read64(address), value);
}

void its_init(struct its_tables *tables)
{
	memory = tables;
	write32(GITS_BASE + GITS_CTLR, 0);
	for (unsigned n = 0; n < BASERS; n++) {
		unsigned type = BASER_TYPE(read64(GITS_BASE + GITS_BASER + n * 8UL));

		if (type == TYPE_DEVICES)
			set_base(n, tables->devices);
		else if (type == TYPE_COLLECTIONS)
			set_base(n, tables->collections);
	}
	write64(GITS_BASE + GITS_CBASER, VALID | CBASER_ATTRIBUTES | (uintptr_t)tables->commands);	/* one page of 4 KiB */
	write64(GITS_BASE + GITS_CWRITER, 0);
	next = 0;
	write32(GITS_BASE + GITS_CTLR, 1);
}

void its_cpu_init(void)
{
	uintptr_t base = gic_redistributor();
	unsigned cpu = cpu_index();

	write64(base + GICR_PROPBASER, (uintptr_t)memory->properties | GICR_ATTRIBUTES | (LPI_ID_BITS - 1));
	write64(base + GICR_PENDBASER, (uintptr_t)memory->pending[cpu] | GICR_ATTRIBUTES | PENDBASER_ZERO);
	dsb();
	write32(base + GICR_CTLR, read32(base + GICR_CTLR) | CTLR_ENABLE_LPIS);
	targets[cpu] = read64(GITS_BASE + GITS_TYPER) & TYPER_PTA ? base :
		       (read64(base + GICR_TYPER) >> 8 & 0xffff) << 16;
}

void its_map_collections(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		command(MAPC, 0, 0, VALID | targets[cpu] | cpu);
}

void its_set_property(unsigned lpi, uint8_t priority, bool enabled)
{
	memory->properties[lpi - FIRST_LPI] = (uint8_t)((priority & 0xfc) | (enabled ? PROPERTY_ENABLE : 0));
	dsb();
}

uint8_t its_property(unsigned lpi)
{
	return load(memory->properties[lpi - FIRST_LPI]);
}

void its_map_device(unsigned index, uint32_t device)
{
	command(MAPD, device, ITS_EVENT_BITS - 1, VALID | (uintptr_t)memory->translations[index]);
}

void its_map_event(uint32_t device, uint32_t event, unsigned lpi, unsigned cpu)
{
	command(MAPTI, device, (uint64_t)lpi << 32 | event, cpu);
}

void its_unmap_device(uint32_t device) { command(MAPD, device, 0, 0); }
void its_discard(uint32_t device, uint32_t event) { command(DISCARD, device, event, 0); }
void its_move(uint32_t device, uint32_t event, unsigned cpu) { command(MOVI, device, event, cpu); }
void its_interrupt(uint32_t device, uint32_t event) { command(INT, device, event, 0); }
void its_clear(uint32_t device, uint32_t event) { command(CLEAR, device, event, 0); }
void its_invalidate(uint32_t device, uint32_t event) { command(INV, device, event, 0); }

uint64_t its_register(unsigned number, const char **name)
{
	static const struct { const char *name; bool gicr, wide; uint16_t offset; } list[ITS_REGISTERS] = {
		{ "GITS_CTLR", false, false, GITS_CTLR }, { "GITS_CBASER", false, true, GITS_CBASER },
		{ "GITS_CWRITER", false, true, GITS_CWRITER }, { "GITS_CREADR", false, true, GITS_CREADR },
		{ "GITS_BASER0", false, true, GITS_BASER }, { "GITS_BASER1", false, true, GITS_BASER + 8 },
		{ "GICR_CTLR", true, false, GICR_CTLR }, { "GICR_PROPBASER", true, true, GICR_PROPBASER },
		{ "GICR_PENDBASER", true, true, GICR_PENDBASER },
	};
	uintptr_t address = (list[number].gicr ? gic_redistributor() : GITS_BASE) + list[number].offset;

	*name = list[number].name;
	return list[number].wide ? read64(address) : read32(address);
}
