/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns in system registers: chosen, put in place, taken out, compared. All on the vCPU that calls. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Which registers: those of the set `sys`, of the set `pauth`, or both. */
enum { SYS_PLAIN = 1, SYS_KEYS = 2 };

/* The names of all rows, fit for ARG_MARKS, and marks for those that are never touched; to be set first. */
extern const char *const sysreg_names[];
extern bool sysregs_left_out[];

/* Write each register's pattern, note what stuck, put the old value back. Interrupts masked. */
void sysregs_choose(unsigned sets, uint64_t seed);

/* One `reg` line for each. */
void sysregs_say(unsigned sets);

/* Put the patterns in place. Interrupts masked. */
void sysregs_load(unsigned sets);

/* Read all registers as they are now, put the old values back. Interrupts masked. */
void sysregs_capture(unsigned sets);

/* Compare what was captured with what was put in place. */
void sysregs_verify(unsigned sets);

/* Print one `fail` line and count, where `has` is not `had`; the name is printed in upper case. */
void compare(const char *name, uint64_t had, uint64_t has);

/* A number that depends on all its arguments; the same `what` and `n` on two vCPUs give different ones. */
uint64_t pattern(uint64_t seed, uint64_t what, uint64_t n);
