/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"

#include <stdarg.h>
#include <stddef.h>

#include "console.h"
#include "cpu.h"
#include "psci.h"

static bool locked;
static bool panicking[MAX_VCPUS];
static uint64_t checks, failed;		/* both under the lock */

static bool mmu_is_on(void)
{
	/* With E2H=1 both names mean SCTLR_EL2, but at a virtual EL2 its own name is a trap. */
	return (at_el2() && !e2h_set() ? read_sysreg(sctlr_el2) : read_sysreg(sctlr_el1)) & 1;
}

/* Take the lock with interrupts masked; returns DAIF from before. Exclusives need the MMU on; before, we are alone. */
static uint64_t lock(void)
{
	uint64_t daif = irq_save();

	while (mmu_is_on() && __atomic_test_and_set(&locked, __ATOMIC_ACQUIRE))
		asm volatile("yield");
	return daif;
}

static void unlock(uint64_t daif)
{
	store(locked, false);
	irq_restore(daif);
}

static void put_text(const char *text)
{
	while (*text)
		console_put(*text++);
}

static void put_number(uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		console_put(digits[--count]);
}

static void put_signed(int64_t value)
{
	if (value < 0)
		console_put('-');
	put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
}

static void put_formatted(const char *format, va_list *list)
{
	for (; *format; format++) {
		bool prefix = false, wide = false;

		if (*format != '%') {
			console_put(*format);
			continue;
		}
		for (format++; *format == '#' || *format == 'l'; format++) {
			prefix |= *format == '#';
			wide |= *format == 'l';
		}
		switch (*format) {
		case 's':
			put_text(va_arg(*list, const char *));
			break;
		case 'c':
			console_put((char)va_arg(*list, int));
			break;
		case 'd':
			put_signed(wide ? va_arg(*list, int64_t) : va_arg(*list, int));
			break;
		case 'u':
			put_number(wide ? va_arg(*list, uint64_t) : va_arg(*list, unsigned), 10);
			break;
		case 'x':
			put_text(prefix ? "0x" : "");
			put_number(wide ? va_arg(*list, uint64_t) : va_arg(*list, unsigned), 16);
			break;
		case '%':
			console_put('%');
			break;
		default:
			panic("say.c does not know the format %%%c", *format);
		}
	}
}

/* One line, under the lock. */
static void put_line(const char *kind, const char *format, va_list *list)
{
	put_text("@1 ");
	put_text(kind);
	put_formatted(format, list);
	console_put('\n');
}

void say(const char *format, ...)
{
	va_list list;
	uint64_t daif = lock();

	va_start(list, format);
	put_line("", format, &list);
	va_end(list);
	unlock(daif);
}

bool check(bool holds, const char *format, ...)
{
	va_list list;
	uint64_t daif = lock();

	checks++;
	if (!holds) {
		failed++;
		put_text("@1 fail text=vCPU ");
		put_number(cpu_index(), 10);
		put_text(": ");
		va_start(list, format);
		put_formatted(format, &list);
		va_end(list);
		console_put('\n');
	}
	unlock(daif);
	return holds;
}

static _Noreturn void end(void)
{
	say("end");
	psci_system_off();
}

void skip(const char *format, ...)
{
	va_list list;
	uint64_t daif = lock();

	va_start(list, format);
	put_line("skip text=", format, &list);
	va_end(list);
	unlock(daif);
	end();
}

void finish(void)
{
	say("result checks=%lu failed=%lu", checks, failed);
	end();
}

/* The lock may be held by the code that panics: try for a while, then print all the same. */
static _Noreturn void panic_line(uint64_t elr, uint64_t esr, uint64_t far, const char *format, va_list *list)
{
	unsigned cpu = cpu_index();

	irq_mask();
	if (cpu >= MAX_VCPUS || panicking[cpu])
		psci_system_off();	/* a panic in a panic, or a stack that is none */
	panicking[cpu] = true;
	for (unsigned i = 0; mmu_is_on() && i < 1000000 && __atomic_test_and_set(&locked, __ATOMIC_ACQUIRE); i++)
		asm volatile("yield");
	put_text("@1 panic cpu=");
	put_number(cpu, 10);
	put_text(at_el2() ? " el=2" : " el=1");
	put_text(" esr=0x");
	put_number(esr, 16);
	put_text(" elr=0x");
	put_number(elr, 16);
	put_text(" far=0x");
	put_number(far, 16);
	put_text(" text=");
	put_formatted(format, list);
	console_put('\n');
	psci_system_off();
}

void panic(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	panic_line((uint64_t)__builtin_return_address(0), 0, 0, format, &list);
}

void panic_at(uint64_t elr, uint64_t esr, uint64_t far, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	panic_line(elr, esr, far, format, &list);
}

/* The next byte, or -1 as soon as done(), where there is one, says so; meanwhile work, or sleep where there is none. */
static int next_byte(bool (*done)(void), void (*work)(void))
{
	int byte = -1;

	while (work && !console_received() && !(done && done()))
		work();
	wait_until((byte = console_get()) >= 0 || (done && done()));
	return byte;
}

void ask_busy(void (*work)(void))
{
	int byte;

	say("now");	/* after its newline only the lock is released */
	byte = next_byte(NULL, work);
	if (byte != 'g')
		panic("expected the byte g after now, got 0x%x", (unsigned)byte);
}

void ask(void)
{
	ask_busy(NULL);
}

bool wait_for_busy(bool (*done)(void), void (*report)(void), void (*work)(void))
{
	for (;;) {
		int byte = next_byte(done, work);

		if (byte < 0)
			return true;
		if (byte == 'e')
			return false;
		if (byte != '?')
			panic("expected the byte ? or e, got 0x%x", (unsigned)byte);
		report();
	}
}

bool wait_for(bool (*done)(void), void (*report)(void))
{
	return wait_for_busy(done, report, NULL);
}
