/* SPDX-License-Identifier: Apache-2.0 */
/* The generic timers (Arm ARM, chapter D12): which exist where, their registers, counters and interrupts. */
#pragma once

#include <stdint.h>

enum timer { CNTP, CNTV, CNTHP, CNTHV, CNTP_EL02, CNTV_EL02, TIMERS };
enum timer_register { TIMER_CTL, TIMER_CVAL, TIMER_TVAL };

#define CTL_ENABLE	1u
#define CTL_IMASK	2u
#define CTL_ISTATUS	4u

extern const char *const timer_names[TIMERS + 1];	/* by enum timer, ended by NULL: fit for ARG_WORD */

/*
 * Why this timer cannot be used here, as the text of a `skip` line; NULL if it can.
 * EL1: CNTP, CNTV. EL2 with E2H=0: CNTP, CNTV, CNTHP, CNTHV. EL2 with E2H=1: CNTHP, CNTHV, CNTP_EL02, CNTV_EL02.
 */
const char *timer_missing(enum timer timer);

unsigned timer_intid(enum timer timer);
uint64_t timer_read(enum timer timer, enum timer_register which);
void timer_write(enum timer timer, enum timer_register which, uint64_t value);

/*
 * The counter the timer compares CVAL with: CNTPCT, less CNTVOFF_EL2 for the virtual EL1 timer. With E2H=1 CNTVCT_EL0
 * read at EL2 leaves the offset out, so it is subtracted here.
 */
uint64_t timer_counter(enum timer timer);

/*
 * CNTVOFF_EL2. With `offset=far`, the default, it is so far behind that a lost one makes the virtual counter jump back; with
 * `offset=none` it is 0 always. far_offset() returns `far` or 0.
 */
extern const char *const offset_names[];
uint64_t far_offset(uint64_t far);

/* What start-up writes. */
#define VIRTUAL_OFFSET	far_offset(-0x0000012345678000UL)

/* A counter for delays, its frequency in Hz, ticks for a time, and a busy wait with interrupts as they are. */
uint64_t counter_now(void);
uint64_t counter_frequency(void);
uint64_t counter_ticks(uint64_t microseconds);
void delay_us(uint64_t microseconds);
