/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: Arm DDI 0183, chapter 3. */
#include "uart.h"

#include "cpu.h"

#define UARTDR		(UART_BASE + 0x00)
#define UARTFR		(UART_BASE + 0x18)
#define UARTLCR_H	(UART_BASE + 0x2c)
#define UARTCR		(UART_BASE + 0x30)
#define UARTIMSC	(UART_BASE + 0x38)
#define FR_RXFE		(1u << 4)
#define LCR_WLEN_8	(3u << 5)	/* FIFOs off: one byte is enough to raise the receive interrupt */
#define CR_ENABLE	0x301u		/* UARTEN, TXE, RXE */
#define INT_RX		(1u << 4)

void uart_init(void)
{
	write32(UARTCR, 0);
	write32(UARTIMSC, 0);
	write32(UARTLCR_H, LCR_WLEN_8);
	write32(UARTCR, CR_ENABLE);
}

/* No look at TXFF: the emulated PL011 hands each byte on before the store completes, so it is never full. */
void uart_put(char c)
{
	write32(UARTDR, (unsigned char)c);
}

void uart_enable_receive(void)
{
	write32(UARTIMSC, INT_RX);
}

int uart_take(void)
{
	return read32(UARTFR) & FR_RXFE ? -1 : (int)(read32(UARTDR) & 0xff);
}
