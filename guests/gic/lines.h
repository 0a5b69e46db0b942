/* SPDX-License-Identifier: Apache-2.0 */
/* The patterns over SGIs, PPIs and SPIs: what each line is made to be, and how it is read back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define GIC_VCPUS	4

enum kind { SGI, PPI, SPI, LPI, KINDS };

/* What a line is at `now`; one line of each kind on each vCPU has each of the roles. */
enum role {
	ACKED,			/* acknowledged by ICC_IAR1_EL1, not completed: it holds the running priority */
	ACKED_PENDING,		/* the same, and pending again */
	MASKED_BY_PRIORITY,	/* pending, ICC_PMR_EL1 keeps it back */
	MASKED_BY_PSTATE,	/* pending, PSTATE.I keeps it back; on odd vCPUs, which sleep, it is ICC_PMR_EL1 */
	MASKED_BY_GROUP,	/* pending in group 0, ICC_IGRPEN0_EL1 keeps it back */
	DISABLED,		/* pending, its enable bit is 0 */
	ACTIVE,			/* made active by the register */
	ACTIVE_PENDING,		/* the same, and pending */
	ROLES,
	BACKGROUND = ROLES,	/* neither pending nor active; all else differs from line to line */
};

extern const char *const kind_names[KINDS + 1];
extern const char *const role_names[ROLES + 1];

/* Attributes that are compared, in the order of attribute_names. */
enum attribute { ENABLE, PRIORITY, GROUP, EDGE, ROUTE, PENDING_BIT, ACTIVE_BIT, ATTRIBUTES };
extern const char *const attribute_names[ATTRIBUTES];

struct line {
	uint8_t had[ATTRIBUTES];	/* as written and read back before the lifecycle */
	uint8_t role;
	bool used;		/* its pattern belongs to the kinds asked for */
	unsigned due, taken;	/* interrupts that have to have come by now, and that came */
};

/* The INTID below 1020 that has `role` on `cpu`. */
unsigned intid_of(enum kind kind, unsigned cpu, enum role role);
enum kind kind_of(unsigned intid);
uint8_t priority_of(enum kind kind, enum role role);

struct line *line_of(unsigned cpu, unsigned intid);	/* below 1020; SGIs and PPIs have one for each vCPU */

/* Write the pattern of a line, all but what is pending and active, check that it stuck, and remember it. */
void line_write(unsigned intid);
void line_remember(unsigned intid);	/* what is pending and active now */
void line_compare(unsigned intid);	/* with what is remembered */

void kinds_choose(unsigned mask);	/* bit n: enum kind n takes part; before all else */
bool wants(enum kind kind);

/* Only edge-triggered lines are acknowledged and kept (ACKED, ACKED_PENDING); before all else. */
void acks_choose(bool edge_only);

/* Whether a line of that kind has the role. */
bool plays(enum kind kind, enum role role);

/* Call fn for each line below 1020 of the kinds chosen: private ones of this vCPU, SPIs on vCPU 0. */
void lines_for_each(void (*fn)(unsigned intid));
