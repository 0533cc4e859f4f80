// SPDX-License-Identifier: MIT
/*
 * Encrypts 1 MiB with AES-256-CBC where it lies, in memory that is mapped of /dev/crypto: what lies
 * there is copied nowhere. The same is done in memory of the program's own, which the driver has to
 * copy there and back, and both are timed.
 *
 *   cc -O2 -Wall -I linux-driver/include -o mapped linux-driver/examples/mapped.c && ./mapped
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <crypto/cryptodev.h>

#define BYTES	(1 << 20)
#define RUNS	15

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* In place, which is source and destination at once. */
static void work(int fd, uint32_t session, uint16_t direction, uint8_t *data)
{
	uint8_t iv[16] = { 0 };	/* For the example; real messages each have a random one. */
	struct crypt_op op = {
		.ses = session,
		.op = direction,
		.len = BYTES,
		.src = data,
		.dst = data,
		.iv = iv,
	};

	if (ioctl(fd, CIOCCRYPT, &op))
		die("CIOCCRYPT");
}

/* The fastest of several, in milliseconds */
static double fastest(int fd, uint32_t session, uint8_t *data)
{
	double best = 1e9;
	int i;

	for (i = 0; i < RUNS; i++) {
		double began = milliseconds(), took;

		work(fd, session, COP_ENCRYPT, data);
		took = milliseconds() - began;
		if (took < best)
			best = took;
	}
	return best;
}

int main(void)
{
	static const char text[] = "attack at dawn";
	uint8_t key[32];
	struct session_op session = { .cipher = CRYPTO_AES_CBC, .keylen = sizeof(key), .key = key };
	uint8_t *mapped, *own = malloc(BYTES);
	double with, without;
	int fd = open("/dev/crypto", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/crypto");
	if (!own || getrandom(key, sizeof(key), 0) != sizeof(key))
		die("a key, and memory");
	if (ioctl(fd, CIOCGSESSION, &session))
		die("CIOCGSESSION");

	/* Zeroed, and this file's: its calls, and no other's, find the data there. */
	mapped = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		die("mmap of /dev/crypto, which not every driver has");

	memcpy(mapped, text, sizeof(text));
	memset(own, 0, BYTES);
	memcpy(own, text, sizeof(text));
	work(fd, session.ses, COP_ENCRYPT, mapped);
	work(fd, session.ses, COP_ENCRYPT, own);
	if (!memcmp(mapped, text, sizeof(text)) || memcmp(mapped, own, BYTES)) {
		fprintf(stderr, "the ciphertexts are not the same\n");
		return 1;
	}
	work(fd, session.ses, COP_DECRYPT, mapped);
	printf("decrypted: %s\n", (char *)mapped);

	with = fastest(fd, session.ses, mapped);
	without = fastest(fd, session.ses, own);
	printf("1 MiB, mapped: %.3f ms; copied: %.3f ms, %.2f times as long\n", with, without,
	       without / with);

	/* Closing the file ends the session; the memory stays until it is unmapped. */
	close(fd);
	munmap(mapped, BYTES);
	free(own);
	return 0;
}
