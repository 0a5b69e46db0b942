/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns in every register of each vCPU, in place before the last byte of `now` leaves; then the vCPUs sleep without
 * touching any of them. The interrupt that ends the sleep finds what has survived. README.md has the details.
 */
#include "console.h"
#include "features.h"
#include "fp.h"
#include "guest.h"
#include "sysregs.h"

enum set { GPR, FP, SYS, SVE, SME, PAUTH, SETS };
enum sabotage { HONEST, SABOTAGE_GPR, SABOTAGE_FP, SABOTAGE_SYS };

static const char *const set_names[SETS + 1] = { "gpr", "fp", "sys", "sve", "sme", "pauth", NULL };
static const char *const sabotage_names[] = { "none", "gpr", "fp", "sys", NULL };
static const char *const say_names[] = { "all", "none", NULL };

static struct {
	uint64_t sets, seed, sabotage, say;
} arg = { .seed = 1 };

#define GPRS		31
#define SP_BITS		0x0000fffffffffff0UL	/* 16-byte aligned */
#define SIGNATURES	5			/* IA, IB, DA, DB, generic */
#define ENABLE_KEYS	(1UL << 31 | 1UL << 30 | 1UL << 27 | 1UL << 13)	/* SCTLR_ELx: EnIA, EnIB, EnDA, EnDB */
#define OSLAR_EL1	S2_0_C1_C0_4
#define FLAG_PAN	(1UL << 22)
#define FLAG_UAO	(1UL << 23)
#define FLAG_DIT	(1UL << 24)
#define FLAG_SSBS	(1UL << 12)
#define FLAG_TCO	(1UL << 25)

static const char *const signature_names[SIGNATURES] = { "IA", "IB", "DA", "DB", "GA" };

static struct vcpu {
	uint64_t x[GPRS];		/* the patterns */
	uint64_t sp, sp_found;		/* SP_EL0, which is SP in hold() */
	uint64_t nzcv, spsr;		/* the flags; all of PSTATE */
	uint64_t resume[13];		/* x19 to x30 and SP of the code that was left by hold() */
	struct frame found;		/* what the interrupt found */
	uint64_t pointer, modifier;
	uint64_t signed_had[SIGNATURES], signed_has[SIGNATURES], authenticated[SIGNATURES - 1];
	uint64_t flag;			/* a secondary's `now`: written by the store that for vCPU 0 is the newline */
} state[PATTERN_VCPUS];

static bool called;	/* vCPU 0 has made its last call */
static bool over;	/* the lifecycle is */

void hold(const uint64_t x[GPRS], uint64_t resume[13], uint64_t nzcv);
void pauth_sign(uint64_t pointer, uint64_t modifier, uint64_t out[SIGNATURES]);
void pauth_authenticate(const uint64_t in[SIGNATURES - 1], uint64_t modifier, uint64_t out[SIGNATURES - 1]);
extern char hold_loop[], hold_end[];

static struct vcpu *self(void)
{
	return &state[cpu_index()];
}

static bool chosen(enum set set)
{
	return arg.sets >> set & 1;
}

static unsigned sys_sets(void)
{
	return (chosen(SYS) ? SYS_PLAIN : 0) | (chosen(PAUTH) ? SYS_KEYS : 0);
}

static unsigned fp_sets(void)
{
	return (chosen(FP) ? FP_V : 0) | (chosen(SVE) ? FP_Z : 0) | (chosen(SME) ? FP_ZA : 0);
}

/* Set each PSTATE bit that code can live with the other way round, as far as the CPU has it; returns those now set. */
static uint64_t set_pstate(void)
{
	uint64_t flags = 0;

	if (have_dit()) {
		write_sysreg(S3_3_C4_C2_5, FLAG_DIT);
		flags |= read_sysreg(S3_3_C4_C2_5);
	}
	if (have_ssbs()) {
		write_sysreg(S3_3_C4_C2_6, ~read_sysreg(S3_3_C4_C2_6) & FLAG_SSBS);
		flags |= read_sysreg(S3_3_C4_C2_6);
	}
	if (have_mte2()) {
		write_sysreg(S3_3_C4_C2_7, FLAG_TCO);
		flags |= read_sysreg(S3_3_C4_C2_7);
	}
	if (have_uao()) {
		write_sysreg(S3_0_C4_C2_4, FLAG_UAO);
		flags |= read_sysreg(S3_0_C4_C2_4);
	}
	if (have_pan()) {
		write_sysreg(S3_0_C4_C2_3, FLAG_PAN);
		flags |= read_sysreg(S3_0_C4_C2_3);
	}
	return flags;
}

