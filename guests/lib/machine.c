/* SPDX-License-Identifier: Apache-2.0 */
/* A reader for flattened device trees (Devicetree Specification 0.4, chapter 5), as much of it as a guest needs. */
#include "machine.h"

#include <stddef.h>

#include "text.h"

enum { FDT_MAGIC = 0xd00dfeed, FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4, FDT_END = 9 };
#define MAX_DEPTH 8

struct machine machine;

/* One property, and the names of the nodes it is in; path[0] is the root's empty name. */
struct property {
	const char *path[MAX_DEPTH];
	unsigned depth;		/* of its node; the root's is 0 */
	const char *name;
	const uint32_t *value;
	uint32_t length;	/* bytes */
};

static uint32_t cell(const uint32_t *big_endian)
{
	return __builtin_bswap32(*big_endian);
}

/* A number of one or two cells. */
static uint64_t cells(const uint32_t *value, unsigned count)
{
	return count == 1 ? cell(value) : (uint64_t)cell(value) << 32 | cell(value + 1);
}

static bool in_node(const struct property *p, const char *name)
{
	return p->depth == 1 && text_equal(p->path[1], name);
}

static void read_bootargs(const struct property *p)
{
	if (p->length > sizeof(machine.bootargs)) {
		machine.fault = "boot arguments longer than 511 characters";
		return;
	}
	for (uint32_t i = 0; i < p->length; i++)
		machine.bootargs[i] = ((const char *)p->value)[i];
}

/* Each interrupt is three cells: 1 for a PPI, the PPI's number, flags (binding arm,gic-v3). */
static void read_timer(const struct property *p)
{
	for (unsigned i = 0; i < TIMER_INTERRUPTS && (i + 1) * 12 <= p->length; i++)
		machine.timer_intid[i] = cell(p->value + 3 * i + 1) + 16;
}

/* An address and a size of two cells each, any number of times; a CPU's and a memory's are not a device's. */
static void read_regions(const struct property *p)
{
	const char *node = p->path[p->depth];

	if (p->length % 16 || text_starts(node, "memory@"))
		return;
	for (unsigned i = 0; (i + 1) * 16 <= p->length && machine.region_count < MAX_REGIONS; i++)
		machine.regions[machine.region_count++] =
			(struct region){ node, i, cells(p->value + 4 * i, 2), cells(p->value + 4 * i + 2, 2) };
}

static void read_property(const struct property *p)
{
	if (in_node(p, "chosen") && text_equal(p->name, "bootargs")) {
		read_bootargs(p);
	} else if (in_node(p, "psci") && text_equal(p->name, "method")) {
		machine.psci_smc = text_equal((const char *)p->value, "smc");
	} else if (in_node(p, "timer") && text_equal(p->name, "interrupts")) {
		read_timer(p);
	} else if (text_equal(p->name, "compatible") && text_equal((const char *)p->value, "arm,gic-v3-its")) {
		machine.its = true;
	} else if (p->depth == 1 && text_starts(p->path[1], "memory@") && text_equal(p->name, "reg")) {
		machine.ram_base = cells(p->value, 2);
		machine.ram_size = cells(p->value + 2, 2);
	} else if (p->depth == 2 && text_equal(p->path[1], "cpus") && text_starts(p->path[2], "cpu@") &&
		   text_equal(p->name, "reg")) {
		if (machine.cpus < MAX_VCPUS)
			machine.mpidr[machine.cpus] = cells(p->value, p->length / 4);
		machine.cpus++;
	}
}

static const uint32_t *after(const uint32_t *at, size_t bytes)
{
	return at + (bytes + 3) / 4;
}

static void walk(const uint32_t *at, const char *strings)
{
	struct property p = { .depth = 0 };
	unsigned open = 0;	/* nodes begun and not ended */

	for (;;) {
		switch (cell(at++)) {
		case FDT_BEGIN_NODE:
			if (open == MAX_DEPTH) {
				machine.fault = "device tree nested too deeply";
				return;
			}
			p.path[open++] = (const char *)at;
			at = after(at, text_length((const char *)at) + 1);
			break;
		case FDT_END_NODE:
			open--;
			break;
		case FDT_PROP:
			p.depth = open - 1;
			p.length = cell(at);
			p.name = strings + cell(at + 1);
			p.value = at + 2;
			at = after(p.value, p.length);
			read_property(&p);
			if (text_equal(p.name, "reg"))
				read_regions(&p);
			break;
		case FDT_NOP:
			break;
		case FDT_END:
			return;
		default:
			machine.fault = "device tree with an unknown token";
			return;
		}
	}
}

void machine_read(const void *dtb)
{
	const uint32_t *header = dtb;

	if (!dtb || cell(header) != FDT_MAGIC) {
		machine.fault = "no device tree in x0";
		return;
	}
	walk(after(header, cell(header + 2)), (const char *)dtb + cell(header + 3));
	if (!machine.fault && (!machine.cpus || !machine.ram_size || !machine.timer_intid[TIMER_HYP_PHYS]))
		machine.fault = "device tree without cpus, memory or timer";
}

const char *machine_bootarg(const char *key)
{
	const char *word = machine.bootargs;

	while (*word) {
		if (text_starts(word, key) && word[text_length(key)] == '=')
			return word + text_length(key) + 1;
		while (*word && *word != ' ')
			word++;
		while (*word == ' ')
			word++;
	}
	return NULL;
}
