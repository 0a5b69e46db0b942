/* SPDX-License-Identifier: Apache-2.0 */
/* The PL011 serial port. Payloads talk through say.h; this is below it. */
#pragma once

#include <stdbool.h>

void uart_init(void);
void uart_put(char c);

/* Route the receive interrupt to vCPU 0 and enable it; its only purpose is to end a WFI. */
void uart_enable_wakeup(void);

/* The next byte the harness sent, or -1 if there is none. Only on vCPU 0, with interrupts masked. */
int uart_get(void);

/* Whether the receive interrupt has brought a byte that uart_get() has not handed out yet; reads no device register. */
bool uart_received(void);
