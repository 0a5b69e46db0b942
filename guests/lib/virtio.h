/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio console on the first virtio-mmio transport, below console.h. */
#pragma once

#include <stdbool.h>

#include "layout.h"

#define VIRTIO_NOTIFY	(VIRTIO_BASE + 0x50)	/* QueueNotify */
#define VIRTIO_TRANSMIT	1			/* the number of its transmit queue */

/* Returns false if there is no console. */
bool virtio_init(void);

/* Lines leave as wholes, at their newline. Returns when the device has taken it. */
void virtio_put(char c);

/* Put the last character of a line and all else in place: a store of VIRTIO_TRANSMIT to VIRTIO_NOTIFY sends it. */
void virtio_prepare(char last);

/* The next byte, or -1; reads memory only. */
int virtio_take(void);

/* Take back the interrupt. */
void virtio_acknowledge(void);