static void choose_gprs(struct vcpu *v)
{
	for (unsigned n = 0; n < GPRS; n++)
		v->x[n] = pattern(arg.seed, 10, n);
	v->x[0] = cpu_index() == 0 ? console_newline_address() : (uintptr_t)&v->flag;
	v->x[1] = (v->x[1] & ~0xffffffffUL) | console_newline_value();
	v->sp = pattern(arg.seed, 13, 0) & SP_BITS;
	v->nzcv = (pattern(arg.seed, 11, 0) & 0xf0000000UL) ^ 1UL << 30;
}

static void choose(void *unused)
{
	struct vcpu *v = self();
	uint64_t daif = irq_save();

	(void)unused;
	write_sysreg(OSLAR_EL1, 0);
	fp_enable();
	if (have_pauth()) {
		if (at_el2())
			write_sysreg(sctlr_el2, read_sysreg(sctlr_el2) | ENABLE_KEYS);
		else
			write_sysreg(sctlr_el1, read_sysreg(sctlr_el1) | ENABLE_KEYS);
		isb();
	}
	choose_gprs(v);
	sysregs_choose(sys_sets(), arg.seed);
	fp_choose(fp_sets(), arg.seed);
	v->pointer = (uintptr_t)state;
	v->modifier = pattern(arg.seed, 12, 0);
	irq_restore(daif);
}

static void say_all(void *unused)
{
	struct vcpu *v = self();

	(void)unused;
	for (unsigned set = 0; set < SETS; set++)
		if (chosen(set))
			say("arranged cpu=%u set=%s seed=%#lx", cpu_index(), set_names[set], arg.seed);
	if (arg.say)
		return;
	if (chosen(GPR)) {
		for (unsigned n = 0; n < GPRS; n++)
			say("reg cpu=%u name=x%u value=%#lx", cpu_index(), n, v->x[n]);
		say("reg cpu=%u name=sp value=%#lx", cpu_index(), v->sp);
		say("reg cpu=%u name=sp_el0 value=%#lx", cpu_index(), v->sp);
		say("reg cpu=%u name=nzcv value=%#lx", cpu_index(), v->nzcv);
	}
	fp_say(fp_sets());
	sysregs_say(sys_sets());
}

static void sabotage(struct frame *frame)
{
	if (cpu_index() != vcpus - 1)
		return;
	if (arg.sabotage == SABOTAGE_GPR)
		frame->x[7] ^= 1UL << 5;
	else if (arg.sabotage == SABOTAGE_FP)
		fp_sabotage();
	else if (arg.sabotage == SABOTAGE_SYS)
		write_sysreg(tpidr_el1, read_sysreg(tpidr_el1) ^ 1UL << 20);
}

/* The interrupt that ends hold(): note everything, put the working values back, return to the caller of hold(). */
static bool on_interrupt(struct frame *frame)
{
	struct vcpu *v = self();

	if (frame->elr < (uintptr_t)hold || frame->elr >= (uintptr_t)hold_end)
		return false;
	sabotage(frame);
	v->found = *frame;
	v->sp_found = read_sysreg(sp_el0);
	fp_capture(fp_sets());
	if (chosen(PAUTH)) {
		pauth_sign(v->pointer, v->modifier, v->signed_has);
		if (memcmp(v->signed_has, v->signed_had, sizeof(v->signed_has)) == 0)	/* else it would fault */
			pauth_authenticate(v->signed_has, v->modifier, v->authenticated);
	}
	sysregs_capture(sys_sets());
	gic_dispatch(frame);
	for (unsigned i = 0; i < 12; i++)
		frame->x[19 + i] = v->resume[i];
	frame->elr = v->resume[11];
	frame->spsr = (v->spsr & ~(0xfUL << 28)) | 1 | 1UL << 7;	/* on SP_ELx, interrupts masked */
	return true;
}

/* A wake-up on its way to us would end hold() too soon: let it come before. */
static void let_wakeups_come(void)
{
	while (gic_is_pending(SGI_WAKE))
		asm volatile("yield");
}

/* Everything into its place, and sleep; returns when on_interrupt() has been here. Interrupts are masked then. */
static void be_interrupted(void)
{
	struct vcpu *v = self();

	irq_mask();
	sysregs_load(sys_sets());
	if (chosen(PAUTH))
		pauth_sign(v->pointer, v->modifier, v->signed_had);
	write_sysreg(sp_el0, v->sp);
	v->spsr = set_pstate() | v->nzcv | (read_sysreg(daif) & ~(1UL << 7)) | (at_el2() ? 8 : 4);
	fp_load(fp_sets());
	hold(v->x, v->resume, v->nzcv);
}

