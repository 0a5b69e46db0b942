/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every vCPU arms the same timer with a CVAL of its own and brings it into the instant asked for; after the lifecycle
 * the interrupt has to come, once, not before CVAL, with the registers as they were written. README.md has the details.
 */
#include "guest.h"

enum instant { ARMED, ARMED_FAR, EXPIRED_MASKED, PENDING, ACTIVE, DISABLED, PERIODIC };
enum by { BY_CVAL, BY_TVAL };
enum sabotage { HONEST, NEVER_ARMS, FIRES_TWICE, FIRES_EARLY, LOSES_ISTATUS, COUNTER_BACK, LATE };

static const char *const instant_names[] = {
	"armed", "armed-far", "expired-masked", "pending", "active", "disabled", "periodic", NULL,
};
static const char *const by_names[] = { "cval", "tval", NULL };
static const char *const sabotage_names[] = {
	"none", "never-arms", "fires-twice", "fires-early", "loses-istatus", "counter-back", "late", NULL,
};

static struct {
	uint64_t timer, instant, by, ahead_us, period_us, ticks, settle_us, sabotage;
} arg = { .timer = CNTV, .ahead_us = 50000, .period_us = 20000, .ticks = 5, .settle_us = 5000 };

#define FAR_BY_CVAL	(1L << 40)	/* ticks */
#define LIMIT_OF_TVAL	0x7fffffffL	/* TVAL is a signed 32-bit number */
#define REARM_US	1000
#define ISTATUS_GRACE_US 100000		/* QEMU's TCG sets ISTATUS from a host timer, which a busy host runs late */
#define STORM		100		/* surplus interrupts after which we give up */

static struct vcpu {
	uint64_t cval;		/* read back after it was last written */
	uint64_t ctl;		/* ENABLE and IMASK as last written */
	uint64_t newest;	/* the highest counter value read */
	uint64_t gone_back;	/* a counter value below that; 0 if there was none */
	uint64_t since;		/* the counter when it ended what held the interrupt back; 0 before, or if nothing did */
	unsigned count;		/* interrupts taken */
	unsigned expected;	/* interrupts that have to come in all */
	bool inside;		/* in the handler of the first interrupt (ACTIVE) */
} state[MAX_VCPUS];

static uint64_t newest_before;	/* the highest counter value of any vCPU before the lifecycle */
static bool asked;		/* the lifecycle is over */
static bool released;		/* handlers may return (ACTIVE) */

/* A guest that lies or misbehaves on purpose keeps quiet about it: then only the harness's oracle can tell. */
#define judge(...) do { if (arg.sabotage == HONEST) check(__VA_ARGS__); } while (0)

struct reading {
	uint64_t cval, cnt, ctl;
	uint64_t run;	/* a counter that stands still whenever the machine does */
};

static struct vcpu *self(void)
{
	return &state[cpu_index()];
}

/* The counter that the timer compares with; notes on each reading whether it went back. */
static uint64_t counter(void)
{
	struct vcpu *v = self();
	uint64_t daif = irq_save();
	uint64_t cnt = timer_counter(arg.timer);

	if (cnt < v->newest)
		v->gone_back = cnt;
	else
		v->newest = cnt;
	irq_restore(daif);
	return cnt;
}

/*
 * A VMM may let CNTVCT stand still while the machine is stopped and CNTPCT go on (QEMU does, under KVM): for a physical timer
 * at EL1 the other counter tells how long the vCPU could have taken the interrupt. At EL2 there is one counter only.
 */
static uint64_t running(uint64_t cnt)
{
	return arg.timer == CNTP && !at_el2() ? timer_counter(CNTV) : cnt;
}

static struct reading read_timer(void)
{
	struct reading r;
	uint64_t daif = irq_save();

	r.cval = timer_read(arg.timer, TIMER_CVAL);
	r.cnt = counter();
	r.run = running(r.cnt);
	r.ctl = timer_read(arg.timer, TIMER_CTL);
	irq_restore(daif);
	return r;
}

static uint64_t half_way(void)
{
	return counter_ticks(arg.ahead_us) / 2;
}

