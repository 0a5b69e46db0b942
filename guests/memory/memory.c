/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of checksummed nodes, linked in a random order over the working set. The last vCPU rewrites it all the time,
 * also while the machine is interrupted: contents, links and order. Where a node is in the ring and how often the cursor
 * has passed it gives every bit of it, so a lost, torn or outdated page cannot look right. README.md has the details.
 */
#include "guest.h"

enum sabotage { HONEST, FLIP, STOP_HEART };

static const char *const sabotage_names[] = { "none", "flip", "stop-heart", NULL };

static struct {
	uint64_t kib, sabotage;
} arg = { .kib = 256 };

#define ROUNDS_AFTER	2	/* how often the whole ring is rewritten between the two verifications */
#define MAX_FAILS	16	/* after that many bad nodes the rest of the ring is not looked at */
#define MIX		0x9e3779b97f4a7c15UL	/* 2^64 / golden ratio: spreads neighbouring numbers */

struct node {
	struct node *next;
	uint64_t sequence;	/* position in the ring, from 0 */
	uint64_t round;		/* when it was last rewritten */
	uint64_t data[4];
	uint64_t checksum;
};

/* Between two steps, nodes 0 to `position` carry `round`, the others the round before. Only the writer writes these. */
static struct {
	struct node *cursor;
	uint64_t position, round;
	uint64_t sum;		/* of all checksums */
	bool broken;		/* what the cursor met was not what it had left there */
} ring;

static struct node *nodes;	/* the working set: from the end of the image on */
static uint64_t count;
static uint64_t beats;		/* steps made: nodes rewritten or verified */
static uint64_t wake_at;	/* the beat at which vCPU 0 wants to be woken */
static bool go;			/* the lifecycle is over */
static bool stop;		/* the writer may end */
static bool tell;		/* the writer was asked how things stand */
static unsigned asked, answered;	/* verifications */

extern char _end[];

static uint64_t mix(uint64_t value)
{
	value *= MIX;
	value = (value ^ value >> 29) * MIX;
	return value ^ value >> 32;
}

static uint64_t datum(uint64_t sequence, uint64_t round, unsigned i)
{
	return mix(sequence * ARRAY_SIZE(nodes->data) + i + mix(round));
}

/* Depends on the address, so that a node in the wrong place is a bad node. */
static uint64_t checksum(const struct node *node)
{
	uint64_t sum = mix((uintptr_t)node ^ mix((uintptr_t)node->next ^ mix(node->sequence ^ mix(node->round))));

	for (unsigned i = 0; i < ARRAY_SIZE(node->data); i++)
		sum = mix(sum ^ node->data[i]);
	return sum;
}

static bool in_working_set(const struct node *node)
{
	uintptr_t offset = (uintptr_t)node - (uintptr_t)nodes;

	return offset < count * sizeof(*node) && offset % sizeof(*node) == 0;
}

static void rewrite(struct node *node, struct node *next, uint64_t sequence, uint64_t round)
{
	ring.sum -= node->checksum;
	node->next = next;
	node->sequence = sequence;
	node->round = round;
	for (unsigned i = 0; i < ARRAY_SIZE(node->data); i++)
		node->data[i] = datum(sequence, round, i);
	node->checksum = checksum(node);
	ring.sum += node->checksum;
}

/* Whether the node is what was last written for this place in the ring; a false answer has been reported. */
static bool verify_node(const struct node *node, uint64_t sequence, uint64_t round)
{
	unsigned bad = 0;

	if (!check(in_working_set(node), "node %lu: the link to it is %#lx", sequence, (uintptr_t)node))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(node->data); i++)
		bad += node->data[i] != datum(sequence, round, i);
	return check(node->sequence == sequence && node->round == round && !bad && node->checksum == checksum(node),
		     "node %lu at %#lx: sequence %lu, round %lu, expected %lu; %u of 4 words wrong; checksum %#lx, has %#lx",
		     sequence, (uintptr_t)node, node->sequence, node->round, round, bad, checksum(node),
		     node->checksum);
}

/* The same without a word, for the path that runs all the time. */
static bool intact(const struct node *node, uint64_t sequence)
{
	return in_working_set(node) && node->sequence == sequence && node->round == ring.round - 1 &&
	       node->checksum == checksum(node);
}

static void say_beat(void)
{
	say("beat cpu=%lu n=%lu", vcpus - 1, load(beats));
}

/* The writer answers for itself: if its vCPU does not run, there is no answer. */
static void answer(void)
{
	if (load(tell)) {
		store(tell, false);
		say_beat();
	}
}

/* Once round the ring: each node right, in order, none lost, none met twice. */
static void verify(void)
{
	struct node *node = nodes;	/* node 0 never moves */
	unsigned fails = 0;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count && fails < MAX_FAILS; i++) {
		fails += !verify_node(node, i, i <= ring.position ? ring.round : ring.round - 1);
		if (!in_working_set(node))
			return;
		sum += node->checksum;
		node = node->next;
		store(beats, beats + 1);	/* who asks hears that it goes on */
		answer();
	}
	if (fails == MAX_FAILS)
		return;
	check(node == nodes, "after %lu nodes the ring leads to %#lx, not back to %#lx", count, (uintptr_t)node,
	      (uintptr_t)nodes);
	check(sum == ring.sum, "the sum of all checksums is %#lx, expected %#lx", sum, ring.sum);
}

