// SPDX-License-Identifier: MIT
/*
 * Data as text. A word is hexadecimal, "-" for none, or ~BYTES:SEED for bytes that both sides can
 * make, so that a line stays short. Answers are hexadecimal, or "#" and a CRC-32.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cryptodev-tool.h"

/* Marsaglia's xorshift; test/support/crypto-calls.ts has the same. */
void fill(uint8_t *out, size_t n, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		out[i] = x;
	}
}

size_t bytes_of(const char *word, uint8_t *out, size_t max)
{
	size_t n = 0;

	if (!strcmp(word, "-"))
		return 0;
	if (word[0] == '~') {
		const char *seed = strchr(word, ':');

		n = strtoul(word + 1, NULL, 10);
		if (n > max)
			n = max;
		fill(out, n, seed ? strtoul(seed + 1, NULL, 10) : 0);
		return n;
	}
	for (; word[0] && word[1] && n < max; word += 2) {
		unsigned int byte;

		sscanf(word, "%2x", &byte);
		out[n++] = byte;
	}
	return n;
}

void print_hex(const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (n == 0)
		putchar('-');
	for (size_t i = 0; i < n; i++) {
		putchar(digits[bytes[i] >> 4]);
		putchar(digits[bytes[i] & 15]);
	}
}

void print_sum(const uint8_t *bytes, size_t n)
{
	static uint32_t table[256];
	uint32_t crc = ~0u;

	for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
		uint32_t x = i;

		for (int bit = 0; bit < 8; bit++)
			x = (x >> 1) ^ (x & 1 ? 0xedb88320 : 0);
		table[i] = x;
	}
	for (size_t i = 0; i < n; i++)
		crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 255];
	printf("#%08x", ~crc);
}

/* "ok", or the errno of what failed */
void answer(int failed)
{
	if (failed)
		printf("error %d\n", errno);
	else
		puts("ok");
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}
