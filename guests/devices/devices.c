/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that the device tree names: what each says of itself before the lifecycle, it has to say afterwards, at the same
 * address. A device that is not there any more is an external abort, and so a panic with its address.
 */
#include "guest.h"
#include "text.h"

#define MAX_WORDS	512
#define NOTHING		0xffffffffu	/* no PCI function */

/* Words of a region that never change: of the nodes whose names begin so, `count` of them, or one for each vCPU where it is 0. */
static const struct kind {
	const char *node;
	unsigned region;
	uint64_t first, step;
	unsigned count;
} kinds[] = {
	{ "pl011@", 0, 0xfe0, 4, 8 },		/* PeriphID0 to CellID3 (DDI 0183G) */
	{ "pl031@", 0, 0xfe0, 4, 8 },
	{ "pl061@", 0, 0xfe0, 4, 8 },
	{ "intc@", 0, 0x8, 4, 1 },		/* GICD_IIDR (IHI 0069H 12.9) */
	{ "intc@", 1, 0x8, 0x20000, 0 },	/* GICR_TYPER, and of GICv4 that of half as many */
	{ "its@", 0, 0x4, 4, 3 },		/* GITS_IIDR, GITS_TYPER */
	{ "smmuv3@", 0, 0x0, 4, 2 },		/* SMMU_IDR0, SMMU_IDR1 */
	{ "virtio_mmio@", 0, 0x0, 4, 3 },	/* magic, version, device */
	{ "flash@", 0, 0x0, 4, 1 },
	{ "flash@", 1, 0x0, 4, 1 },
	{ "pcie@", 0, 0x0, 0x8000, 32 },	/* vendor and device of each function 0 of bus 0 */
};

static struct word {
	const struct region *in;
	uint64_t address;
	uint32_t value;
} words[MAX_WORDS];
static unsigned count;

static const char *const sabotage_names[] = { "none", "other", NULL };
enum { NO_SABOTAGE, OTHER };
static uint64_t sabotage;

static uint32_t read(uint64_t address)
{
	return *(volatile const uint32_t *)address;
}

static void note(const struct kind *kind, const struct region *region)
{
	unsigned many = kind->count ? kind->count : machine.cpus;

	for (unsigned i = 0; i < many; i++) {
		uint64_t address = region->base + kind->first + i * kind->step;
		uint32_t value = read(address);

		if (value == NOTHING && kind->step > 4)
			continue;
		if (count == MAX_WORDS)
			panic("more than %u words", MAX_WORDS);
		words[count++] = (struct word){ region, address, value };
	}
}

static void look(void)
{
	for (unsigned i = 0; i < machine.region_count; i++)
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
			if (text_starts(machine.regions[i].node, kinds[k].node) && machine.regions[i].index == kinds[k].region)
				note(&kinds[k], &machine.regions[i]);
}

void guest_main(void)
{
	static const struct argument table[] = { ARG_WORD("sabotage", sabotage, sabotage_names) };

	guest_begin("devices", table, ARRAY_SIZE(table));
	look();
	say("arranged cpu=0 regions=%u words=%u", machine.region_count, count);
	ask();
	if (sabotage == OTHER)
		words[count - 1].value ^= 1;
	for (unsigned i = 0; i < count; i++) {
		uint32_t value = read(words[i].address);

		check(value == words[i].value, "%s at %#lx had %#x has %#x", words[i].in->node, words[i].address, words[i].value,
		      value);
	}
	finish();
}
