/* SPDX-License-Identifier: Apache-2.0 */
#include "smp.h"

#include <stddef.h>

#include "boot.h"
#include "cpu.h"
#include "gic.h"
#include "machine.h"
#include "psci.h"
#include "say.h"

/* Lives with the caller, so that a call made while an earlier one is still running cannot be mistaken for it. */
struct call {
	void (*fn)(void *);
	void *arg;
	bool done;
};

uint64_t vcpus = 1;

static struct call *mailbox[MAX_VCPUS];
static bool online[MAX_VCPUS];

static void on_wake(unsigned intid, struct frame *frame)
{
	(void)intid;
	(void)frame;
}

void smp_wake(unsigned cpu)
{
	if (cpu != cpu_index())
		gic_send_sgi(SGI_WAKE, cpu);
}

static void take_call(unsigned cpu)
{
	struct call *call = load(mailbox[cpu]);

	store(mailbox[cpu], NULL);
	call->fn(call->arg);
	store(call->done, true);
	smp_wake(0);
}

void smp_serve_until(bool *flag)
{
	unsigned cpu = cpu_index();

	for (;;) {
		wait_until(load(*flag) || load(mailbox[cpu]));
		if (!load(mailbox[cpu]))
			return;
		take_call(cpu);
	}
}

static void enable_wakeup(void)
{
	gic_set_priority(SGI_WAKE, PRIORITY_WAKE);
	gic_enable(SGI_WAKE);
	irq_unmask();
}

void smp_secondary(void)
{
	static bool never;

	gic_cpu_init();
	enable_wakeup();
	store(online[cpu_index()], true);
	smp_wake(0);
	smp_serve_until(&never);
	panic("smp_serve_until returned");
}

void smp_start(void)
{
	gic_set_handler(SGI_WAKE, on_wake);
	enable_wakeup();
	for (unsigned cpu = 1; cpu < vcpus; cpu++) {
		int64_t status = psci_cpu_on(machine.mpidr[cpu], (uintptr_t)start_secondary,
					     boot_context(cpu));

		if (status)
			panic("PSCI CPU_ON of vCPU %u returned %ld", cpu, status);
		wait_until(load(online[cpu]));
	}
}

static void post(unsigned cpu, struct call *call)
{
	while (load(mailbox[cpu]))	/* the call before was posted but not yet begun */
		asm volatile("yield");
	store(mailbox[cpu], call);
	smp_wake(cpu);
}

void smp_call(unsigned cpu, void (*fn)(void *), void *arg)
{
	struct call call = { .fn = fn, .arg = arg, .done = false };

	if (cpu == cpu_index()) {
		fn(arg);
		return;
	}
	post(cpu, &call);
	wait_until(load(call.done));
}

void smp_call_all(void (*fn)(void *), void *arg)
{
	struct call calls[MAX_VCPUS];

	for (unsigned cpu = 1; cpu < vcpus; cpu++) {
		calls[cpu] = (struct call){ .fn = fn, .arg = arg, .done = false };
		post(cpu, &calls[cpu]);
	}
	fn(arg);
	for (unsigned cpu = 1; cpu < vcpus; cpu++)
		wait_until(load(calls[cpu].done));
}