/* What is said of a reading: the truth, but for the sabotage. */
static struct reading reported(struct reading r)
{
	if (arg.sabotage == FIRES_EARLY)
		r.cval += half_way();
	if (arg.sabotage == LOSES_ISTATUS)
		r.ctl &= ~(uint64_t)CTL_ISTATUS;
	if (arg.sabotage == NEVER_ARMS && !asked)
		r.ctl |= CTL_ENABLE;
	if (arg.sabotage == COUNTER_BACK && asked)
		r.cnt = newest_before - counter_ticks(1000);
	return r;
}

static void set_ctl(uint64_t ctl)
{
	self()->ctl = ctl;
	timer_write(arg.timer, TIMER_CTL, ctl);
}

/* Write CVAL `ticks` after `from`; or by TVAL, which counts from the moment of writing: CVAL = counter + TVAL. */
static void aim(uint64_t from, int64_t ticks)
{
	struct vcpu *v = self();
	uint64_t wanted = from + (uint64_t)ticks;
	uint64_t before, after, tval;

	if (arg.by == BY_CVAL) {
		timer_write(arg.timer, TIMER_CVAL, wanted);
		v->cval = timer_read(arg.timer, TIMER_CVAL);
		judge(v->cval == wanted, "CVAL reads %#lx after %#lx was written", v->cval, wanted);
		return;
	}
	before = counter();
	tval = wanted - before;
	timer_write(arg.timer, TIMER_TVAL, tval);
	after = counter();
	v->cval = timer_read(arg.timer, TIMER_CVAL);
	judge(v->cval - wanted <= after - before, "CVAL reads %#lx after TVAL %#lx was written at a counter between %#lx and %#lx",
	      v->cval, tval & 0xffffffff, before, after);
}

/* CTL, CVAL and ISTATUS as the Arm ARM says they have to be now. */
static void verify(const char *when)
{
	struct vcpu *v = self();
	uint64_t daif = irq_save();
	uint64_t start = counter_now(), grace = counter_ticks(ISTATUS_GRACE_US);
	struct reading r = read_timer();
	uint64_t after = counter();

	judge(r.cval == v->cval, "%s: CVAL is %#lx, written was %#lx", when, r.cval, v->cval);
	judge((r.ctl & (CTL_ENABLE | CTL_IMASK)) == v->ctl, "%s: CTL is %#lx, written was %#lx", when, r.ctl, v->ctl);
	if (v->ctl & CTL_ENABLE) {
		if (after < r.cval)
			judge(!(r.ctl & CTL_ISTATUS), "%s: ISTATUS is set at %#lx, before CVAL %#lx", when, after, r.cval);
		while (r.cnt >= r.cval && !(r.ctl & CTL_ISTATUS) && counter_now() - start < grace)
			r.ctl = timer_read(arg.timer, TIMER_CTL);
		if (r.cnt >= r.cval)
			judge(r.ctl & CTL_ISTATUS, "%s: ISTATUS is clear, the counter %#lx has passed CVAL %#lx", when, r.cnt,
			      r.cval);
	}
	irq_restore(daif);
}

static void say_arranged(void *unused)
{
	uint64_t daif = irq_save();	/* no handler's line may come between reading and saying */
	struct reading r = read_timer();

	(void)unused;
	if (r.cnt > newest_before)
		newest_before = r.cnt;
	verify("arranged");
	r = reported(r);
	say("arranged cpu=%u timer=%s intid=%u instant=%s by=%s cval=%#lx cnt=%#lx run=%#lx ctl=%#lx", cpu_index(),
	    timer_names[arg.timer], timer_intid(arg.timer), instant_names[arg.instant], by_names[arg.by], r.cval, r.cnt,
	    r.run, r.ctl);
	irq_restore(daif);
}

static void say_timer(void *unused)
{
	uint64_t daif = irq_save();
	struct reading r = reported(read_timer());

	(void)unused;
	say("timer cpu=%u timer=%s cval=%#lx cnt=%#lx run=%#lx ctl=%#lx n=%u since=%#lx", cpu_index(), timer_names[arg.timer],
	    r.cval, r.cnt, r.run, r.ctl, self()->count, self()->since);
	irq_restore(daif);
}

static void say_all_timers(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, say_timer, NULL);
}

static void verify_after(void *unused)
{
	uint64_t cnt = counter();

	(void)unused;
	judge(cnt >= newest_before, "the counter is %#lx, it was %#lx before the lifecycle", cnt, newest_before);
	verify("after the lifecycle");
}

/* Say what is in place, ask for the lifecycle, say what it has become. */
static void be_interrupted(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, say_arranged, NULL);
	ask();
	asked = true;
	say_all_timers();
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, verify_after, NULL);
}

