/* SPDX-License-Identifier: MIT */
/* crypto-fuzz: what its files share */
#ifndef CRYPTO_FUZZ_H
#define CRYPTO_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "cryptodev.h"

#define PAGE		4096ul
#define THREADS_MAX	16
#define GUARD		64

/* The longest call: three times what the device takes at once */
#define LONGEST		(3ul << 20)

/* What processes tell the one that started them */
struct shared {
	uint64_t calls, succeeded, killed, known;
	/* Whether what went wrong has been said; then nobody says more. */
	uint32_t faults;
	char fault[256];
	/* By number in the order in which calls stand in the table */
	uint64_t tried[32], worked[32];
	uint64_t errors[256];
};

extern struct shared *shared;
extern const char *fuzz_path;
/* The device may say anything: of what it gives only where it went is checked. */
extern int fuzz_lying;

struct thread {
	uint64_t random;
	/* Memory of this thread's alone, see crypto-fuzz-memory.c */
	uint8_t *own;
	/* Where it alone maps its own file */
	uint8_t *slot;
	/* What its sources are filled with: another process has another one. */
	uint8_t fill;
	int pipe[2];
	int is_child;
};

/* crypto-fuzz.c */
void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* crypto-fuzz-calls.c */
extern const char *const call_names[];
void calls_init(void);
/* One call, of any kind */
void call(struct thread *t);

/* crypto-fuzz-known.c */
void known_answers(struct thread *t);

/* crypto-fuzz-memory.c */
uint32_t random_below(struct thread *t, uint32_t limit);
void memory_reserve(void);
void memory_of(struct thread *t, unsigned int n);
/* Somewhere in the thread's own, with room for @bytes and guards on both sides; odd at times */
uint8_t *own_memory(struct thread *t, size_t bytes);
/* The place for small things: number @n of 8, of at most 512 bytes */
uint8_t *own_small(struct thread *t, unsigned int n);
/* Memory that can't be used, or not as a whole: nowhere, the kernel's, half a mapping, read-only */
uint8_t *bad_memory(struct thread *t, size_t bytes);
/* Memory that others may write and unmap at any time: it is never looked at */
uint8_t *common_memory(struct thread *t, size_t bytes);
/* In a mapping of the device's file, or where one has been or will be */
uint8_t *mapped_memory(struct thread *t, size_t bytes);
int is_own(const struct thread *t, const void *at);

/* Calls that change the mappings; 0 or -1 with errno */
int memory_map(struct thread *t, int fd);
int memory_unmap(struct thread *t);
int memory_move(struct thread *t);
int memory_protect(struct thread *t);
int memory_splice(struct thread *t);

void guard_set(uint8_t *at, size_t bytes);
void guard_check(const uint8_t *at, size_t bytes, const char *what);
/* No run of what the kernel fills memory with, or of what another process has sent */
void leak_check(const struct thread *t, const uint8_t *at, size_t bytes, const char *what);

#endif