static void first(void)
{
	for (unsigned cpu = 1; cpu < vcpus; cpu++)
		while (!load(state[cpu].flag))
			asm volatile("yield");
	let_wakeups_come();
	be_interrupted();
	if (console_get() != 'g')
		panic("woken by something else than the byte g");
	store(over, true);
	for (unsigned cpu = 1; cpu < vcpus; cpu++)
		smp_wake(cpu);
	irq_unmask();
}

static void other(void)
{
	while (!load(called))
		asm volatile("yield");
	let_wakeups_come();
	be_interrupted();
	if (!load(over))
		panic("woken before vCPU 0");
	irq_unmask();
}

static void run(void *unused)
{
	(void)unused;
	if (cpu_index() == 0) {
		store(called, true);
		first();
	} else {
		other();
	}
}

static void verify_gprs(const struct vcpu *v)
{
	for (unsigned n = 0; n < GPRS; n++) {
		char name[] = { 'x', (char)('0' + n / 10), (char)('0' + n % 10), '\0' };

		if (n < 10) {
			name[1] = name[2];
			name[2] = '\0';
		}
		compare(name, v->x[n], v->found.x[n]);
	}
	compare("sp_el0", v->sp, v->sp_found);
	compare(at_el2() ? "sp_el2" : "sp_el1", v->resume[12], v->found.sp);
	compare("pstate", v->spsr, v->found.spsr);
	check(v->found.elr >= (uintptr_t)hold_loop && v->found.elr < (uintptr_t)hold_end,
	      "the PC was %#lx, not in the loop at %#lx", v->found.elr, (uintptr_t)hold_loop);
}

static void verify_signatures(const struct vcpu *v)
{
	bool same = true;

	for (unsigned key = 0; key < SIGNATURES; key++)
		same &= check(v->signed_had[key] == v->signed_has[key], "signed by key %s had %#lx has %#lx",
			      signature_names[key], v->signed_had[key], v->signed_has[key]);
	for (unsigned key = 0; same && key < SIGNATURES - 1; key++)
		check(v->authenticated[key] == v->pointer, "authenticated by key %s: %#lx, signed was %#lx",
		      signature_names[key], v->authenticated[key], v->pointer);
}

static void verify(void *unused)
{
	struct vcpu *v = self();

	(void)unused;
	if (chosen(GPR))
		verify_gprs(v);
	fp_verify(fp_sets());
	if (chosen(PAUTH))
		verify_signatures(v);
	sysregs_verify(sys_sets());
}

static void check_arguments(void)
{
	uint64_t present = 1UL << GPR | 1UL << FP | 1UL << SYS | (uint64_t)have_sve() << SVE |
			   (uint64_t)have_sme() << SME | (uint64_t)!!have_pauth() << PAUTH;
	static const enum set needed[] = { SETS, GPR, FP, SYS };

	if (vcpus > PATTERN_VCPUS)
		panic("vcpus=%lu: this payload knows 1 and %u", vcpus, PATTERN_VCPUS);
	for (unsigned set = 0; set < SETS; set++)
		if (arg.sets & ~present & 1UL << set)
			skip("the CPU has nothing for the set %s", set_names[set]);
	if (!arg.sets)
		arg.sets = present;
	if (arg.sabotage && !chosen(needed[arg.sabotage]))
		panic("sabotage=%s needs that set", sabotage_names[arg.sabotage]);
}

static void print_now(void)
{
	const char *text = "@1 now";	/* its newline is hold()'s */

	while (*text)
		console_put(*text++);
	console_prepare_newline();
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_WORDS("sets", arg.sets, set_names),
		ARG_NUMBER("seed", arg.seed, 0, ~0UL),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
		ARG_WORD("say", arg.say, say_names),
		ARG_MARKS("but", sysregs_left_out, sysreg_names),
	};

	guest_begin("registers", table, ARRAY_SIZE(table));
	check_arguments();
	exception_set_hook(VECTOR_SP0_IRQ, on_interrupt);
	for (unsigned cpu = 0; cpu < vcpus; cpu++) {
		smp_call(cpu, choose, NULL);
		smp_call(cpu, say_all, NULL);
	}
	print_now();
	smp_call_all(run, NULL);
	for (unsigned cpu = 0; cpu < vcpus; cpu++)
		smp_call(cpu, verify, NULL);
	finish();
}
