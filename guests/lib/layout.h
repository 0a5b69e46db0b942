/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and fixed addresses that C and assembly share. */
#pragma once

#define MAX_VCPUS	8
#define STACK_SHIFT	14	/* 16 KiB for each vCPU */
#define FRAME_SIZE	272	/* struct frame in exception.h */

/* QEMU's virt machine; any other VMM that runs these guests puts them at the same places. */
#define GICD_BASE	0x08000000UL
#define GITS_BASE	0x08080000UL
#define GICR_BASE	0x080a0000UL
#define GICR_STRIDE	0x20000UL
#define UART_BASE	0x09000000UL
#define UART_INTID	33
#define VIRTIO_BASE	0x0a000000UL	/* bus virtio-mmio-bus.0 */
#define VIRTIO_INTID	48
#define RAM_BASE	0x40000000UL
