/* SPDX-License-Identifier: Apache-2.0 */
#include "timer.h"

#include <stddef.h>

#include "cpu.h"
#include "machine.h"
#include "say.h"

const char *const timer_names[TIMERS + 1] = {
	[CNTP] = "cntp", [CNTV] = "cntv", [CNTHP] = "cnthp", [CNTHV] = "cnthv",
	[CNTP_EL02] = "cntp_el02", [CNTV_EL02] = "cntv_el02",
};

/* op0_op1_CRn_CRm of each timer; op2 is 0 for TVAL, 1 for CTL, 2 for CVAL. */
#define EACH_TIMER(X)			\
	X(CNTP, S3_3_C14_C2)		\
	X(CNTV, S3_3_C14_C3)		\
	X(CNTHP, S3_4_C14_C2)		\
	X(CNTHV, S3_4_C14_C3)		\
	X(CNTP_EL02, S3_5_C14_C2)	\
	X(CNTV_EL02, S3_5_C14_C3)

#define SELECT(timer, which)	((unsigned)(timer) * 3 + (unsigned)(which))

uint64_t timer_read(enum timer timer, enum timer_register which)
{
	isb();
	switch (SELECT(timer, which)) {
#define READ(name, prefix)							\
	case SELECT(name, TIMER_CTL): return read_sysreg(prefix##_1);		\
	case SELECT(name, TIMER_CVAL): return read_sysreg(prefix##_2);		\
	case SELECT(name, TIMER_TVAL): return read_sysreg(prefix##_0);
	EACH_TIMER(READ)
	default: panic("no timer %u", timer);
	}
}

void timer_write(enum timer timer, enum timer_register which, uint64_t value)
{
	switch (SELECT(timer, which)) {
#define WRITE(name, prefix)								\
	case SELECT(name, TIMER_CTL): write_sysreg(prefix##_1, value); break;		\
	case SELECT(name, TIMER_CVAL): write_sysreg(prefix##_2, value); break;		\
	case SELECT(name, TIMER_TVAL): write_sysreg(prefix##_0, value); break;
	EACH_TIMER(WRITE)
	default: panic("no timer %u", timer);
	}
	isb();
}

static enum timer_interrupt interrupt_of(enum timer timer)
{
	static const enum timer_interrupt interrupts[TIMERS] = {
		[CNTP] = TIMER_PHYS, [CNTV] = TIMER_VIRT, [CNTHP] = TIMER_HYP_PHYS, [CNTHV] = TIMER_HYP_VIRT,
		[CNTP_EL02] = TIMER_PHYS, [CNTV_EL02] = TIMER_VIRT,
	};

	return interrupts[timer];
}

unsigned timer_intid(enum timer timer)
{
	return machine.timer_intid[interrupt_of(timer)];
}

const char *timer_missing(enum timer timer)
{
	if (timer == CNTP || timer == CNTV)
		return e2h_set() ? "with E2H=1 the name of an EL1 timer means the EL2 timer; ask for its _EL02 name" : NULL;
	if (!at_el2())
		return "entered at EL1: the EL2 timers and the _EL02 names are not accessible";
	if ((timer == CNTP_EL02 || timer == CNTV_EL02) && !e2h_set())
		return "the _EL02 names are accessible with E2H=1 only";
	if (timer == CNTHV && !id_field(read_sysreg(id_aa64mmfr1_el1), 8))
		return "the EL2 virtual timer needs FEAT_VHE";
	if (!timer_intid(timer))
		return "the machine does not wire the EL2 virtual timer";
	return NULL;
}

const char *const offset_names[] = { "far", "none", NULL };

uint64_t far_offset(uint64_t far)
{
	const char *asked = machine_bootarg("offset");	/* anything but the two words is a panic in args_parse() */

	return asked && asked[0] == 'n' ? 0 : far;
}

uint64_t timer_counter(enum timer timer)
{
	isb();
	if (timer == CNTV)
		return read_sysreg(cntvct_el0);
	if (timer == CNTV_EL02)
		return read_sysreg(cntpct_el0) - read_sysreg(cntvoff_el2);
	return read_sysreg(cntpct_el0);
}

uint64_t counter_now(void)
{
	isb();
	return at_el2() ? read_sysreg(cntpct_el0) : read_sysreg(cntvct_el0);
}

uint64_t counter_frequency(void)
{
	return read_sysreg(cntfrq_el0);
}

uint64_t counter_ticks(uint64_t microseconds)
{
	return microseconds * counter_frequency() / 1000000;
}

void delay_us(uint64_t microseconds)
{
	uint64_t start = counter_now(), ticks = counter_ticks(microseconds);

	while (counter_now() - start < ticks)
		asm volatile("yield");
}
