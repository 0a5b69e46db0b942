/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: runs at EL1 behind stage 2, sees its own memory and the hypervisor's code, read-only, and no device. It may call
 * nothing of the library that is not inline.
 */
#include "l2.h"

#include <stddef.h>

#include "cpu.h"

#define CTL_ENABLE	1u
#define CTL_ISTATUS	4u
#define TIMER_INTID	27	/* what the hypervisor gives it; the architecture's usual number */
#define PRIORITY_MASK	0xf0
#define BEAT_US		1000
#define PATTERN(cpu, n)	(0x5a17000000000000UL ^ ((n) + 1) * 0x0101010101010101UL ^ (uint64_t)(cpu) << 32)

static void expect(bool holds, const char *name, uint64_t had, uint64_t has)
{
	l2_call(CALL_CHECK, holds, (uintptr_t)name, had, has);
}

static uint64_t counter(struct l2 *l2)
{
	uint64_t daif = irq_save(), now;

	isb();
	now = read_sysreg(cntvct_el0);
	if (now < l2->newest)
		expect(false, "the virtual counter", l2->newest, now);
	l2->newest = now;
	irq_restore(daif);
	return now;
}

static void arm(struct l2 *l2, uint64_t ticks)
{
	uint64_t daif = irq_save();

	l2->cval = counter(l2) + ticks;
	l2->armed = true;
	write_sysreg(cntv_cval_el0, l2->cval);
	write_sysreg(cntv_ctl_el0, CTL_ENABLE);
	isb();
	irq_restore(daif);
}

/* What has to be the same before and after the wait, beside x1 to x29. */
static void read_own(uint64_t *to)
{
	to[0] = read_sysreg(ttbr0_el1);
	to[1] = read_sysreg(tcr_el1);
	to[2] = read_sysreg(sctlr_el1);
	to[3] = read_sysreg(vbar_el1);
	to[4] = read_sysreg(tpidr_el1);
	to[5] = read_sysreg(tpidr_el0);
	to[6] = read_sysreg(tpidrro_el0);
	to[7] = read_sysreg(sp_el0);
	to[8] = read_sysreg(contextidr_el1);
	to[9] = read_sysreg(mpidr_el1);
	to[10] = read_sysreg(ICC_PMR_EL1);
	to[11] = read_sysreg(ICC_BPR1_EL1);
	to[12] = read_sysreg(ICC_IGRPEN1_EL1);
	to[13] = read_sysreg(ICC_RPR_EL1);
	to[14] = read_sysreg(daif);
}

/* The instant: from the hypercall to the flag L2 does nothing but wait. */
static void be_interrupted(struct l2 *l2)
{
	static const char *const names[] = {
		"TTBR0_EL1", "TCR_EL1", "SCTLR_EL1", "VBAR_EL1", "TPIDR_EL1", "TPIDR_EL0", "TPIDRRO_EL0", "SP_EL0",
		"CONTEXTIDR_EL1", "MPIDR_EL1", "ICC_PMR_EL1", "ICC_BPR1_EL1", "ICC_IGRPEN1_EL1", "ICC_RPR_EL1", "DAIF",
	};
	static const char *const x[L2_REGISTERS] = {
		"x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
		"x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29",
	};
	uint64_t had[ARRAY_SIZE(names)], has[ARRAY_SIZE(names)];

	read_own(had);
	if (l2->instant == L2_WFI)
		l2_hold_wfi(l2->had, l2->has);
	else
		l2_hold_running(l2->had, l2->has);
	read_own(has);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		expect(has[i] == had[i], names[i], had[i], has[i]);
	for (unsigned i = 0; i < L2_REGISTERS; i++)
		expect(l2->has[i] == l2->had[i], x[i], l2->had[i], l2->has[i]);
}

