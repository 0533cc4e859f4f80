// SPDX-License-Identifier: MIT
/*
 * Memory that has a name. A place in it is NAME or NAME+OFFSET; a place may be 0xADDRESS, too, and "-"
 * is NULL.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cryptodev-tool.h"

static struct memory {
	char name[32];
	uint8_t *at;
	size_t bytes;
} memories[128];

static struct memory *memory_named(const char *name, size_t n)
{
	for (struct memory *m = memories; m < memories + 128; m++)
		if (strlen(m->name) == n && !memcmp(m->name, name, n))
			return m;
	return NULL;
}

static void name_memory(const char *name, void *at, size_t bytes)
{
	struct memory *m = memory_named(name, strlen(name));

	if (!m)
		m = memory_named("", 0);
	if (!m)
		abort();
	snprintf(m->name, sizeof(m->name), "%s", name);
	m->at = at;
	m->bytes = bytes;
}

uint8_t *place_of(const char *word)
{
	size_t n = strcspn(word, "+");
	struct memory *m;

	if (!strcmp(word, "-"))
		return NULL;
	if (!strncmp(word, "0x", 2))
		return (uint8_t *)strtoul(word, NULL, 16);
	m = memory_named(word, n);
	if (!m) {
		fprintf(stderr, "no memory is named %s\n", word);
		exit(1);
	}
	return m->at + (word[n] ? strtoul(word + n + 1, NULL, 10) : 0);
}

/* The last memory with a name that an address is in */
void print_place(const void *address)
{
	for (struct memory *m = memories + 127; address && m >= memories; m--) {
		size_t offset = (const uint8_t *)address - m->at;

		if (m->at && offset < m->bytes) {
			printf(" %s+%zu", m->name, offset);
			return;
		}
	}
	printf(address ? " ?" : " -");
}

/* anon NAME BYTES */
void do_anon(char **w)
{
	size_t bytes = strtoul(w[2], NULL, 0);
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at != MAP_FAILED)
		name_memory(w[1], at, bytes);
	answer(at == MAP_FAILED);
}

/* map NAME FD BYTES PROT FLAGS OFFSET [PLACE] */
void do_map(char **w)
{
	size_t bytes = strtoul(w[3], NULL, 0);
	int flags = atoi(w[5]) | (w[7] ? MAP_FIXED : 0);
	void *at = mmap(w[7] ? place_of(w[7]) : NULL, bytes, atoi(w[4]), flags, atoi(w[2]),
			strtoul(w[6], NULL, 0));

	if (at != MAP_FAILED)
		name_memory(w[1], at, bytes);
	answer(at == MAP_FAILED);
}

/* unmap PLACE BYTES */
void do_unmap(char **w)
{
	answer(munmap(place_of(w[1]), strtoul(w[2], NULL, 0)));
}

/* move NEW NAME BYTES: a part of a mapping, to where nothing is */
void do_move(char **w)
{
	size_t bytes = strtoul(w[3], NULL, 0);
	void *target = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *at = mremap(place_of(w[2]), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target);

	if (at != MAP_FAILED)
		name_memory(w[1], at, bytes);
	answer(at == MAP_FAILED);
}

/* resize NEW PLACE OLD-BYTES NEW-BYTES; of 0 bytes: mapped once more */
void do_resize(char **w)
{
	size_t bytes = strtoul(w[4], NULL, 0);
	void *at = mremap(place_of(w[2]), strtoul(w[3], NULL, 0), bytes, MREMAP_MAYMOVE);

	if (at != MAP_FAILED)
		name_memory(w[1], at, bytes);
	answer(at == MAP_FAILED);
}

/* put PLACE DATA */
void do_put(char **w)
{
	bytes_of(w[2], place_of(w[1]), MAX);
	puts("ok");
}

/* get PLACE BYTES */
void do_get(char **w)
{
	printf("ok ");
	print_hex(place_of(w[1]), strtoul(w[2], NULL, 0));
	putchar('\n');
}

/* sum PLACE BYTES */
void do_sum(char **w)
{
	printf("ok ");
	print_sum(place_of(w[1]), strtoul(w[2], NULL, 0));
	putchar('\n');
}
