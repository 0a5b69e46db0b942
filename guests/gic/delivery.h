/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken, what is due, and whether the two agree. */
#pragma once

#include "lines.h"
#include "lpis.h"

/* Install the handlers. `repeat`: an INTID to make pending once more when it is taken; 0 for none. */
void delivery_begin(uint64_t settle_time_us, unsigned repeat);

/* Make it pending and acknowledge it, as the handler of an interrupt that is never completed. With PSTATE.I set. */
void acknowledge(unsigned intid);

/* On this vCPU, the lines with a role now have to come, once more each. */
void now_due(enum role role);
void lpi_due(enum lpi_role role);
void by_priority(bool on);	/* from now on in the order of their priorities */

/* On this vCPU, wait for what is due, at most 100 ms, then the settle time for what is not. */
void settle(void);

bool all_came(void);			/* what is due on all vCPUs */
void verify_delivery(void);		/* on this vCPU: exactly what was due */
unsigned taken_in_all(unsigned cpu);
