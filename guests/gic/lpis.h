/* SPDX-License-Identifier: Apache-2.0 */
/* The LPIs: two devices behind the ITS, four events for each vCPU. */
#pragma once

#include <stdbool.h>

#include "its.h"
#include "lines.h"

/* What the LPIs of a vCPU are, in the order of their INTIDs. */
enum lpi_role {
	LPI_PENDING,	/* pending, ICC_PMR_EL1 keeps it back */
	LPI_DISABLED,	/* pending, disabled in the property table */
	LPI_MOVED,	/* made pending on the next vCPU, then moved here */
	LPI_IDLE,	/* enabled, not pending; its INT comes after the lifecycle */
	LPI_ROLES,
};

unsigned lpi_of(unsigned cpu, enum lpi_role role);
struct line *lpi_line(unsigned lpi);		/* NULL if no vCPU has it */
unsigned lpi_cpu(unsigned lpi);			/* the vCPU it belongs to */

void lpis_write(void);		/* on vCPU 0: tables, mappings, pending LPIs; the priority mask has to be on */
void lpis_remember(void *unused);	/* on each vCPU: registers and properties */
void lpis_compare(void *unused);
void lpis_enable(unsigned lpi, bool enable);	/* in the property table, with INV */
void lpis_interrupt(unsigned lpi);		/* INT */
void lpis_clear(unsigned lpi);			/* CLEAR */
void lpis_spoil_priority(unsigned lpi);
