/* SPDX-License-Identifier: Apache-2.0 */
/* The few string functions a guest needs, and the memory functions the compiler calls. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

size_t text_length(const char *text);
bool text_equal(const char *a, const char *b);
bool text_starts(const char *text, const char *start);

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
