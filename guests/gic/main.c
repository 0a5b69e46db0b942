/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distinct patterns over all interrupts of the GIC, some of them pending or active and kept back in different ways. After
 * the lifecycle all is read back; then each way is lifted, one after the other, and each interrupt has to come once, on
 * its vCPU. README.md has the details.
 */
#include "guest.h"
#include "delivery.h"

enum sabotage { HONEST, DROP_PENDING, DROP_ENABLE, DROP_PRIORITY, TWICE, LOST };

static const char *const sabotage_names[] = {
	"none", "drop-pending", "drop-enable", "drop-priority", "twice", "lost", NULL,
};
static const char *const kinds_names[] = { "sgi", "ppi", "spi", "lpi", "all", NULL };	/* in the order of enum kind */
static const char *const acks_names[] = { "all", "edge", NULL };

static struct {
	uint64_t kinds, acks, settle_us, sabotage;
} arg = { .kinds = KINDS, .settle_us = 2000 };

#define GICD_CTLR		(GICD_BASE + 0x0)
#define CTLR_ENABLE_GROUP0	1u
#define PMR_AT_NOW		0x60
#define BPR0_AT_NOW		4
#define IDLE_PRIORITY		0xff
#define INTERFACE_REGISTERS	6

static uint64_t interface[GIC_VCPUS][INTERFACE_REGISTERS];	/* before the lifecycle */

static unsigned sabotaged(void)
{
	enum kind kind = arg.kinds == KINDS ? SPI : (enum kind)arg.kinds;

	return kind == LPI ? lpi_of(0, LPI_PENDING) : intid_of(kind, 0, MASKED_BY_PRIORITY);
}

/* From the lowest priority to the highest: each preempts those before. The running priority is that of the last. */
static void acknowledge_all(void)
{
	static const enum role roles[] = { ACKED, ACKED_PENDING };

	for (unsigned i = 0; i < ARRAY_SIZE(roles); i++)
		for (unsigned kind = LPI; kind-- > SGI;)
			if (plays((enum kind)kind, roles[i]))
				acknowledge(intid_of((enum kind)kind, cpu_index(), roles[i]));
}

static void complete_all(void)
{
	static const enum role roles[] = { ACKED_PENDING, ACKED };

	for (unsigned i = 0; i < ARRAY_SIZE(roles); i++)
		for (unsigned kind = SGI; kind < LPI; kind++)
			if (plays((enum kind)kind, roles[i])) {
				write_sysreg(ICC_EOIR1_EL1, intid_of((enum kind)kind, cpu_index(), roles[i]));
				isb();
			}
}

static void read_interface(uint64_t *to)
{
	to[0] = read_sysreg(ICC_PMR_EL1);
	to[1] = read_sysreg(ICC_BPR0_EL1);
	to[2] = read_sysreg(ICC_IGRPEN0_EL1) | read_sysreg(ICC_IGRPEN1_EL1) << 1;
	to[3] = read_sysreg(ICC_CTLR_EL1);
	to[4] = read_sysreg(ICC_AP1R0_EL1);
	to[5] = read_sysreg(ICC_RPR_EL1);
}

static void compare_interface(void)
{
	static const char *const names[INTERFACE_REGISTERS] = { "PMR", "BPR0", "IGRPEN", "CTLR", "AP1R0", "RPR" };
	uint64_t has[INTERFACE_REGISTERS];

	read_interface(has);
	for (unsigned i = 0; i < INTERFACE_REGISTERS; i++)
		check(has[i] == interface[cpu_index()][i], "ICC_%s_EL1 had %#lx, has %#lx", names[i],
		      interface[cpu_index()][i], has[i]);
}

static void make_pending(enum kind kind, unsigned cpu)
{
	for (unsigned role = 0; role < ROLES; role++) {
		unsigned intid = intid_of(kind, cpu, (enum role)role);

		if (role == ACTIVE || role == ACTIVE_PENDING)
			gic_set_active(intid);
		if (role == ACKED || role == ACTIVE || !plays(kind, (enum role)role))
			continue;
		if (kind == SGI && role == MASKED_BY_PRIORITY)
			gic_send_sgi(intid, cpu);
		else
			gic_set_pending(intid);
	}
}

