/* SPDX-License-Identifier: Apache-2.0 */
/* The PL011 serial port, below console.h. */
#pragma once

void uart_init(void);
void uart_put(char c);

/* Let a byte that comes in raise the interrupt. */
void uart_enable_receive(void);

/* The next byte, or -1. */
int uart_take(void);
