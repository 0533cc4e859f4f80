// SPDX-License-Identifier: MIT
/*
 * Memory for random calls. What threads fight over lies in one range of addresses that is taken at the
 * start, and everything that is mapped later is mapped there: no address of it can become part of a
 * stack or of another thread's own memory. So no thread is ever hit by what another one unmaps.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crypto-fuzz.h"

/* A thread's own: a hole, what it writes, a hole, what it may only read, a hole, small things, a hole */
#define OWN_BYTES	(LONGEST + 16 * PAGE)
#define OWN_RW		PAGE
#define OWN_RO		(OWN_RW + OWN_BYTES + PAGE)
#define OWN_RO_BYTES	(16 * PAGE)
#define OWN_SMALL	(OWN_RO + OWN_RO_BYTES + PAGE)
#define OWN_SMALL_BYTES	(2 * PAGE)
#define OWN_ALL		(OWN_SMALL + OWN_SMALL_BYTES + PAGE)

/* Mappings of files, which all threads change */
#define SLOTS		12
#define SLOT_BYTES	(16ul << 20)
/* And memory that all write, at its end a hole */
#define COMMON_BYTES	(LONGEST + 16 * PAGE)

static uint8_t *slots, *common, *private_slots;

uint32_t random_below(struct thread *t, uint32_t limit)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (uint32_t)(t->random >> 32) % limit;
}

static uint8_t *take(size_t bytes, int prot)
{
	void *at = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		fault("no memory for the fuzzer itself");
		_exit(1);
	}
	return at;
}

void memory_reserve(void)
{
	slots = take(SLOTS * SLOT_BYTES, PROT_NONE);
	private_slots = take(THREADS_MAX * SLOT_BYTES, PROT_NONE);
	common = take(COMMON_BYTES + PAGE, PROT_NONE);
	mprotect(common, COMMON_BYTES, PROT_READ | PROT_WRITE);
}

void memory_of(struct thread *t, unsigned int n)
{
	t->own = take(OWN_ALL, PROT_NONE);
	mprotect(t->own + OWN_RW, OWN_BYTES, PROT_READ | PROT_WRITE);
	mprotect(t->own + OWN_RO, OWN_RO_BYTES, PROT_READ);
	mprotect(t->own + OWN_SMALL, OWN_SMALL_BYTES, PROT_READ | PROT_WRITE);
	t->slot = private_slots + n * SLOT_BYTES;
	if (pipe2(t->pipe, O_NONBLOCK | O_CLOEXEC))
		t->pipe[0] = t->pipe[1] = -1;
}

uint8_t *own_memory(struct thread *t, size_t bytes)
{
	size_t room = OWN_BYTES - bytes - 2 * GUARD;
	/* Mostly near the start, so that not all of it is ever touched */
	size_t near = random_below(t, 8) && room > 8 * PAGE ? 8 * PAGE : room;
	size_t at = random_below(t, near + 1);

	switch (random_below(t, 4)) {
	case 0:
		/* Against the end, so that one byte more would fault */
		return t->own + OWN_RW + OWN_BYTES - bytes - GUARD;
	case 1:
		return t->own + OWN_RW + GUARD + at;
	default:
		return t->own + OWN_RW + GUARD + (at & ~63ul);
	}
}

uint8_t *own_small(struct thread *t, unsigned int n)
{
	return t->own + OWN_SMALL + n * 1024 + GUARD;
}

int is_own(const struct thread *t, const void *at)
{
	return (const uint8_t *)at >= t->own && (const uint8_t *)at < t->own + OWN_ALL;
}

uint8_t *bad_memory(struct thread *t, size_t bytes)
{
	static const uint64_t nowhere[] = {
		0, 1, PAGE - 1, 0xffff888000000000, 0xffffffff81000000, UINT64_MAX,
		UINT64_MAX - PAGE, 0x7ffffffff000 - 16, 0x800000000000, 0x8000000000000000,
	};

	switch (random_below(t, 6)) {
	case 0:
		return (uint8_t *)nowhere[random_below(t, sizeof(nowhere) / sizeof(*nowhere))];
	case 1:
		return t->own + OWN_RO + random_below(t, PAGE);
	case 2:
		return t->own + OWN_RO + OWN_RO_BYTES - bytes / 2;
	case 3:
		/* Before the start */
		return t->own + OWN_RW - 1 - random_below(t, bytes / 2 + 1);
	case 4:
		return common + COMMON_BYTES - random_below(t, bytes + 1);
	default:
		/* Of the hole at the very end, which is followed by who knows what */
		return t->own + OWN_SMALL - PAGE + random_below(t, 64);
	}
}

uint8_t *common_memory(struct thread *t, size_t bytes)
{
	return common + random_below(t, COMMON_BYTES - bytes);
}