/* On each vCPU, vCPU 0 first. */
static void arrange(void *unused)
{
	unsigned cpu = cpu_index();

	(void)unused;
	irq_mask();
	write_sysreg(ICC_IGRPEN0_EL1, 0);
	write_sysreg(ICC_BPR0_EL1, BPR0_AT_NOW);
	lines_for_each(line_write);
	acknowledge_all();
	write_sysreg(ICC_PMR_EL1, PMR_AT_NOW);
	isb();
	for (unsigned kind = SGI; kind < LPI; kind++)
		if (wants((enum kind)kind))
			make_pending((enum kind)kind, cpu);
	read_interface(interface[cpu]);
	if (cpu & 1)
		irq_unmask();
}

static void remember(void *unused)
{
	(void)unused;
	lines_for_each(line_remember);
	if (wants(LPI))
		lpis_remember(NULL);
}

static void compare(void *unused)
{
	(void)unused;
	lines_for_each(line_compare);
	compare_interface();
	if (wants(LPI))
		lpis_compare(NULL);
}

/* What is due on a vCPU after the lifecycle, in all. */
static unsigned due_of(enum kind kind)
{
	if (!wants(kind))
		return 0;
	return kind == LPI ? LPI_ROLES : plays(kind, ACKED) ? 7 : 5;	/* six roles, and ACKED once more; ACTIVE never */
}

static void say_arranged(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		for (unsigned kind = 0; kind < KINDS; kind++) {
			bool on = wants((enum kind)kind), lpi = kind == LPI, acks = plays((enum kind)kind, ACKED);

			say("arranged cpu=%u kind=%s pending=%u active=%u irqs=%u", cpu, kind_names[kind],
			    on ? lpi ? LPI_ROLES - 1 : 5 + acks : 0, on && !lpi ? 2 + 2 * acks : 0, due_of((enum kind)kind));
		}
}

/* Behind the guest's own back; its oracles have to see it. */
static void spoil(void)
{
	unsigned intid = sabotaged();
	bool lpi = kind_of(intid) == LPI;

	switch ((enum sabotage)arg.sabotage) {
	case DROP_PENDING:
	case LOST:
		lpi ? lpis_clear(intid) : gic_clear_pending(intid);
		break;
	case DROP_ENABLE:
		lpi ? lpis_enable(intid, false) : gic_disable(intid);
		break;
	case DROP_PRIORITY:
		lpi ? lpis_spoil_priority(intid) : gic_set_priority(intid, 0xe8);
		break;
	case TWICE:
	case HONEST:
		break;
	}
}

static void release_pstate(void)
{
	if (!(cpu_index() & 1))
		now_due(MASKED_BY_PSTATE);
	irq_unmask();
	settle();
}

static void release_priority(void)
{
	if (cpu_index() & 1)
		now_due(MASKED_BY_PSTATE);
	now_due(MASKED_BY_PRIORITY);
	now_due(ACKED_PENDING);
	now_due(ACTIVE_PENDING);
	lpi_due(LPI_PENDING);
	lpi_due(LPI_MOVED);
	irq_mask();
	complete_all();
	check(read_sysreg(ICC_RPR_EL1) == IDLE_PRIORITY, "ICC_RPR_EL1 is %#lx after the last end of interrupt",
	      read_sysreg(ICC_RPR_EL1));
	for (unsigned kind = SGI; kind < LPI; kind++)
		if (wants((enum kind)kind)) {
			gic_clear_active(intid_of((enum kind)kind, cpu_index(), ACTIVE));
			gic_clear_active(intid_of((enum kind)kind, cpu_index(), ACTIVE_PENDING));
		}
	by_priority(true);
	write_sysreg(ICC_PMR_EL1, 0xff);
	irq_unmask();
	settle();
	by_priority(false);
}

static void release_group(void)
{
	now_due(MASKED_BY_GROUP);
	write_sysreg(ICC_IGRPEN0_EL1, 1);
	asm volatile("msr daifclr, #1\n\tisb" ::: "memory");
	settle();
	asm volatile("msr daifset, #1\n\tisb" ::: "memory");
}

