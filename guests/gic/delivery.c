/* SPDX-License-Identifier: Apache-2.0 */
#include "delivery.h"

#include "guest.h"
#include "lpis.h"

#define GRACE_US	100000	/* for an interrupt to come once nothing keeps it back */
#define STORM		100	/* surplus interrupts after which we give up */

static struct vcpu {
	unsigned count;		/* interrupts taken */
	bool by_priority;	/* they have to come in the order of their priorities */
	uint8_t newest;		/* the priority of the last one then */
} state[GIC_VCPUS];

static unsigned repeated;	/* sabotage: made pending once more when it is taken; 0, an SGI nobody names, for none */
static uint64_t settle_us;

/* SGIs and PPIs have a line on each vCPU, an SPI only on the one it is routed to. */
static struct line *find_line(unsigned cpu, unsigned intid)
{
	struct line *line = kind_of(intid) == LPI ? lpi_line(intid) : line_of(cpu, intid);

	if (line && kind_of(intid) == LPI && lpi_cpu(intid) != cpu)
		return NULL;
	if (line && kind_of(intid) == SPI && line->had[ROUTE] != cpu)
		return NULL;
	return line;
}

static void took(unsigned intid)
{
	unsigned cpu = cpu_index();
	struct vcpu *v = &state[cpu];
	struct line *line = find_line(cpu, intid);
	uint8_t priority;

	store(v->count, v->count + 1);
	say("irq cpu=%u intid=%u cnt=%#lx n=%u", cpu, intid, counter_now(), v->count);
	if (!check(line, "%s %u was taken, which is not routed here", kind_names[kind_of(intid)], intid))
		return;
	if (kind_of(intid) != LPI)
		check(line->used && line->role != BACKGROUND, "%s %u was taken, which was never made pending",
		      kind_names[kind_of(intid)], intid);
	priority = kind_of(intid) == LPI ? its_property(intid) & 0xfc : line->had[PRIORITY];
	if (v->by_priority)
		check(priority >= v->newest, "%s %u of priority %#x came after one of %#x", kind_names[kind_of(intid)], intid,
		      priority, v->newest);
	v->newest = priority;
	store(line->taken, line->taken + 1);
	if (line->taken > line->due + STORM)
		panic("%s %u came %u times, expected %u", kind_names[kind_of(intid)], intid, line->taken, line->due);
	if (repeated && intid == repeated && line->taken == 1)
		gic_set_pending(intid);
	smp_wake(0);
}

static void on_irq(unsigned intid, struct frame *frame)
{
	(void)frame;
	took(intid);
}

/* Group 0 comes as FIQ. */
static bool on_fiq(struct frame *frame)
{
	unsigned intid = (unsigned)read_sysreg(ICC_IAR0_EL1);

	(void)frame;
	dsb();
	if (!check(intid < 1020, "FIQ, but ICC_IAR0_EL1 is %u", intid))
		return true;
	check(line_of(cpu_index(), intid)->role == MASKED_BY_GROUP, "INTID %u came as group 0", intid);
	took(intid);
	write_sysreg(ICC_EOIR0_EL1, intid);
	isb();
	return true;
}

/* Make it pending and acknowledge it, as the handler of an interrupt that is never completed. */
void acknowledge(unsigned intid)
{
	uint64_t start = counter_now();
	unsigned got;

	gic_set_pending(intid);
	while ((got = (unsigned)read_sysreg(ICC_IAR1_EL1)) != intid) {
		dsb();
		if (got == SGI_WAKE)
			write_sysreg(ICC_EOIR1_EL1, got);
		else if (got != 1023 || counter_now() - start > counter_frequency())
			panic("acknowledged %u, expected %u", got, intid);
	}
	dsb();
	state[cpu_index()].count++;
	say("irq cpu=%u intid=%u cnt=%#lx n=%u", cpu_index(), intid, counter_now(), state[cpu_index()].count);
}

/* The lines of this vCPU with a role, of all kinds. */
void now_due(enum role role)
{
	for (unsigned kind = SGI; kind < LPI; kind++)
		if (plays((enum kind)kind, role))
			line_of(cpu_index(), intid_of((enum kind)kind, cpu_index(), role))->due++;
}

void lpi_due(enum lpi_role role)
{
	if (wants(LPI))
		lpi_line(lpi_of(cpu_index(), role))->due++;
}

/* Call fn for each line of a vCPU that has a role. */
static bool each_due(unsigned cpu, bool (*fn)(unsigned intid, const struct line *line))
{
	bool all = true;

	for (unsigned kind = SGI; kind < LPI; kind++)
		for (unsigned role = 0; wants((enum kind)kind) && role < ROLES; role++) {
			unsigned intid = intid_of((enum kind)kind, cpu, (enum role)role);

			all &= fn(intid, line_of(cpu, intid));
		}
	for (unsigned role = 0; wants(LPI) && role < LPI_ROLES; role++)
		all &= fn(lpi_of(cpu, (enum lpi_role)role), lpi_line(lpi_of(cpu, (enum lpi_role)role)));
	return all;
}

static bool line_came(unsigned intid, const struct line *line)
{
	(void)intid;
	return load(line->taken) >= line->due;
}

static bool line_not_more(unsigned intid, const struct line *line)
{
	return check(load(line->taken) <= line->due, "%s %u was taken %u times, expected %u", kind_names[kind_of(intid)],
		     intid, line->taken, line->due);
}

static bool line_exact(unsigned intid, const struct line *line)
{
	return check(load(line->taken) == line->due, "%s %u was taken %u times, expected %u", kind_names[kind_of(intid)],
		     intid, line->taken, line->due);
}

/* Wait for what is due on this vCPU, then for what is not. */
void settle(void)
{
	unsigned cpu = cpu_index();
	uint64_t start = counter_now();

	while (!each_due(cpu, line_came) && counter_now() - start < counter_ticks(GRACE_US))
		asm volatile("yield");
	delay_us(settle_us);
	each_due(cpu, line_not_more);
}

bool all_came(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		if (!each_due(cpu, line_came))
			return false;
	return true;
}

void by_priority(bool on)
{
	state[cpu_index()].newest = 0;
	state[cpu_index()].by_priority = on;
}

unsigned taken_in_all(unsigned cpu) { return load(state[cpu].count); }
void verify_delivery(void) { each_due(cpu_index(), line_exact); }

void delivery_begin(uint64_t settle_time_us, unsigned repeat)
{
	settle_us = settle_time_us;
	repeated = repeat;
	for (unsigned intid = 0; intid < gic_lines(); intid++)
		if (intid != SGI_WAKE && intid != console_intid())
			gic_set_handler(intid, on_irq);
	gic_set_handler(FIRST_LPI, on_irq);
	exception_set_hook(VECTOR_FIQ, on_fiq);
}
