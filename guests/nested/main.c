/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small hypervisor. On each vCPU it runs a guest of its own, L2, gives it the interrupts of its virtual timer in a list
 * register, and has a timer of its own ticking. The machine is interrupted while L2 is in the instant. README.md has the
 * details.
 */
#include "console.h"
#include "world.h"

enum own_timer { NO_TIMER, OWN_CNTHP, OWN_CNTHV };
enum lr { LR_HW, LR_SW };
enum sabotage { HONEST, LOSE_FIRST, LOSE_LR, LOSE_L1, L2_STUCK, TWICE, LATE };

static const char *const instant_names[] = { "armed", "pending-lr", "active-lr", "l2-running", "l2-wfi", NULL };
static const char *const own_timer_names[] = { "none", "cnthp", "cnthv", NULL };
static const char *const lr_names[] = { "hw", "sw", NULL };
static const char *const sabotage_names[] = { "none", "lose-first", "lose-lr", "lose-l1", "l2-stuck", "twice", "late", NULL };

static struct {
	uint64_t instant, timer, lr, ahead_us, period_us, lost_us, ticks, settle_us, reading_us, sabotage;
} arg = { .ahead_us = 50000, .lost_us = 20000000, .period_us = 2000, .ticks = 3, .settle_us = 5000 };

#define MAINTENANCE	25	/* the PPI that BSA gives it */
#define ICH_HCR_EN	1u
#define LR_PENDING	(1UL << 62)
#define LR_STATE	(3UL << 62)
#define LR_HW_BIT	(1UL << 61)
#define LR_GROUP1	(1UL << 60)
#define LR_PRIORITY	(0x80UL << 48)
#define LR_EOI		(1UL << 41)
#define L2_INTID	27
#define BEATS		10	/* heartbeats that L2 owes after the lifecycle */
#define LATE_US		1000000	/* of the sabotage */
#define STORM		100	/* surplus interrupts after which we give up */
#define HVC64		0x16	/* ESR_EL2.EC */

static struct vcpu {
	struct frame guest;		/* L2's registers while it does not run */
	unsigned vector;		/* how it was left */
	bool lr_busy;			/* L2 had not completed its interrupt when it was left last */
	uint64_t beats, beats_before;	/* heartbeats, and those at the end of the lifecycle */
	unsigned l1_count, l2_count;	/* interrupts taken on each level */
	uint64_t l1_cval;
	bool l1_armed, drop, twice, late;	/* drop, twice, late: sabotage still to come */
	bool inside;			/* L2 is in the instant */
	bool resumed;			/* the lifecycle is over here */
	unsigned reports;		/* how many times the state was said */
	uint64_t had[WORLD_REGISTERS], had_lr;
} state[NESTED_VCPUS];

static struct l2 l2s[NESTED_VCPUS];

static bool asked;		/* the lifecycle is over */
static unsigned reports;	/* how many times the state was asked for */
static bool finished;

static struct vcpu *self(void)
{
	return &state[cpu_index()];
}

static enum timer own_timer(void) { return arg.timer == OWN_CNTHP ? CNTHP : CNTHV; }
static enum timer l2_timer(void) { return e2h_set() ? CNTV_EL02 : CNTV; }

/* Exceptions from L2: put its registers aside and go on after enter_l2(). */
static void leave(struct frame *frame, unsigned vector)
{
	self()->guest = *frame;
	self()->vector = vector;
	leave_l2(frame);
}

static bool on_lower_sync(struct frame *frame) { leave(frame, VECTOR_LOWER_SYNC); return true; }
static bool on_lower_irq(struct frame *frame) { leave(frame, VECTOR_LOWER_IRQ); return true; }

static void arm_own(uint64_t microseconds)
{
	struct vcpu *v = self();

	v->l1_cval = timer_counter(own_timer()) + counter_ticks(microseconds);
	v->l1_armed = true;
	timer_write(own_timer(), TIMER_CVAL, v->l1_cval);
	timer_write(own_timer(), TIMER_CTL, CTL_ENABLE);
}

