/* SPDX-License-Identifier: Apache-2.0 */
/* Typed arguments from the boot arguments. An unknown key or value is a panic that names it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct argument {
	const char *key;
	const char *const *words;	/* the values, ended by NULL: *value becomes the index; NULL for a number */
	uint64_t low, high;		/* the range of a number, both ends included */
	bool many;			/* a list of words, separated by commas: *value becomes a bit set of their indices */
	uint64_t *value;		/* holds the default until an argument says otherwise */
	bool *marks;			/* in place of `value`, for any number of words: one for each, set where it is listed */
};

#define ARG_NUMBER(name, variable, from, to)	{ .key = name, .low = from, .high = to, .value = &(variable) }
#define ARG_WORD(name, variable, list)		{ .key = name, .words = list, .value = &(variable) }
#define ARG_WORDS(name, variable, list)		{ .key = name, .words = list, .many = true, .value = &(variable) }
#define ARG_MARKS(name, array, list)		{ .key = name, .words = list, .many = true, .marks = (array) }

/* Read all of machine.bootargs by two tables: the library's own and the payload's. */
void args_parse(const struct argument *own, size_t own_count, const struct argument *payload, size_t payload_count);