/* The cursor has met a node that is not as it was left: say what is wrong with it and stop. */
static void give_up(const struct node *node, uint64_t sequence)
{
	verify_node(node, sequence, ring.round - 1);
	store(ring.broken, true);
	smp_wake(0);
}

/* Move the cursor on by one node, which is rewritten; every other time the next two change places before. */
static void step(void)
{
	struct node *here = ring.cursor, *next = here->next;
	uint64_t place = ring.position + 1;

	if (place == count) {
		ring.round++;
		ring.position = 0;
		ring.cursor = nodes;
		rewrite(nodes, nodes->next, 0, ring.round);
		return;
	}
	if (!intact(next, place)) {
		give_up(next, place);
		return;
	}
	if (place + 1 < count && mix(ring.round ^ place) & 1) {
		struct node *after = next->next;

		if (!intact(after, place + 1)) {
			give_up(after, place + 1);
			return;
		}
		rewrite(here, after, ring.position, ring.round);
		rewrite(next, after->next, place + 1, ring.round - 1);
		rewrite(after, next, place, ring.round);
		next = after;
	} else {
		rewrite(next, next->next, place, ring.round);
	}
	ring.cursor = next;
	ring.position = place;
}

/* What the writer does again and again. */
static void work(void)
{
	answer();
	if (load(answered) != load(asked)) {
		if (arg.sabotage == FLIP && answered == 1)	/* the first one after the lifecycle */
			nodes[count / 2].data[1] ^= 1UL << 37;
		verify();
		store(answered, answered + 1);
		smp_wake(0);
	}
	if (ring.broken || (arg.sabotage == STOP_HEART && load(go)))
		return;
	step();
	store(beats, beats + 1);
	if (beats == load(wake_at))
		smp_wake(0);
}

/* One cycle through all nodes in a random order (Sattolo's shuffle of the links), then everything else. */
static void build(void)
{
	struct node *node = nodes;

	for (uint64_t i = 0; i < count; i++) {
		nodes[i].next = &nodes[i];
		nodes[i].checksum = 0;
	}
	for (uint64_t i = count - 1; i > 0; i--) {
		uint64_t j = mix(i) % i;
		struct node *link = nodes[i].next;

		nodes[i].next = nodes[j].next;
		nodes[j].next = link;
	}
	ring.round = 1;
	ring.cursor = nodes;
	for (uint64_t i = 0; i < count; i++, node = node->next)
		rewrite(node, node->next, i, i == 0 ? 1 : 0);
}

static void have_told(void)
{
	store(tell, true);
}

static bool verified(void)
{
	return load(answered) == load(asked);
}

static bool beaten_or_broken(void)
{
	return load(beats) >= load(wake_at) || load(ring.broken);
}

/* On vCPU 0: have the writer verify, wait for it. False if the harness ended the wait. */
static bool have_verified(void (*busy)(void))
{
	store(asked, asked + 1);
	return wait_for_busy(verified, have_told, busy);
}

static void watch(void)
{
	void (*busy)(void) = vcpus == 1 ? work : NULL;
	uint64_t before;
	bool in_time;

	if (!have_verified(busy))
		panic("ended before now");
	say("arranged cpu=%lu kib=%lu nodes=%lu base=%#lx round=%lu", vcpus - 1, arg.kib, count, (uintptr_t)nodes,
	    ring.round);
	ask_busy(busy);
	store(go, true);
	say_beat();
	in_time = have_verified(busy);
	before = load(beats);
	store(wake_at, before + ROUNDS_AFTER * count);
	in_time = in_time && wait_for_busy(beaten_or_broken, have_told, busy);
	check(load(beats) >= wake_at, "the heart beat %lu times after the lifecycle, expected %lu", load(beats) - before,
	      ROUNDS_AFTER * count);
	if (in_time)
		have_verified(busy);
	say_beat();
	store(stop, true);
}

static void run(void *unused)
{
	(void)unused;
	if (cpu_index() == 0)
		watch();
	else if (cpu_index() == vcpus - 1)
		while (!load(stop))
			work();
}

void guest_main(void)
{
	static const struct argument table[] = {
		ARG_NUMBER("kib", arg.kib, 4, 1 << 20),
		ARG_WORD("sabotage", arg.sabotage, sabotage_names),
	};
	uintptr_t room;

	guest_begin("memory", table, ARRAY_SIZE(table));
	nodes = (struct node *)(((uintptr_t)_end + 4095) & ~4095UL);
	count = arg.kib * 1024 / sizeof(*nodes);
	room = machine.ram_base + machine.ram_size - (uintptr_t)nodes;
	if (arg.kib * 1024 > room)
		panic("kib=%lu is more than the %lu KiB there are", arg.kib, room / 1024);
	build();
	smp_call_all(run, NULL);
	finish();
}
