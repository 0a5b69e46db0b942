/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include "guest.h"

#define FIRST_SPI	32
#define ROLE_SPIS	96	/* from here on 16 for each vCPU: no device of the machine drives them */
#define MAX_INTID	1020

const char *const kind_names[KINDS + 1] = { "sgi", "ppi", "spi", "lpi", NULL };
const char *const role_names[ROLES + 1] = {
	"acked", "acked-pending", "masked-by-priority", "masked-by-pstate", "masked-by-group", "disabled", "active",
	"active-pending", "background",
};
const char *const attribute_names[ATTRIBUTES] = { "enable", "priority", "group", "edge", "route", "pending", "active" };

/* PPIs that no device of the machine drives (timers 26 to 30, maintenance 25, PMU 23). */
static const uint8_t free_ppis[] = { 16, 17, 18, 19, 20, 21, 22, 24, 31 };
_Static_assert(ARRAY_SIZE(free_ppis) >= ROLES, "a PPI for each role");

static struct line private_lines[GIC_VCPUS][FIRST_SPI], spis[MAX_INTID - FIRST_SPI];

static unsigned chosen;
static bool edge_acks;

void kinds_choose(unsigned mask) { chosen = mask; }
void acks_choose(bool edge_only) { edge_acks = edge_only; }
bool wants(enum kind kind) { return chosen >> kind & 1; }

/* A PPI's trigger need not be configurable (ICFGR1), so it takes no part where only edges may. */
bool plays(enum kind kind, enum role role)
{
	return wants(kind) && !(edge_acks && kind == PPI && (role == ACKED || role == ACKED_PENDING));
}

enum kind kind_of(unsigned intid)
{
	return intid < 16 ? SGI : intid < FIRST_SPI ? PPI : intid < MAX_INTID ? SPI : LPI;
}

unsigned intid_of(enum kind kind, unsigned cpu, enum role role)
{
	return kind == SGI ? (unsigned)role : kind == PPI ? free_ppis[role] : ROLE_SPIS + 16 * cpu + (unsigned)role;
}

/*
 * Every kind of every role has its own, in steps of 8, the coarsest a GICv3 may have with 32 levels. Console 0x20 and
 * wake-up SGI 0x40 stay above all that masks; ICC_PMR_EL1 is 0x60 at `now`.
 */
uint8_t priority_of(enum kind kind, enum role role)
{
	static const uint8_t first[ROLES] = {
		[MASKED_BY_PSTATE] = 0x48, [ACKED_PENDING] = 0x60, [ACKED] = 0x78, [MASKED_BY_PRIORITY] = 0x90,
		[ACTIVE_PENDING] = 0xb0, [DISABLED] = 0xc8, [MASKED_BY_GROUP] = 0xe0, [ACTIVE] = 0x98,
	};

	return (uint8_t)(first[role] + 8 * kind);
}

struct line *line_of(unsigned cpu, unsigned intid)
{
	return intid < FIRST_SPI ? &private_lines[cpu][intid] : &spis[intid - FIRST_SPI];
}

/* The role of an INTID on this vCPU, and the vCPU it is routed to. */
static enum role role_of(unsigned intid, unsigned *cpu)
{
	*cpu = cpu_index();
	switch (kind_of(intid)) {
	case SGI:
		return intid < ROLES ? (enum role)intid : BACKGROUND;
	case PPI:
		for (unsigned role = 0; role < ROLES; role++)
			if (free_ppis[role] == intid)
				return plays(PPI, (enum role)role) ? (enum role)role : BACKGROUND;
		return BACKGROUND;
	case SPI:
		*cpu = (intid - ROLE_SPIS) / 16;
		if (intid >= ROLE_SPIS && *cpu < vcpus && (intid - ROLE_SPIS) % 16 < ROLES)
			return (enum role)((intid - ROLE_SPIS) % 16);
		*cpu = intid % (unsigned)vcpus;
		return BACKGROUND;
	case LPI:
	case KINDS:
		break;
	}
	panic("INTID %u has no role", intid);
}

static uint8_t attribute(unsigned intid, enum attribute which)
{
	switch (which) {
	case ENABLE: return gic_is_enabled(intid);
	case PRIORITY: return gic_priority(intid);
	case GROUP: return (uint8_t)gic_group(intid);
	case EDGE: return gic_is_edge(intid);
	case ROUTE: return intid < FIRST_SPI ? 0 : (uint8_t)gic_route(intid);
	case PENDING_BIT: return gic_is_pending(intid);
	case ACTIVE_BIT: return gic_is_active(intid);
	case ATTRIBUTES: break;
	}
	panic("no attribute %u", which);
}

