/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include <stddef.h>

#include "console.h"
#include "cpu.h"
#include "guest.h"
#include "machine.h"
#include "mmu.h"
#include "smp.h"
#include "timer.h"

#define CONTEXT_E2H		(1UL << 8)
#define CPTR_E2H0		0x32ffUL	/* RES1 bits; FP and SIMD not trapped */
#define FPEN			(3UL << 20)	/* of CPACR_EL1, and of CPTR_EL2 with E2H=1 */
#define CNTHCTL_E2H0		3UL		/* EL1PCTEN, EL1PCEN */
#define CNTHCTL_E2H1		(3UL << 10)	/* EL1PCTEN, EL1PTEN */
#define ICC_SRE_EL2_ON		9UL		/* SRE, Enable */

const char *e2h_fault;

/* Try to give E2H the value that was asked for; returns the value it has. TGE goes with E2H, as in Linux's VHE. */
static bool el2_set_regime(bool wanted)
{
	bool vhe = id_field(read_sysreg(id_aa64mmfr1_el1), 8);
	bool e2h_is_res1 = id_field(read_sysreg(ID_AA64MMFR4_EL1), 24) >= 8;	/* E2H0: signed, negative = E2H=0 missing */
	bool e2h = vhe && (wanted || e2h_is_res1);

	write_sysreg(hcr_el2, HCR_RW | HCR_API | HCR_APK |
		     (e2h ? HCR_E2H | HCR_TGE : HCR_AMO | HCR_IMO | HCR_FMO));
	isb();
	e2h = read_sysreg(hcr_el2) & HCR_E2H;
	if (e2h != wanted)
		e2h_fault = wanted ? "HCR_EL2.E2H cannot be 1: the CPU has no FEAT_VHE" :
				     "HCR_EL2.E2H cannot be 0: the CPU has no FEAT_E2H0";
	return e2h;
}

static void el2_set_controls(bool e2h)
{
	write_sysreg(cptr_el2, e2h ? FPEN : CPTR_E2H0);
	write_sysreg(cnthctl_el2, e2h ? CNTHCTL_E2H1 : CNTHCTL_E2H0);
	write_sysreg(cntvoff_el2, VIRTUAL_OFFSET);
	if (id_field(read_sysreg(id_aa64pfr0_el1), 24))
		write_sysreg(ICC_SRE_EL2, ICC_SRE_EL2_ON);
	isb();
}

static bool set_level(bool e2h_wanted)
{
	bool e2h;

	if (!at_el2()) {
		write_sysreg(cpacr_el1, FPEN);
		isb();
		return false;
	}
	e2h = el2_set_regime(e2h_wanted);
	el2_set_controls(e2h);
	return e2h;
}

uint64_t boot_context(unsigned cpu)
{
	return cpu | (e2h_set() ? CONTEXT_E2H : 0);
}

void boot_first(const void *dtb)
{
	const char *asked;
	bool wanted, e2h;

	machine_read(dtb);
	asked = machine_bootarg("e2h");
	wanted = asked && asked[0] == '1';	/* anything but 0 and 1 is a panic in args_parse() */
	e2h = set_level(wanted);
	if (wanted && !at_el2())
		e2h_fault = "entered at EL1: there is no HCR_EL2.E2H to set";
	mmu_build(e2h);
	mmu_enable(e2h);
	console_init();
	guest_main();
	finish();
}

void boot_secondary(uint64_t context)
{
	bool e2h = set_level(context & CONTEXT_E2H);

	mmu_enable(e2h);
	smp_secondary();
}
