/* SPDX-License-Identifier: Apache-2.0 */
/* The vCPU we are on: its number, its interrupt mask, sleeping, memory-mapped registers, shared variables. */
#pragma once

#include "layout.h"
#include "sysreg.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

extern char stacks[];

/* The number of this vCPU, from 0, told from its stack: so no TPIDR register is taken from the payload. */
static inline unsigned cpu_index(void)
{
	uintptr_t sp;

	asm volatile("mov %0, sp" : "=r"(sp));
	return (unsigned)((sp - 1 - (uintptr_t)stacks) >> STACK_SHIFT);
}

static inline void irq_mask(void) { asm volatile("msr daifset, #2" ::: "memory"); }
static inline void irq_unmask(void) { asm volatile("msr daifclr, #2\n\tisb" ::: "memory"); }

/* Mask interrupts and return the DAIF from before, for irq_restore(). */
static inline uint64_t irq_save(void)
{
	uint64_t daif = read_sysreg(daif);

	irq_mask();
	return daif;
}

static inline void irq_restore(uint64_t daif)
{
	write_sysreg(daif, daif);
	isb();
}

/* A variable that another vCPU or an interrupt handler writes. */
#define load(variable)		__atomic_load_n(&(variable), __ATOMIC_ACQUIRE)
#define store(variable, value)	__atomic_store_n(&(variable), (value), __ATOMIC_RELEASE)

/*
 * Sleep in WFI until the condition holds. It is looked at with interrupts masked, so no wake-up is lost; between two
 * looks interrupts are taken if they were unmasked at entry. Where they were masked and one is pending, WFI returns at
 * once, as the architecture says, and this is a busy loop.
 */
#define wait_until(condition) do {		\
	uint64_t daif_ = irq_save();		\
	while (!(condition)) {			\
		wfi();				\
		irq_restore(daif_);		\
		irq_mask();			\
	}					\
	irq_restore(daif_);			\
} while (0)

/* Accesses to memory-mapped registers: plain loads and stores only, which a hypervisor can emulate from the syndrome. */
static inline uint32_t read32(uintptr_t address)
{
	uint32_t value;

	asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void write32(uintptr_t address, uint32_t value)
{
	asm volatile("str %w0, [%1]" :: "rZ"(value), "r"(address) : "memory");
}

static inline uint64_t read64(uintptr_t address)
{
	uint64_t value;

	asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void write64(uintptr_t address, uint64_t value)
{
	asm volatile("str %x0, [%1]" :: "rZ"(value), "r"(address) : "memory");
}

static inline void write8(uintptr_t address, uint8_t value)
{
	asm volatile("strb %w0, [%1]" :: "rZ"((uint32_t)value), "r"(address) : "memory");
}

static inline uint8_t read8(uintptr_t address)
{
	uint32_t value;

	asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return (uint8_t)value;
}