uint8_t *mapped_memory(struct thread *t, size_t bytes)
{
	uint8_t *slot = slots + random_below(t, SLOTS) * SLOT_BYTES;
	size_t most = SLOT_BYTES - bytes - 1;

	switch (random_below(t, 5)) {
	case 0:
		return slot;
	case 1:
		return slot + random_below(t, most < 70000 ? most : 70000);
	case 2:
		/* Of what is behind mappings of a few pages, part */
		return slot + random_below(t, 4) * PAGE + PAGE - random_below(t, 600) % PAGE;
	case 3:
		return slot + random_below(t, most);
	default:
		return slot + random_below(t, 8) * PAGE;
	}
}

static size_t mapping_bytes(struct thread *t)
{
	switch (random_below(t, 200)) {
	case 0:
		return SLOT_BYTES;
	case 1 ... 2:
		return (random_below(t, 4) + 1) << 20;
	default:
		return (random_below(t, random_below(t, 4) ? 8 : 64) + 1) * PAGE;
	}
}

static uint8_t *any_slot(struct thread *t)
{
	return slots + random_below(t, SLOTS) * SLOT_BYTES;
}

int memory_map(struct thread *t, int fd)
{
	int prot = random_below(t, 8) ? PROT_READ | PROT_WRITE : (int)random_below(t, 4);
	int flags = random_below(t, 16) ? MAP_SHARED : MAP_PRIVATE;
	off_t offset = random_below(t, 32) ? 0 : random_below(t, 4) * PAGE;
	size_t bytes = mapping_bytes(t);

	if (!random_below(t, 8))
		flags |= MAP_POPULATE;
	return mmap(any_slot(t), bytes, prot, flags | MAP_FIXED, fd, offset) == MAP_FAILED ? -1 : 0;
}

int memory_unmap(struct thread *t)
{
	uint8_t *slot = any_slot(t);

	/* All of it, the start, or from the middle */
	switch (random_below(t, 3)) {
	case 0:
		return munmap(slot, SLOT_BYTES);
	case 1:
		return munmap(slot, (random_below(t, 4) + 1) * PAGE);
	default:
		return munmap(slot + (random_below(t, 8) + 1) * PAGE,
			      (random_below(t, 8) + 1) * PAGE);
	}
}

int memory_move(struct thread *t)
{
	size_t from = (random_below(t, 8) + 1) * PAGE;
	/* Shrunk, moved or grown, which such a mapping can't be; or mapped once more */
	size_t to = random_below(t, 4) ? from : (random_below(t, 12) + 1) * PAGE;
	uint8_t *slot = any_slot(t) + (random_below(t, 3) ? 0 : PAGE);

	if (!random_below(t, 6))
		from = 0;
	/* Only to where it is told: elsewhere may be somebody's own. */
	return mremap(slot, from, to, MREMAP_MAYMOVE | MREMAP_FIXED, any_slot(t)) == MAP_FAILED ?
	       -1 : 0;
}

int memory_protect(struct thread *t)
{
	size_t first = random_below(t, 8), pages = random_below(t, 8) + 1;

	if (!random_below(t, 3))
		return madvise(any_slot(t) + first * PAGE, pages * PAGE,
			       random_below(t, 2) ? MADV_DONTNEED : MADV_DONTFORK);
	return mprotect(any_slot(t) + first * PAGE, pages * PAGE, random_below(t, 4));
}

/* A page that a pipe has got hold of outlives its mapping. */
int memory_splice(struct thread *t)
{
	struct iovec iov = { any_slot(t) + random_below(t, 4) * PAGE, PAGE };
	char bytes[PAGE];

	if (random_below(t, 2))
		return read(t->pipe[0], bytes, sizeof(bytes)) < 0 ? -1 : 0;
	return vmsplice(t->pipe[1], &iov, 1, SPLICE_F_NONBLOCK) < 0 ? -1 : 0;
}

static uint8_t guard_byte(const uint8_t *at)
{
	return 0x31 + ((uintptr_t)at & 7);
}

void guard_set(uint8_t *at, size_t bytes)
{
	for (int i = 1; i <= GUARD; i++) {
		at[-i] = guard_byte(at - i);
		at[bytes + i - 1] = guard_byte(at + bytes + i - 1);
	}
}

void guard_check(const uint8_t *at, size_t bytes, const char *what)
{
	for (int i = 1; i <= GUARD; i++) {
		if (at[-i] != guard_byte(at - i))
			fault("%s: byte %d before %zu bytes was written", what, i, bytes);
		if (at[bytes + i - 1] != guard_byte(at + bytes + i - 1))
			fault("%s: byte %d after %zu bytes was written", what, i, bytes);
	}
}

static int is_foreign(const struct thread *t, uint8_t byte)
{
	/* Freed and new objects, freed pages; what processes fill their sources with */
	return byte == 0x6b || byte == 0x5a || byte == 0xaa || byte == 0xcc ||
	       ((byte & 0xe0) == 0x80 && byte != t->fill);
}

void leak_check(const struct thread *t, const uint8_t *at, size_t bytes, const char *what)
{
	size_t run = 1;

	for (size_t i = 1; i < bytes; i++) {
		run = at[i] == at[i - 1] ? run + 1 : 1;
		if (run == 24 && is_foreign(t, at[i]))
			fault("%s: %zu bytes hold a run of %02x that is not the program's", what,
			      bytes, at[i]);
	}
}