/* On each vCPU, one after the other. */
static void release(void *unused)
{
	(void)unused;
	release_pstate();
	release_priority();
	release_group();
	for (unsigned kind = SGI; kind < LPI; kind++)
		if (wants((enum kind)kind)) {
			unsigned intid = intid_of((enum kind)kind, cpu_index(), DISABLED);

			check(gic_is_pending(intid), "%s %u is not pending any more, it was disabled",
			      kind_names[kind], intid);
			gic_enable(intid);
		}
	now_due(DISABLED);
	settle();
}

/* Interrupts that were complete come again when they are made pending anew. */
static void anew(void *unused)
{
	unsigned cpu = cpu_index();

	(void)unused;
	now_due(ACKED);
	for (unsigned kind = SGI; kind < LPI; kind++) {
		unsigned intid = intid_of((enum kind)kind, cpu, ACKED);

		if (!plays((enum kind)kind, ACKED))
			continue;
		if (kind == SGI)
			gic_send_sgi(intid, cpu);
		else
			gic_set_pending(intid);
	}
	settle();
}

static void due_anew(void *unused)
{
	(void)unused;
	lpi_due(LPI_DISABLED);
	lpi_due(LPI_IDLE);
}

static void settle_cpu(void *unused)
{
	(void)unused;
	settle();
}

/* The ITS has to translate as before, and the LPIs that were disabled have to be pending still. */
static void lpis_anew(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, due_anew, NULL);
	for (unsigned cpu = 0; cpu < vcpus; cpu++) {
		lpis_enable(lpi_of(cpu, LPI_DISABLED), true);
		lpis_interrupt(lpi_of(cpu, LPI_IDLE));
	}
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, settle_cpu, NULL);
	if (arg.sabotage == TWICE && kind_of(sabotaged()) == LPI)
		lpis_interrupt(sabotaged());
}

static void say_beats(void)
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		say("beat cpu=%u n=%u", cpu, taken_in_all(cpu));
}

static void verify_at_end(void *unused)
{
	(void)unused;
	verify_delivery();
	check(gic_spurious() == 0, "%u spurious interrupts", gic_spurious());
}

static void for_each_cpu(void (*fn)(void *))
{
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, fn, NULL);
}

static void check_machine(void)
{
	if (vcpus > GIC_VCPUS)
		panic("vcpus=%lu, but this payload has patterns for %u", vcpus, GIC_VCPUS);
	if (gic_lines() <= intid_of(SPI, GIC_VCPUS - 1, ROLES))
		skip("the machine has %u interrupt lines, too few for the patterns", gic_lines());
	if (arg.kinds == LPI && !gic_has_lpis())
		skip("the machine has no ITS");
	kinds_choose((arg.kinds == KINDS ? (1u << KINDS) - 1 : 1u << arg.kinds) & ~(gic_has_lpis() ? 0 : 1u << LPI));
	acks_choose(arg.acks);
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_WORD("kinds", arg.kinds, kinds_names),
		ARG_WORD("acks", arg.acks, acks_names),
		ARG_NUMBER("settle_us", arg.settle_us, 0, 1000000),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};

	guest_begin("gic", table, ARRAY_SIZE(table));
	check_machine();
	delivery_begin(arg.settle_us, arg.sabotage == TWICE && kind_of(sabotaged()) != LPI ? sabotaged() : 0);
	write32(GICD_CTLR, read32(GICD_CTLR) | CTLR_ENABLE_GROUP0);
	for_each_cpu(arrange);
	if (wants(LPI))
		lpis_write();
	for_each_cpu(remember);
	say_arranged();
	ask();
	say_beats();
	if (arg.sabotage != LOST)
		spoil();
	for_each_cpu(compare);
	if (arg.sabotage == LOST)
		spoil();
	for_each_cpu(release);
	for_each_cpu(anew);
	if (wants(LPI))
		lpis_anew();
	wait_for(all_came, say_beats);
	delay_us(arg.settle_us);
	for_each_cpu(verify_at_end);
	finish();
}
