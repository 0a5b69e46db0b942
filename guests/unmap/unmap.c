/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two LPIs of two devices, and a lifecycle; then one device or its event is unmapped, its translation table is used for
 * something else, and there is a second lifecycle. What was unmapped must be neither there nor in the way.
 * README.md has the details.
 */
#include "guest.h"
#include "its.h"

enum what { DEVICE, EVENT };
enum sabotage { HONEST, KEEPS };

static const char *const what_names[] = { "device", "event", NULL };
static const char *const sabotage_names[] = { "none", "keeps", NULL };

static struct {
	uint64_t what, settle_us, sabotage;
} arg = { .settle_us = 2000 };

enum { STAYS, GOES, LPIS };	/* each is the number of its device's translation table, too */
#define EVENT_ID	5

static struct its_tables tables;
static const uint32_t devices[LPIS] = { 0x10, 0x11 };
static unsigned came[LPIS], due[LPIS];

static void on_lpi(unsigned intid, struct frame *frame)
{
	(void)frame;
	if (intid - FIRST_LPI < LPIS) {
		store(came[intid - FIRST_LPI], came[intid - FIRST_LPI] + 1);
		say("irq cpu=0 intid=%u n=%u", intid, came[intid - FIRST_LPI]);
	} else {
		check(false, "LPI %u came, which was never mapped", intid);
	}
}

static void map(unsigned i)
{
	its_map_device(i, devices[i]);
	its_set_property(FIRST_LPI + i, 0x80, true);
	its_map_event(devices[i], EVENT_ID, FIRST_LPI + i, 0);
	its_invalidate(devices[i], EVENT_ID);
}

/* Send both interrupts, and see which have come. */
static void send(const char *when, bool both)
{
	for (unsigned i = 0; i < LPIS; i++) {
		due[i] += i == STAYS || both;
		its_interrupt(devices[i], EVENT_ID);
	}
	delay_us(arg.settle_us);
	for (unsigned i = 0; i < LPIS; i++)
		check(load(came[i]) == due[i], "%s: LPI %u came %u times, expected %u", when, FIRST_LPI + i, came[i], due[i]);
}

static void unmap(void)
{
	if (arg.sabotage == KEEPS)
		return;
	if (arg.what == EVENT) {
		its_discard(devices[GOES], EVENT_ID);
		return;
	}
	its_unmap_device(devices[GOES]);
	memset(tables.translations[GOES], 0xa5, sizeof(tables.translations[GOES]));	/* it is ours again */
	dsb();
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_WORD("what", arg.what, what_names),
		ARG_NUMBER("settle_us", arg.settle_us, 1, 1000000),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};

	guest_begin("unmap", table, ARRAY_SIZE(table));
	if (!gic_has_lpis())
		skip("there is no ITS");
	gic_set_handler(FIRST_LPI, on_lpi);
	its_init(&tables);
	its_cpu_init();
	its_map_collections();
	for (unsigned i = 0; i < LPIS; i++)
		map(i);
	send("before the lifecycle", true);
	ask();
	send("after the first lifecycle", true);
	unmap();
	send("unmapped", false);
	ask();
	send("after the second lifecycle", false);
	if (arg.what == DEVICE) {
		memset(tables.translations[GOES], 0, sizeof(tables.translations[GOES]));
		dsb();
	}
	map(GOES);
	send("mapped again", true);
	finish();
}
