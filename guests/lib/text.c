/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdint.h>

size_t text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

bool text_starts(const char *text, const char *start)
{
	while (*start)
		if (*text++ != *start++)
			return false;
	return true;
}

bool text_equal(const char *a, const char *b)
{
	return text_starts(a, b) && a[text_length(b)] == '\0';
}

void *memcpy(void *to, const void *from, size_t bytes)
{
	uint8_t *target = to;
	const uint8_t *source = from;

	while (bytes--)
		*target++ = *source++;
	return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
	uint8_t *target = to;
	const uint8_t *source = from;

	if (target <= source)
		return memcpy(to, from, bytes);
	while (bytes--)
		target[bytes] = source[bytes];
	return to;
}

void *memset(void *to, int value, size_t bytes)
{
	uint8_t *target = to;

	while (bytes--)
		*target++ = (uint8_t)value;
	return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < bytes; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}
