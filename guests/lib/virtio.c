/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual I/O Device (VIRTIO) 1.3: 4.2.4 the legacy layout of virtio-mmio, which is QEMU's default and takes the fewest
 * accesses; 2.7 split virtqueues; 5.3 the console, without any of its features.
 */
#include "virtio.h"

#include <stdint.h>

#include "cpu.h"

#define MAGIC			(VIRTIO_BASE + 0x00)
#define VERSION			(VIRTIO_BASE + 0x04)
#define DEVICE_ID		(VIRTIO_BASE + 0x08)
#define GUEST_FEATURES		(VIRTIO_BASE + 0x20)
#define GUEST_PAGE_SIZE		(VIRTIO_BASE + 0x28)
#define QUEUE_SEL		(VIRTIO_BASE + 0x30)
#define QUEUE_NUM		(VIRTIO_BASE + 0x38)
#define QUEUE_ALIGN		(VIRTIO_BASE + 0x3c)
#define QUEUE_PFN		(VIRTIO_BASE + 0x40)
#define INTERRUPT_STATUS	(VIRTIO_BASE + 0x60)
#define INTERRUPT_ACK		(VIRTIO_BASE + 0x64)
#define STATUS			(VIRTIO_BASE + 0x70)

#define MAGIC_VALUE		0x74726976u	/* "virt" */
#define LEGACY			1
#define CONSOLE			3
#define STATUS_DRIVER		3u		/* ACKNOWLEDGE, DRIVER */
#define STATUS_DRIVER_OK	7u
#define RECEIVE			0		/* the queue */
#define PAGE			4096u
#define ALIGN			64u		/* of the used ring */
#define ENTRIES			2u		/* one is in use */
#define DEVICE_WRITES		2u		/* of a descriptor */
#define NO_INTERRUPT		1u		/* of the available ring */
#define BYTES			1024		/* longer lines leave in pieces */

static struct queue {
	struct {
		uint64_t address;
		uint32_t length;
		uint16_t flags, next;
	} descriptor[ENTRIES];
	uint16_t available_flags, available_index, available[ENTRIES];
	struct {
		uint16_t flags, index;
		struct {
			uint32_t id, length;
		} entry[ENTRIES];
	} used __attribute__((aligned(ALIGN)));
} __attribute__((aligned(PAGE))) queues[2];

static char receive_buffer[64], transmit_buffer[BYTES];
static unsigned filled;		/* of the transmit buffer */
static unsigned taken;		/* of what was received last */

static void set_up(unsigned number, char *buffer, uint32_t length, uint16_t flags, uint16_t available_flags)
{
	struct queue *queue = &queues[number];

	queue->descriptor[0].address = (uintptr_t)buffer;
	queue->descriptor[0].length = length;
	queue->descriptor[0].flags = flags;
	queue->available_flags = available_flags;
	write32(QUEUE_SEL, number);
	write32(QUEUE_NUM, ENTRIES);
	write32(QUEUE_ALIGN, ALIGN);
	write32(QUEUE_PFN, (uint32_t)((uintptr_t)queue / PAGE));
}

/* Descriptor 0 is the device's again; available[] names nothing else. */
static void offer(struct queue *queue)
{
	store(queue->available_index, (uint16_t)(queue->available_index + 1));
	dsb();
}

bool virtio_init(void)
{
	if (read32(MAGIC) != MAGIC_VALUE || read32(VERSION) != LEGACY || read32(DEVICE_ID) != CONSOLE)
		return false;
	write32(STATUS, 0);
	write32(STATUS, STATUS_DRIVER);
	write32(GUEST_FEATURES, 0);
	write32(GUEST_PAGE_SIZE, PAGE);
	set_up(RECEIVE, receive_buffer, sizeof(receive_buffer), DEVICE_WRITES, 0);
	set_up(VIRTIO_TRANSMIT, transmit_buffer, 0, 0, NO_INTERRUPT);
	offer(&queues[RECEIVE]);
	write32(STATUS, STATUS_DRIVER_OK);
	write32(VIRTIO_NOTIFY, RECEIVE);
	return true;
}

/* Wait until the device has taken the line before. */
static void settle(void)
{
	struct queue *queue = &queues[VIRTIO_TRANSMIT];

	while (load(queue->used.index) != queue->available_index)
		asm volatile("yield");
}

void virtio_prepare(char last)
{
	struct queue *queue = &queues[VIRTIO_TRANSMIT];

	settle();
	transmit_buffer[filled++] = last;
	queue->descriptor[0].length = filled;
	filled = 0;
	offer(queue);
}

void virtio_put(char c)
{
	if (c != '\n' && filled < BYTES - 1) {
		settle();
		transmit_buffer[filled++] = c;
		return;
	}
	virtio_prepare(c);
	write32(VIRTIO_NOTIFY, VIRTIO_TRANSMIT);
	settle();
}

int virtio_take(void)
{
	struct queue *queue = &queues[RECEIVE];

	if (load(queue->used.index) != queue->available_index)
		return -1;
	if (taken < queue->used.entry[(queue->available_index - 1) % ENTRIES].length)
		return (unsigned char)receive_buffer[taken++];
	taken = 0;
	offer(queue);
	write32(VIRTIO_NOTIFY, RECEIVE);
	return -1;
}

void virtio_acknowledge(void)
{
	write32(INTERRUPT_ACK, read32(INTERRUPT_STATUS));
}
