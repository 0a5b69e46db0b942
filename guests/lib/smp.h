/* SPDX-License-Identifier: Apache-2.0 */
/* Work on other vCPUs. Secondaries sleep in WFI until vCPU 0 gives them a call. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* How many vCPUs run: the argument vcpus=. */
extern uint64_t vcpus;

void smp_start(void);				/* called by guest_begin() */
_Noreturn void smp_secondary(void);		/* called by boot.c */

/*
 * Run fn(arg) on one vCPU, or on all at the same time, and wait for its end. Only from vCPU 0. The function runs with
 * the interrupt mask the vCPU had, and a change that it makes to the mask stays.
 */
void smp_call(unsigned cpu, void (*fn)(void *), void *arg);
void smp_call_all(void (*fn)(void *), void *arg);

/* End a WFI of `cpu`: to be called after anything that it may be waiting for. */
void smp_wake(unsigned cpu);

/* On a secondary, serve calls from vCPU 0 until *flag; so that a vCPU stuck in a handler can still answer. */
void smp_serve_until(bool *flag);