static void on_own_timer(unsigned intid, struct frame *frame)
{
	struct vcpu *v = self();
	uint64_t cval = timer_read(own_timer(), TIMER_CVAL), cnt = timer_counter(own_timer());
	uint64_t ctl = timer_read(own_timer(), TIMER_CTL);

	(void)frame;
	timer_write(own_timer(), TIMER_CTL, 0);
	v->l1_armed = false;
	store(v->l1_count, v->l1_count + 1);
	say("irq cpu=%u level=1 intid=%u timer=%s cval=%#lx cnt=%#lx ctl=%#lx n=%u", cpu_index(), intid,
	    timer_names[own_timer()], cval, cnt, ctl, v->l1_count);
	check(cval == v->l1_cval, "L1: CVAL had %#lx, has %#lx", v->l1_cval, cval);
	check(cnt >= cval, "L1: interrupt at %#lx, before CVAL %#lx", cnt, cval);
	check(ctl == (CTL_ENABLE | CTL_ISTATUS), "L1: CTL is %#lx in the handler, not 5", ctl);
	if (v->l1_count > arg.ticks + STORM)
		panic("interrupt %u came %u times", intid, v->l1_count);
}

/* The physical interrupt of L2's timer becomes a virtual one. */
static void on_l2_timer(unsigned intid, struct frame *frame)
{
	struct vcpu *v = self();
	uint64_t lr = LR_PENDING | LR_GROUP1 | LR_PRIORITY | L2_INTID;

	(void)frame;
	check(!(read_sysreg(ICH_LR0_EL2) & LR_STATE), "interrupt %u came while ICH_LR0_EL2 was %#lx", intid,
	      read_sysreg(ICH_LR0_EL2));
	if (arg.lr == LR_HW)
		lr |= LR_HW_BIT | (uint64_t)intid << 32;
	else
		gic_disable(intid);	/* its level stays high until L2 has dealt with the timer */
	if (v->drop)
		lr = 0;
	if (v->late)
		delay_us(LATE_US);
	v->late = false;
	v->drop = false;
	write_sysreg(ICH_LR0_EL2, arg.lr == LR_SW && lr ? lr | LR_EOI : lr);
	isb();
}

/* L2 has completed an interrupt of a list register without a physical one. */
static void on_maintenance(unsigned intid, struct frame *frame)
{
	(void)intid;
	(void)frame;
	check(arg.lr == LR_SW && read_sysreg(ICH_EISR_EL2) == 1, "maintenance interrupt with ICH_EISR_EL2 %#lx, LR0 %#lx",
	      read_sysreg(ICH_EISR_EL2), read_sysreg(ICH_LR0_EL2));
	write_sysreg(ICH_LR0_EL2, 0);
	isb();
	gic_enable(timer_intid(CNTV));
}

static void say_timer(const char *kind, const char *more, unsigned level, enum timer timer, unsigned n)
{
	say("%s cpu=%u level=%u timer=%s%s cval=%#lx cnt=%#lx ctl=%#lx n=%u", kind, cpu_index(), level,
	    level == 2 ? "cntv" : timer_names[timer], more, timer_read(timer, TIMER_CVAL), timer_counter(timer),
	    timer_read(timer, TIMER_CTL), n);
}

static void report(struct vcpu *v)
{
	say("beat cpu=%u n=%lu", cpu_index(), v->beats);
	say_timer("timer", "", 2, l2_timer(), v->l2_count);
	if (arg.timer != NO_TIMER)
		say_timer("timer", "", 1, own_timer(), v->l1_count);
	v->reports = load(reports);
}

static void say_arranged(struct vcpu *v)
{
	say("arranged cpu=%u level=2 instant=%s lr=%s timer=cntv intid=%u cval=%#lx cnt=%#lx ctl=%#lx irqs=%lu", cpu_index(),
	    instant_names[arg.instant], lr_names[arg.lr], L2_INTID, timer_read(l2_timer(), TIMER_CVAL),
	    timer_counter(l2_timer()), timer_read(l2_timer(), TIMER_CTL), arg.ticks - v->l2_count);
	if (arg.timer != NO_TIMER)
		say("arranged cpu=%u level=1 instant=%s timer=%s intid=%u cval=%#lx cnt=%#lx ctl=%#lx irqs=%lu", cpu_index(),
		    instant_names[arg.instant], timer_names[own_timer()], timer_intid(own_timer()),
		    timer_read(own_timer(), TIMER_CVAL), timer_counter(own_timer()), timer_read(own_timer(), TIMER_CTL),
		    arg.ticks);
}