void l2_irq(struct l2 *l2)
{
	uint64_t intid = read_sysreg(ICC_IAR1_EL1);
	uint64_t cval, cnt, ctl;

	store(l2->reading, true);
	cval = read_sysreg(cntv_cval_el0);
	cnt = counter(l2);
	ctl = read_sysreg(cntv_ctl_el0);

	while (counter(l2) - cnt < l2->reading_time)
		asm volatile("yield");
	dsb();
	l2->count++;
	l2_call(CALL_IRQ, intid, cval, cnt, ctl);
	expect(intid == TIMER_INTID, "INTID", TIMER_INTID, intid);
	expect(cval == l2->cval, "CNTV_CVAL_EL0", l2->cval, cval);
	expect(cnt >= cval, "the counter and CNTV_CVAL_EL0", cval, cnt);
	expect(ctl == (CTL_ENABLE | CTL_ISTATUS), "CNTV_CTL_EL0", CTL_ENABLE | CTL_ISTATUS, ctl);
	if (l2->instant == ACTIVE_LR && l2->count == 1)
		be_interrupted(l2);
	write_sysreg(cntv_ctl_el0, 0);
	isb();
	store(l2->armed, false);
	write_sysreg(ICC_EOIR1_EL1, intid);
	isb();
}

/* A moment's wait for the interrupt of a timer that is due. */
static void await_interrupt(struct l2 *l2)
{
	if (counter(l2) > l2->cval + l2->lost)
		l2_call(CALL_LOST, l2->cval, l2->newest, read_sysreg(cntv_ctl_el0), 0);
	asm volatile("yield");
}

static void set_up(struct l2 *l2)
{
	for (unsigned i = 0; i < L2_REGISTERS; i++)
		l2->had[i] = PATTERN(l2->cpu, i);
	write_sysreg(tpidr_el0, PATTERN(l2->cpu, 40));
	write_sysreg(tpidrro_el0, PATTERN(l2->cpu, 41));
	write_sysreg(sp_el0, PATTERN(l2->cpu, 42));
	write_sysreg(contextidr_el1, 0x1200 + l2->cpu);
	expect(read_sysreg(mpidr_el1) == L2_VMPIDR(l2->cpu), "MPIDR_EL1", L2_VMPIDR(l2->cpu), read_sysreg(mpidr_el1));
	write_sysreg(ICC_SRE_EL1, read_sysreg(ICC_SRE_EL1) | 1);
	isb();
	write_sysreg(ICC_PMR_EL1, PRIORITY_MASK);
	write_sysreg(ICC_CTLR_EL1, 0);
	write_sysreg(ICC_IGRPEN1_EL1, 1);
	isb();
}

static void arrange(struct l2 *l2)
{
	switch ((enum instant)l2->instant) {
	case ARMED:
	case L2_WFI:
		arm(l2, l2->ahead);
		irq_unmask();
		break;
	case PENDING_LR:
		arm(l2, 0);
		while (read_sysreg(ICC_HPPIR1_EL1) != TIMER_INTID)
			await_interrupt(l2);
		break;
	case ACTIVE_LR:
		arm(l2, 0);
		irq_unmask();
		while (!load(l2->count))
			await_interrupt(l2);
		return;	/* the handler was interrupted */
	case L2_RUNNING:
		irq_unmask();
		break;
	}
	be_interrupted(l2);
}

/* For ever: a beat each millisecond, and the timer armed again until there have been `ticks` interrupts. */
void l2_start(struct l2 *l2)
{
	uint64_t beat = read_sysreg(cntfrq_el0) / 1000000 * BEAT_US;

	set_up(l2);
	arrange(l2);
	irq_unmask();
	for (;;) {
		uint64_t start = counter(l2);

		if (!load(l2->armed) && load(l2->count) < l2->ticks)
			arm(l2, l2->period);
		while (counter(l2) - start < beat)
			asm volatile("yield");
		l2->beats++;
		l2_call(CALL_BEAT, 0, 0, 0, 0);
	}
}
