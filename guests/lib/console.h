/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line to the harness: the PL011, or with `console=virtio` a virtio console, which takes a whole line with one store.
 * Under KVM each access to a device is an exit to the VMM, and a line by the PL011 one exit for each byte.
 * Payloads talk through say.h; this is below it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* For the argument `console=`. */
extern const char *const console_names[];

/* With the MMU on, since a virtio console looks into our memory. */
void console_init(void);

/* Why there is no console of the kind asked for; NULL if there is. */
extern const char *console_fault;

void console_put(char c);

/* Its interrupt. */
unsigned console_intid(void);

/* Route that interrupt to vCPU 0 and enable it; its only purpose is to end a WFI. */
void console_enable_wakeup(void);

/* The next byte the harness sent, or -1 if there is none. Only on vCPU 0, with interrupts masked. */
int console_get(void);

/* Whether the receive interrupt has brought a byte that console_get() has not handed out yet; reads no device register. */
bool console_received(void);

/*
 * For a newline at an instant of one's own choice: after console_prepare_newline() one store of the 32-bit value
 * `console_newline_value()` to `console_newline_address()` sends it, with all of the line that came before.
 */
uintptr_t console_newline_address(void);
uint32_t console_newline_value(void);
void console_prepare_newline(void);