static bool all_inside(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		if (!load(state[cpu].inside))
			return false;
	return true;
}

/* L2 is in the instant: so are the list register and, but for l2-running, our own timer. */
static void take_arranged(struct vcpu *v)
{
	const char *name;
	uint64_t lr = read_sysreg(ICH_LR0_EL2);

	for (unsigned i = 0; i < WORLD_REGISTERS; i++)
		v->had[i] = world_register(i, &name);
	v->had_lr = lr;
	check(arg.instant != PENDING_LR || lr >> 62 == 1, "ICH_LR0_EL2 is %#lx, not pending", lr);
	check(arg.instant != ACTIVE_LR || lr >> 62 == 2, "ICH_LR0_EL2 is %#lx, not active", lr);
	if (arg.timer != NO_TIMER && arg.instant != L2_RUNNING)
		arm_own(arg.ahead_us);
	say_arranged(v);
	store(v->inside, true);
	if (cpu_index() == 0) {
		wait_until(all_inside());
		say("now");	/* next L2 is entered */
	} else {
		smp_wake(0);
	}
}

static void take_irq(struct vcpu *v, const uint64_t *x)
{
	store(v->l2_count, v->l2_count + 1);
	store(l2s[cpu_index()].reading, false);
	say("irq cpu=%u level=2 intid=%lu timer=cntv cval=%#lx cnt=%#lx ctl=%#lx n=%u", cpu_index(), x[1], x[2], x[3], x[4],
	    v->l2_count);
	if (v->l2_count > arg.ticks + STORM)
		panic("interrupt %lu came %u times in L2", x[1], v->l2_count);
}

static void take_beat(struct vcpu *v)
{
	v->beats++;
	if (v->twice && v->l2_count == arg.ticks && !(read_sysreg(ICH_LR0_EL2) & LR_STATE)) {
		v->twice = false;
		write_sysreg(ICH_LR0_EL2, LR_PENDING | LR_GROUP1 | LR_PRIORITY | L2_INTID);
		isb();
	}
}

static void take_call(struct vcpu *v)
{
	const uint64_t *x = v->guest.x;
	uint64_t esr = exception_syndrome();

	if (esr >> 26 != HVC64)
		panic_at(v->guest.elr, esr, exception_fault_address(), "L2 left with an exception, HPFAR_EL2 0x%lx",
			 read_sysreg(hpfar_el2));
	switch (x[0]) {
	case CALL_ARRANGED:
		take_arranged(v);
		v->guest.x[0] = (uintptr_t)&l2s[cpu_index()].go;
		return;
	case CALL_BEAT:
		take_beat(v);
		break;
	case CALL_IRQ:
		take_irq(v, x);
		break;
	case CALL_CHECK:
		check(x[1], "L2: %s had %#lx, has %#lx", (const char *)x[2], x[3], x[4]);
		break;
	case CALL_PANIC:
		panic_at(x[3], x[2], x[4], "exception in L2, vector %lu", x[1]);
	case CALL_LOST:
		check(false, "L2: interrupt %u has not come in %lu ms: CNTV_CVAL_EL0 %#lx, the counter %#lx, CNTV_CTL_EL0 %#lx",
		      L2_INTID, arg.lost_us / 1000, x[1], x[2], x[3]);
		finish();	/* the instant cannot be had */
	default:
		panic("L2 made hypercall %lu", x[0]);
	}
	v->guest.x[0] = 0;
}

