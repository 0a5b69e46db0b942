/* SPDX-License-Identifier: Apache-2.0 */
#include "console.h"

#include <stddef.h>

#include "cpu.h"
#include "gic.h"
#include "machine.h"
#include "text.h"
#include "uart.h"
#include "virtio.h"

const char *const console_names[] = { "pl011", "virtio", NULL };
const char *console_fault;

static bool virtio;

/* A ring between the interrupt handler and console_get(), both on vCPU 0 with interrupts masked. */
static unsigned char received[64];
static unsigned head, tail;

void console_init(void)
{
	const char *asked = machine_bootarg("console");

	uart_init();
	if (!asked || !text_starts(asked, "virtio"))	/* anything else is a panic in args_parse() */
		return;
	virtio = virtio_init();
	if (!virtio)
		console_fault = "console=virtio, but the first virtio-mmio transport has no console";
}

void console_put(char c)
{
	if (virtio)
		virtio_put(c);
	else
		uart_put(c);
}

unsigned console_intid(void)
{
	return virtio ? VIRTIO_INTID : UART_INTID;
}

static void drain(void)
{
	int byte;

	while (head - tail < sizeof(received) && (byte = virtio ? virtio_take() : uart_take()) >= 0)
		received[head++ % sizeof(received)] = (unsigned char)byte;
}

static void on_receive(unsigned intid, struct frame *frame)
{
	(void)intid;
	(void)frame;
	if (virtio)
		virtio_acknowledge();
	drain();
}

void console_enable_wakeup(void)
{
	unsigned intid = console_intid();

	gic_set_handler(intid, on_receive);
	gic_set_priority(intid, PRIORITY_CONSOLE);
	gic_set_route(intid, 0);
	gic_enable(intid);
	if (!virtio)
		uart_enable_receive();
}

int console_get(void)
{
	drain();
	return head == tail ? -1 : received[tail++ % sizeof(received)];
}

bool console_received(void)
{
	return load(head) != load(tail);
}

uintptr_t console_newline_address(void)
{
	return virtio ? VIRTIO_NOTIFY : UART_BASE;
}

uint32_t console_newline_value(void)
{
	return virtio ? VIRTIO_TRANSMIT : '\n';
}

void console_prepare_newline(void)
{
	if (virtio)
		virtio_prepare('\n');
}