static bool all_inside(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		if (!load(state[cpu].inside))
			return false;
	return true;
}

/* Remain in the handler, the interrupt active, the timer's line still high, for the whole lifecycle. */
static void stay_active(struct vcpu *v)
{
	store(v->inside, true);
	smp_wake(0);
	irq_unmask();	/* for the console and the wake-up SGI, which have a higher priority */
	if (cpu_index() == 0) {
		wait_until(all_inside());
		be_interrupted();
		store(released, true);
		for (unsigned cpu = 1; cpu < vcpus; cpu++)
			smp_wake(cpu);
	} else {
		smp_serve_until(&released);
	}
	irq_mask();
	set_ctl(0);
}

static void on_timer(unsigned intid, struct frame *frame)
{
	struct vcpu *v = self();
	struct reading r = read_timer(), said = reported(r);
	unsigned n = v->count + 1;
	bool stay = arg.instant == ACTIVE && n == 1;

	(void)frame;
	if (arg.instant == PERIODIC && n < arg.ticks)
		aim(r.cval, (int64_t)counter_ticks(arg.period_us));
	else if (!stay && !(arg.sabotage == FIRES_TWICE && n == 1))
		set_ctl(0);
	store(v->count, n);
	if (arg.sabotage == COUNTER_BACK)
		said.cnt = r.cnt;	/* that lie is told in `timer` lines only */
	say("irq cpu=%u intid=%u timer=%s cval=%#lx cnt=%#lx run=%#lx ctl=%#lx n=%u since=%#lx", cpu_index(), intid,
	    timer_names[arg.timer], said.cval, said.cnt, said.run, said.ctl, n, v->since);
	judge(r.cnt >= r.cval, "interrupt %u at %#lx, before CVAL %#lx", n, r.cnt, r.cval);
	judge(r.ctl == (CTL_ENABLE | CTL_ISTATUS), "CTL is %#lx in the handler, not 5", r.ctl);
	if (n > v->expected + STORM)
		panic("interrupt %u came %u times", intid, n);
	if (stay)
		stay_active(v);
	smp_wake(0);
}

/* Wait until the redistributor shows the interrupt as pending, PSTATE.I keeping it from being taken. */
static void wait_pending(void)
{
	uint64_t start = counter_now(), limit = counter_ticks(1000000);

	while (!gic_is_pending(timer_intid(arg.timer)))
		if (counter_now() - start > limit)
			panic("the interrupt of %s is not pending after 1 s", timer_names[arg.timer]);
}

static void arrange(void *unused)
{
	struct vcpu *v = self();
	int64_t ahead = (int64_t)counter_ticks(arg.ahead_us);
	uint64_t cnt = counter();

	(void)unused;
	gic_enable(timer_intid(arg.timer));
	v->expected = 1;
	switch ((enum instant)arg.instant) {
	case ARMED:
		if (arg.sabotage == LATE)
			irq_mask();
		aim(cnt, arg.sabotage == FIRES_EARLY ? ahead - (int64_t)half_way() : ahead);
		set_ctl(arg.sabotage == NEVER_ARMS ? 0 : CTL_ENABLE);
		break;
	case ARMED_FAR:
		v->expected = 0;
		aim(cnt, arg.by == BY_CVAL ? FAR_BY_CVAL : LIMIT_OF_TVAL);
		set_ctl(CTL_ENABLE);
		break;
	case EXPIRED_MASKED:
		aim(cnt, -((uint64_t)ahead < cnt / 2 ? ahead : (int64_t)(cnt / 2)));	/* not below zero soon after boot */
		set_ctl(CTL_ENABLE | CTL_IMASK);
		break;
	case PENDING:
		irq_mask();
		aim(cnt, 0);
		set_ctl(CTL_ENABLE);
		wait_pending();
		break;
	case ACTIVE:
		v->expected = 2;
		aim(cnt, 0);
		set_ctl(CTL_ENABLE);
		wait_until(load(v->count));
		break;
	case DISABLED:
		set_ctl(0);
		aim(cnt, ahead);
		break;
	case PERIODIC:
		v->expected = (unsigned)arg.ticks;
		aim(cnt, (int64_t)counter_ticks(arg.period_us));
		set_ctl(CTL_ENABLE);
		break;
	}
}