/* The lifecycle is over: all is as it was, and L2 may go on. */
static void resume(struct vcpu *v)
{
	bool held = arg.instant == PENDING_LR || arg.instant == ACTIVE_LR;
	const char *name;

	v->resumed = true;
	report(v);
	for (unsigned i = 0; i < WORLD_REGISTERS; i++) {
		uint64_t has = world_register(i, &name);

		check(has == v->had[i], "%s had %#lx, has %#lx", name, v->had[i], has);
	}
	if (held) {
		check(read_sysreg(ICH_LR0_EL2) == v->had_lr, "ICH_LR0_EL2 had %#lx, has %#lx", v->had_lr,
		      read_sysreg(ICH_LR0_EL2));
		check(gic_is_active(timer_intid(CNTV)) == (arg.lr == LR_HW), "the physical interrupt of L2's timer is %sactive",
		      arg.lr == LR_HW ? "not " : "");
	}
	if (arg.sabotage == LOSE_LR && held)
		write_sysreg(ICH_LR0_EL2, 0);
	v->drop = arg.sabotage == LOSE_LR && !held;
	v->twice = arg.sabotage == TWICE;
	v->late = arg.sabotage == LATE;
	if (arg.sabotage == LOSE_L1)
		timer_write(own_timer(), TIMER_CTL, 0);
	v->l1_armed |= arg.sabotage == LOSE_L1;
	v->beats_before = v->beats;
	store(l2s[cpu_index()].go, arg.sabotage != L2_STUCK);
}

static bool all_came(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++) {
		const struct vcpu *v = &state[cpu];

		if (!load(v->resumed) || load(v->l2_count) < arg.ticks || load(v->beats) < v->beats_before + BEATS ||
		    (arg.timer != NO_TIMER && load(v->l1_count) < arg.ticks) || load(v->lr_busy))
			return false;
	}
	return true;
}

static void wake_others(void)
{
	for (unsigned cpu = 1; cpu < vcpus; cpu++)
		smp_wake(cpu);
}

/* On vCPU 0: the harness's bytes, and the end. */
static void serve_console(void)
{
	static uint64_t came;	/* when all had come; 0 before */
	int byte;

	while ((byte = console_get()) >= 0) {
		if (!load(asked) ? byte != 'g' : byte != '?' && byte != 'e')
			panic("did not expect the byte 0x%x", (unsigned)byte);
		store(finished, byte == 'e');
		if (byte == '?')
			store(reports, reports + 1);
		store(asked, true);
		wake_others();
	}
	if (!came && load(asked) && all_came())
		came = counter_now();
	if (came && counter_now() - came > counter_ticks(arg.settle_us)) {
		store(finished, true);
		wake_others();
	}
}

static void verify_at_end(struct vcpu *v)
{
	check(v->l2_count == arg.ticks, "L2: %u interrupts, expected %lu", v->l2_count, arg.ticks);
	if (arg.timer != NO_TIMER)
		check(v->l1_count == arg.ticks, "L1: %u interrupts of %s, expected %lu", v->l1_count, timer_names[own_timer()],
		      arg.ticks);
	check(v->beats >= v->beats_before + BEATS, "L2: %lu heartbeats after the lifecycle, expected %u",
	      v->beats - v->beats_before, BEATS);
	check(!(read_sysreg(ICH_LR0_EL2) & LR_STATE), "ICH_LR0_EL2 is %#lx at the end", read_sysreg(ICH_LR0_EL2));
	check(!gic_is_active(timer_intid(CNTV)), "the physical interrupt of L2's timer is still active");
	check(gic_spurious() == 0, "%u spurious interrupts", gic_spurious());
}

static void set_up(struct vcpu *v)
{
	struct l2 *l2 = &l2s[cpu_index()];

	l2->cpu = cpu_index();
	l2->instant = arg.instant;
	l2->ticks = arg.ticks;
	l2->ahead = counter_ticks(arg.ahead_us);
	l2->period = counter_ticks(arg.period_us);
	l2->lost = counter_ticks(arg.lost_us);
	l2->reading_time = counter_ticks(arg.reading_us);
	self()->drop = arg.sabotage == LOSE_FIRST;
	world_build(cpu_index(), l2, &v->guest);
	timer_write(l2_timer(), TIMER_CTL, 0);
	if (arg.lr == LR_HW)
		gic_forward(timer_intid(CNTV));
	gic_enable(timer_intid(CNTV));
	gic_enable(MAINTENANCE);
	if (arg.timer != NO_TIMER)
		gic_enable(timer_intid(own_timer()));
	write_sysreg(ICH_LR0_EL2, 0);
	write_sysreg(ICH_HCR_EL2, ICH_HCR_EN);
	isb();
}

