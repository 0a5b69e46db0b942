/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of docs/guest-protocol.md: lines, checks, asking for the lifecycle, the end.
 * Formats know %u %d %lu %ld %x %lx %#x %#lx %s %c %%, and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define FORMAT(first) __attribute__((format(printf, first, first + 1)))

/* Print one line, `@1 ` before it and a newline after it; safe on every vCPU and in handlers. */
void say(const char *format, ...) FORMAT(1);

/* Count one check; where it fails, count that and print a `fail` line that names the vCPU. Returns `holds`. */
bool check(bool holds, const char *format, ...) FORMAT(2);

/* Print a `skip` line and end: this machine lacks what was asked for. */
_Noreturn void skip(const char *format, ...) FORMAT(1);

/* Print a `panic` line and turn the machine off: an assumption of the guest is broken. */
_Noreturn void panic(const char *format, ...) FORMAT(1);
_Noreturn void panic_at(uint64_t elr, uint64_t esr, uint64_t far, const char *format, ...) FORMAT(4);

/* Print `result` and `end`, turn the machine off. */
_Noreturn void finish(void);

/*
 * Print `now` and sleep until the harness has sent `g`. Only on vCPU 0; all else must be in place before. Between
 * the newline and the wait only the line's lock is released. May be called in a handler, after irq_unmask().
 */
void ask(void);

/*
 * Sleep until done() is true (returns true) or the harness has sent `e` (returns false); call report() for each `?`.
 * Only on vCPU 0, which has to be woken (smp_wake(0)) when another vCPU makes done() true.
 */
bool wait_for(bool (*done)(void), void (*report)(void));

/* The same for a vCPU that has work to do while it waits: calls work() again and again instead of sleeping. */
void ask_busy(void (*work)(void));
bool wait_for_busy(bool (*done)(void), void (*report)(void), void (*work)(void));