/* Distinct bits for neighbours, so that a register of many lines never looks like another. */
static unsigned scramble(unsigned intid)
{
	return intid * 2654435761u >> 13;
}

void line_write(unsigned intid)
{
	unsigned cpu, bits = scramble(intid + 1020 * cpu_index());
	enum role role = role_of(intid, &cpu);
	struct line *line = line_of(cpu, intid);
	bool background = role == BACKGROUND;
	uint8_t wanted[ATTRIBUTES] = {
		[ENABLE] = background ? bits & 1 : role != DISABLED,
		[PRIORITY] = background ? (uint8_t)(0x90 + (bits >> 1) % 13 * 8) : priority_of(kind_of(intid), role),
		[GROUP] = background ? bits >> 6 & 1 : role != MASKED_BY_GROUP,
		[EDGE] = intid < 16 || (background ? bits >> 7 & 1 : (role & 1) == 0 || (edge_acks && role == ACKED_PENDING)),
		[ROUTE] = intid < FIRST_SPI ? 0 : (uint8_t)cpu,
	};

	if (role == MASKED_BY_PSTATE && cpu & 1)
		wanted[PRIORITY] = (uint8_t)(priority_of(LPI, MASKED_BY_PRIORITY));	/* the ones that sleep */
	line->role = (uint8_t)role;
	line->used = true;
	gic_disable(intid);
	gic_clear_pending(intid);
	gic_clear_active(intid);
	gic_set_group(intid, wanted[GROUP]);
	gic_set_priority(intid, wanted[PRIORITY]);
	if (intid >= FIRST_SPI)
		gic_set_route(intid, wanted[ROUTE]);
	if (intid >= 16)
		gic_set_edge(intid, wanted[EDGE]);
	if (wanted[ENABLE])
		gic_enable(intid);
	for (unsigned i = 0; i < PENDING_BIT; i++) {
		line->had[i] = attribute(intid, (enum attribute)i);
		/* Whether a PPI's configuration can be written is implementation defined (ICFGR1). */
		if (i != EDGE || kind_of(intid) != PPI)
			check(line->had[i] == wanted[i], "%s %u: %s reads %#x after %#x was written",
			      kind_names[kind_of(intid)], intid, attribute_names[i], line->had[i], wanted[i]);
	}
}

void line_remember(unsigned intid)
{
	unsigned cpu;
	enum role role = role_of(intid, &cpu);
	struct line *line = line_of(cpu, intid);
	bool pending = role != BACKGROUND && role != ACKED && role != ACTIVE;
	bool active = role == ACKED || role == ACKED_PENDING || role == ACTIVE || role == ACTIVE_PENDING;

	line->had[PENDING_BIT] = gic_is_pending(intid);
	line->had[ACTIVE_BIT] = gic_is_active(intid);
	check(line->had[PENDING_BIT] == pending && line->had[ACTIVE_BIT] == active,
	      "%s %u, %s: pending is %u and active is %u before the lifecycle", kind_names[kind_of(intid)], intid,
	      role_names[role], line->had[PENDING_BIT], line->had[ACTIVE_BIT]);
}

void line_compare(unsigned intid)
{
	unsigned cpu;
	enum role role = role_of(intid, &cpu);
	struct line *line = line_of(cpu, intid);

	for (unsigned i = 0; i < ATTRIBUTES; i++) {
		uint8_t has = attribute(intid, (enum attribute)i);

		check(has == line->had[i], "%s %u, %s: %s had %#x, has %#x", kind_names[kind_of(intid)], intid,
		      role_names[role], attribute_names[i], line->had[i], has);
	}
}

void lines_for_each(void (*fn)(unsigned intid))
{
	for (unsigned intid = 0; wants(SGI) && intid < SGI_WAKE; intid++)
		fn(intid);
	for (unsigned i = 0; wants(PPI) && i < ARRAY_SIZE(free_ppis); i++)
		fn(free_ppis[i]);
	if (cpu_index() || !wants(SPI))
		return;
	for (unsigned intid = FIRST_SPI; intid < gic_lines(); intid++)
		if (intid != console_intid())
			fn(intid);
}