static void run_once(struct vcpu *v)
{
	uint64_t hcr = read_sysreg(hcr_el2);

	write_sysreg(hcr_el2, l2_hcr());
	isb();
	enter_l2(&v->guest);
	write_sysreg(hcr_el2, hcr);
	isb();
	if (v->vector == VECTOR_LOWER_SYNC) {
		take_call(v);
	} else {
		irq_unmask();	/* here it is taken */
		irq_mask();
	}
}

/* On each vCPU, one after the other, before an L2 runs on any: no timer is armed while another vCPU still maps and invalidates. */
static void prepare(void *unused)
{
	uint64_t daif = irq_save();

	(void)unused;
	set_up(self());
	irq_restore(daif);
}

/* On each vCPU, until the end. */
static void run(void *unused)
{
	struct vcpu *v = self();

	(void)unused;
	irq_mask();
	while (!load(finished)) {
		run_once(v);
		store(v->lr_busy, (read_sysreg(ICH_LR0_EL2) & LR_STATE) != 0);
		if (cpu_index() == 0)
			serve_console();
		if (load(l2s[cpu_index()].reading))
			continue;	/* what L2 says next was read before what we could say now */
		if (load(asked) && !v->resumed)
			resume(v);
		if (v->reports != load(reports))
			report(v);
		if (v->resumed && arg.timer != NO_TIMER && !v->l1_armed && v->l1_count < arg.ticks)
			arm_own(arg.period_us);
	}
	timer_write(l2_timer(), TIMER_CTL, 0);
	if (arg.timer != NO_TIMER)
		timer_write(own_timer(), TIMER_CTL, 0);
	verify_at_end(v);
	write_sysreg(ICH_HCR_EL2, 0);
	irq_unmask();
}

static void check_arguments(void)
{
	const char *missing;

	if (!at_el2())
		skip("entered at EL1: a hypervisor needs EL2");
	missing = arg.timer == NO_TIMER ? NULL : timer_missing(own_timer());
	if (missing)
		skip("%s: %s", timer_names[own_timer()], missing);
	if (vcpus > NESTED_VCPUS)
		panic("vcpus=%lu, but this payload has guests for %u", vcpus, NESTED_VCPUS);
	if (arg.sabotage == LOSE_L1 && arg.timer == NO_TIMER)
		panic("sabotage=lose-l1 needs timer=cnthp or cnthv");
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_WORD("instant", arg.instant, instant_names),
		ARG_WORD("timer", arg.timer, own_timer_names),
		ARG_WORD("lr", arg.lr, lr_names),
		ARG_NUMBER("ahead_us", arg.ahead_us, 1, 60000000),
		ARG_NUMBER("period_us", arg.period_us, 100, 60000000),
		ARG_NUMBER("lost_us", arg.lost_us, 1, 60000000),
		ARG_NUMBER("ticks", arg.ticks, 1, 1000),
		ARG_NUMBER("settle_us", arg.settle_us, 0, 1000000),
		ARG_NUMBER("reading_us", arg.reading_us, 0, 1000000),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};

	guest_begin("nested", table, ARRAY_SIZE(table));
	check_arguments();
	exception_set_hook(VECTOR_LOWER_SYNC, on_lower_sync);
	exception_set_hook(VECTOR_LOWER_IRQ, on_lower_irq);
	gic_set_handler(timer_intid(CNTV), on_l2_timer);
	gic_set_handler(MAINTENANCE, on_maintenance);
	if (arg.timer != NO_TIMER)
		gic_set_handler(timer_intid(own_timer()), on_own_timer);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, prepare, NULL);
	smp_call_all(run, NULL);
	finish();
}
