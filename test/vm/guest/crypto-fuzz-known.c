// SPDX-License-Identifier: MIT
/* Known answers in between: in memory of the program's, and in a mapping that nobody else knows of */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crypto-fuzz.h"

static const uint8_t key[] = "\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c";
static const uint8_t first_iv[] = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
static const uint8_t plain[] = "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a";
static const uint8_t secret[] = "\x76\x49\xab\xac\x81\x19\xb2\x46\xce\xe9\x8e\x9b\x12\xe9\x19\x7d";

/* Encrypts so many bytes, of which the first 16 are known, and decrypts them: they come out again. */
static void known_in(struct thread *t, int fd, uint32_t ses, uint8_t *at, size_t bytes,
		     const char *where)
{
	uint8_t iv[16];
	struct crypt_op c = { .ses = ses, .len = bytes, .src = at, .dst = at, .iv = iv };

	memcpy(iv, first_iv, 16);
	guard_set(at, bytes);
	memset(at, t->fill, bytes);
	memcpy(at, plain, 16);
	if (ioctl(fd, CIOCCRYPT, &c))
		return;
	guard_check(at, bytes, where);
	leak_check(t, at, bytes, where);
	if (!fuzz_lying && memcmp(at, secret, 16))
		fault("%s: not the known ciphertext", where);
	c.op = 1;
	if (ioctl(fd, CIOCCRYPT, &c))
		return;
	guard_check(at, bytes, where);
	if (fuzz_lying)
		return;
	if (memcmp(at, plain, 16))
		fault("%s: not the plaintext again", where);
	for (size_t i = 16; i < bytes; i++)
		if (at[i] != t->fill)
			fault("%s: byte %zu of %zu is wrong", where, i, bytes);
	__atomic_add_fetch(&shared->known, 1, __ATOMIC_RELAXED);
}

/*
 * Open under a number that no other file gets: another thread that still uses the number of a file that
 * was closed would use this one.
 */
static int open_apart(void)
{
	int low = open(fuzz_path, O_RDWR | O_CLOEXEC), fd;

	if (low < 0)
		return -1;
	fd = fcntl(low, F_DUPFD_CLOEXEC, 512);
	close(low);
	return fd;
}

void known_answers(struct thread *t)
{
	struct session_op s = { .cipher = CRYPTO_AES_CBC, .keylen = 16, .key = (uint8_t *)key };
	size_t bytes = (random_below(t, random_below(t, 4) ? 16 : 1200) + 1) * 16;
	int fd = open_apart();
	uint8_t *at;

	if (fd < 0)
		return;
	if (ioctl(fd, CIOCGSESSION, &s))
		goto out;
	known_in(t, fd, s.ses, own_memory(t, bytes), bytes, "known answers in own memory");
	at = mmap(t->slot, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (at == MAP_FAILED)
		goto out;
	known_in(t, fd, s.ses, at + GUARD + random_below(t, 5000), bytes,
		 "known answers in mapped memory");
	munmap(at, 8 * PAGE);
out:
	close(fd);
}
