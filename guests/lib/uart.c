/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: Arm DDI 0183, chapter 3. */
#include "uart.h"

#include "cpu.h"
#include "gic.h"

#define UARTDR		(UART_BASE + 0x00)
#define UARTFR		(UART_BASE + 0x18)
#define UARTLCR_H	(UART_BASE + 0x2c)
#define UARTCR		(UART_BASE + 0x30)
#define UARTIMSC	(UART_BASE + 0x38)
#define FR_RXFE		(1u << 4)
#define LCR_WLEN_8	(3u << 5)	/* FIFOs off: one byte is enough to raise the receive interrupt */
#define CR_ENABLE	0x301u		/* UARTEN, TXE, RXE */
#define INT_RX		(1u << 4)

/* A ring between the interrupt handler and uart_get(), both on vCPU 0 with interrupts masked. */
static unsigned char received[64];
static unsigned head, tail;

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

static void drain(void)
{
	while (head - tail < sizeof(received) && !(read32(UARTFR) & FR_RXFE))
		received[head++ % sizeof(received)] = (unsigned char)read32(UARTDR);
}

static void on_receive(unsigned intid, struct frame *frame)
{
	(void)intid;
	(void)frame;
	drain();
}

void uart_enable_wakeup(void)
{
	gic_set_handler(UART_INTID, on_receive);
	gic_set_priority(UART_INTID, PRIORITY_UART);
	gic_set_route(UART_INTID, 0);
	gic_enable(UART_INTID);
	write32(UARTIMSC, INT_RX);
}

int uart_get(void)
{
	drain();
	return head == tail ? -1 : received[tail++ % sizeof(received)];
}

bool uart_received(void)
{
	return load(head) != load(tail);
}
