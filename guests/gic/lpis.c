/* SPDX-License-Identifier: Apache-2.0 */
#include "lpis.h"

#include "guest.h"

static struct its_tables tables;
static struct line lines[GIC_VCPUS * LPI_ROLES];
static uint8_t properties[GIC_VCPUS * LPI_ROLES];
static uint64_t registers[GIC_VCPUS][ITS_REGISTERS];

static const uint32_t devices[ITS_DEVICES] = { 0x23, 0x423 };

unsigned lpi_of(unsigned cpu, enum lpi_role role)
{
	return FIRST_LPI + LPI_ROLES * cpu + (unsigned)role;
}

struct line *lpi_line(unsigned lpi)
{
	return lpi - FIRST_LPI < LPI_ROLES * vcpus ? &lines[lpi - FIRST_LPI] : NULL;
}

unsigned lpi_cpu(unsigned lpi) { return (lpi - FIRST_LPI) / LPI_ROLES; }

static enum lpi_role lpi_role(unsigned lpi) { return (enum lpi_role)((lpi - FIRST_LPI) % LPI_ROLES); }
static uint32_t device_of(unsigned lpi) { return devices[lpi_cpu(lpi) % ITS_DEVICES]; }

/* Not the order of the INTIDs, so that the one is not mistaken for the other. */
static uint32_t event_of(unsigned lpi) { return (1u << ITS_EVENT_BITS) - 1 - (lpi - FIRST_LPI); }

static uint8_t priority(unsigned lpi)
{
	static const uint8_t of[LPI_ROLES] = {
		[LPI_PENDING] = 0xa8, [LPI_DISABLED] = 0xc0, [LPI_MOVED] = 0x98, [LPI_IDLE] = 0x88,
	};

	return of[lpi_role(lpi)];
}

static void init_cpu(void *unused)
{
	(void)unused;
	its_cpu_init();
}

static void map(unsigned lpi)
{
	bool moved = lpi_role(lpi) == LPI_MOVED;
	unsigned cpu = lpi_cpu(lpi);

	its_set_property(lpi, priority(lpi), lpi_role(lpi) != LPI_DISABLED);
	its_map_event(device_of(lpi), event_of(lpi), lpi, moved ? (cpu + 1) % (unsigned)vcpus : cpu);
	its_invalidate(device_of(lpi), event_of(lpi));
	if (lpi_role(lpi) != LPI_IDLE)
		its_interrupt(device_of(lpi), event_of(lpi));
	if (moved)
		its_move(device_of(lpi), event_of(lpi), cpu);
}

void lpis_write(void)
{
	its_init(&tables);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, init_cpu, NULL);
	its_map_collections();
	for (unsigned i = 0; i < ITS_DEVICES; i++)
		its_map_device(i, devices[i]);
	for (unsigned lpi = FIRST_LPI; lpi_line(lpi); lpi++)
		map(lpi);
}

void lpis_remember(void *unused)
{
	const char *name;

	(void)unused;
	for (unsigned i = 0; i < ITS_REGISTERS; i++)
		registers[cpu_index()][i] = its_register(i, &name);
	for (unsigned lpi = FIRST_LPI; lpi_line(lpi); lpi++)
		properties[lpi - FIRST_LPI] = its_property(lpi);
}

/* What is pending in a redistributor cannot be read (IHI 0069, 6.5: the table is its own); delivery has to show it. */
void lpis_compare(void *unused)
{
	const char *name;

	(void)unused;
	for (unsigned i = 0; i < ITS_REGISTERS; i++) {
		uint64_t had = registers[cpu_index()][i], has = its_register(i, &name);

		check(has == had, "%s had %#lx, has %#lx", name, had, has);
	}
	for (unsigned lpi = FIRST_LPI; lpi_line(lpi); lpi++)
		check(its_property(lpi) == properties[lpi - FIRST_LPI], "lpi %u: property had %#x, has %#x", lpi,
		      properties[lpi - FIRST_LPI], its_property(lpi));
}

void lpis_enable(unsigned lpi, bool enable)
{
	its_set_property(lpi, priority(lpi), enable);
	its_invalidate(device_of(lpi), event_of(lpi));
}

void lpis_spoil_priority(unsigned lpi)
{
	its_set_property(lpi, priority(lpi) ^ 0x10, true);
	its_invalidate(device_of(lpi), event_of(lpi));
}

void lpis_interrupt(unsigned lpi) { its_interrupt(device_of(lpi), event_of(lpi)); }
void lpis_clear(unsigned lpi) { its_clear(device_of(lpi), event_of(lpi)); }
