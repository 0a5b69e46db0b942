/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <stdbool.h>

#include "machine.h"
#include "say.h"
#include "text.h"

/* Decimal, or hexadecimal after 0x. */
static bool parse_number(const char *text, uint64_t *value)
{
	unsigned base = text_starts(text, "0x") ? 16 : 10;

	text += base == 16 ? 2 : 0;
	if (!*text)
		return false;
	for (*value = 0; *text; text++) {
		unsigned digit = *text >= '0' && *text <= '9' ? (unsigned)(*text - '0') :
				 *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a') + 10 : 99;

		if (digit >= base || __builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, digit, value))
			return false;
	}
	return true;
}

/* The index of the word that ends at a comma or the end of the text; false if there is no such word. */
static bool parse_word(const char *const *words, const char *text, size_t length, uint64_t *index)
{
	for (*index = 0; words[*index]; ++*index)
		if (text_length(words[*index]) == length && memcmp(words[*index], text, length) == 0)
			return true;
	return false;
}

static bool parse_words(const struct argument *argument, const char *text)
{
	uint64_t set = 0;

	for (;; text++) {
		size_t length = 0;
		uint64_t index;

		while (text[length] && text[length] != ',')
			length++;
		if (!parse_word(argument->words, text, length, &index))
			return false;
		if (argument->marks)
			argument->marks[index] = true;
		else
			set |= 1UL << index;
		text += length;
		if (!*text)
			break;
	}
	if (argument->value)
		*argument->value = set;
	return true;
}

static bool parse_value(const struct argument *argument, const char *text)
{
	uint64_t value;

	if (argument->many)
		return parse_words(argument, text);
	if (argument->words) {
		if (!parse_word(argument->words, text, text_length(text), &value))
			return false;
	} else if (!parse_number(text, &value) || value < argument->low || value > argument->high) {
		return false;
	}
	*argument->value = value;
	return true;
}

static const struct argument *find(const struct argument *table, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(key, table[i].key))
			return &table[i];
	return NULL;
}

void args_parse(const struct argument *own, size_t own_count, const struct argument *payload, size_t payload_count)
{
	static char copy[sizeof(machine.bootargs)];
	char *next = copy;

	for (size_t i = 0; i < sizeof(copy); i++)
		copy[i] = machine.bootargs[i];
	while (*next) {
		char *key = next, *value = NULL;
		const struct argument *argument;

		for (; *next && *next != ' '; next++)
			if (*next == '=' && !value) {
				*next = '\0';
				value = next + 1;
			}
		while (*next == ' ')
			*next++ = '\0';
		if (!*key && !value)
			continue;	/* blanks in front */
		argument = find(own, own_count, key);
		if (!argument)
			argument = find(payload, payload_count, key);
		if (!argument || !value)
			panic("unknown argument %s", key);
		if (!parse_value(argument, value))
			panic("unknown value %s=%s", key, value);
	}
}
