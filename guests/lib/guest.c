/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"


static bool has_pauth(void)
{
	uint64_t isar1 = read_sysreg(id_aa64isar1_el1);

	return id_field(isar1, 4) || id_field(isar1, 8) || id_field(read_sysreg(ID_AA64ISAR2_EL1), 12);
}

static void say_hello(const char *name, bool gicv3)
{
	bool sve = id_field(read_sysreg(id_aa64pfr0_el1), 32);
	bool sme = id_field(read_sysreg(id_aa64pfr1_el1), 24);

	say("hello guest=%s el=%u e2h=%u vcpus=%lu freq=%lu its=%u pauth=%u sve=%u sme=%u", name, at_el2() ? 2 : 1,
	    e2h_set(), vcpus, counter_frequency(), gicv3 && gic_has_lpis(), has_pauth(), sve, sme);
}

void guest_begin(const char *name, const struct argument *table, size_t count)
{
	static uint64_t e2h, console, offset;	/* start-up has acted on them already; here they are checked */
	const struct argument own[] = {
		ARG_NUMBER("vcpus", vcpus, 1, MAX_VCPUS),
		ARG_NUMBER("e2h", e2h, 0, 1),
		ARG_WORD("console", console, console_names),
		ARG_WORD("offset", offset, offset_names),
	};
	bool gicv3 = id_field(read_sysreg(id_aa64pfr0_el1), 24);

	if (machine.fault)
		panic("%s", machine.fault);
	if (console_fault)
		panic("%s", console_fault);
	args_parse(own, ARRAY_SIZE(own), table, count);
	say_hello(name, gicv3);
	if (e2h_fault)
		skip("%s", e2h_fault);
	if (!gicv3)
		skip("the machine has no GICv3 CPU interface");
	if (vcpus > machine.cpus)
		panic("vcpus=%lu, but the machine has %u", vcpus, machine.cpus);
	asm volatile("msr daifclr, #4");	/* a system error is a panic, not a secret */
	gic_init();
	gic_cpu_init();
	console_enable_wakeup();
	smp_start();
}