/* Armed far ahead: nothing may come, unless the lifecycle took so long that CVAL has passed; then it has to. */
static void conclude_armed_far(struct vcpu *v)
{
	delay_us(arg.settle_us);
	verify("armed far ahead");
	irq_mask();
	if (counter() >= v->cval)
		v->expected = 1;
	else
		set_ctl(0);
	irq_unmask();
}

/* What each instant does on each vCPU after the lifecycle, so that the interrupt comes. */
static void conclude(void *unused)
{
	struct vcpu *v = self();

	(void)unused;
	switch ((enum instant)arg.instant) {
	case ARMED:
		if (arg.sabotage == LATE) {
			while (counter() < v->cval + counter_frequency())
				asm volatile("yield");
			irq_unmask();
		}
		break;
	case ARMED_FAR:
		conclude_armed_far(v);
		break;
	case EXPIRED_MASKED:
		judge(v->count == 0, "%u interrupts although IMASK was set", v->count);
		v->since = counter();
		set_ctl(CTL_ENABLE);
		break;
	case PENDING:
		v->since = counter();
		irq_unmask();
		break;
	case ACTIVE:
		delay_us(arg.settle_us);
		judge(load(v->count) == 1, "%u interrupts after the end of the active one, expected 1", v->count);
		v->since = counter();
		aim(counter(), (int64_t)counter_ticks(REARM_US));
		set_ctl(CTL_ENABLE);
		break;
	case DISABLED:
		while (counter() < v->cval + counter_ticks(arg.settle_us))
			asm volatile("yield");
		judge(load(v->count) == 0, "%u interrupts although the timer was disabled", v->count);
		v->since = counter();
		set_ctl(CTL_ENABLE);
		break;
	case PERIODIC:
		break;
	}
}

static bool all_counted(unsigned least)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		if (load(state[cpu].count) < least)
			return false;
	return true;
}

static bool all_came(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		if (load(state[cpu].count) < state[cpu].expected)
			return false;
	return true;
}

static void verify_at_end(void *unused)
{
	struct vcpu *v = self();

	(void)unused;
	judge(v->count == v->expected, "%u interrupts, expected %u", v->count, v->expected);
	verify("at the end");
	judge(!v->gone_back, "the counter went back to %#lx, it was %#lx before", v->gone_back, v->newest);
	check(gic_spurious() == 0, "%u spurious interrupts", gic_spurious());
	if (at_el2())
		check(read_sysreg(cntvoff_el2) == VIRTUAL_OFFSET, "CNTVOFF_EL2 is %#lx", read_sysreg(cntvoff_el2));
}

static void check_arguments(void)
{
	const char *missing = timer_missing(arg.timer);

	if (missing)
		skip("%s: %s", timer_names[arg.timer], missing);
	if (arg.sabotage != HONEST && arg.instant != ARMED)
		panic("sabotage=%s needs instant=armed", sabotage_names[arg.sabotage]);
	if (arg.by == BY_TVAL && counter_ticks(arg.ahead_us) > LIMIT_OF_TVAL)
		panic("ahead_us=%lu is more than TVAL can hold", arg.ahead_us);
	if (arg.by == BY_TVAL && counter_ticks(arg.period_us) > LIMIT_OF_TVAL)
		panic("period_us=%lu is more than TVAL can hold", arg.period_us);
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_WORD("timer", arg.timer, timer_names),
		ARG_WORD("instant", arg.instant, instant_names),
		ARG_WORD("by", arg.by, by_names),
		ARG_NUMBER("ahead_us", arg.ahead_us, 1, 60000000),
		ARG_NUMBER("period_us", arg.period_us, 100, 60000000),
		ARG_NUMBER("ticks", arg.ticks, 3, 1000),
		ARG_NUMBER("settle_us", arg.settle_us, 0, 1000000),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};

	guest_begin("timers", table, ARRAY_SIZE(table));
	check_arguments();
	gic_set_handler(timer_intid(arg.timer), on_timer);
	smp_call_all(arrange, NULL);
	if (arg.instant == PERIODIC)
		wait_until(all_counted(2));
	if (arg.instant != ACTIVE)	/* there, the handler on vCPU 0 does it */
		be_interrupted();
	smp_call_all(conclude, NULL);
	wait_for(all_came, say_all_timers);
	delay_us(arg.settle_us);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, verify_at_end, NULL);
	finish();
}
