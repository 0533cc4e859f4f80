// SPDX-License-Identifier: MIT
/*
 * How fast AES-128-CBC is, one operation of each thread in flight: through /dev/crypto, or through
 * AF_ALG with the kernel's driver of that name. Each thread has a file and a session of its own.
 * With "gcm" it is AES-128-GCM, with "mapped" it works in memory that is mapped of the file.
 * /dev/hwrng is read instead, in pieces that are a virtqueue's bare round trip each.
 *
 *   crypto-bench /dev/crypto[,gcm][,mapped] BYTES MILLISECONDS THREADS
 *   crypto-bench /dev/hwrng 64 MILLISECONDS THREADS
 *   crypto-bench DRIVER BYTES MILLISECONDS THREADS
 *
 * Prints the operations done and the microseconds that they took. Linked statically.
 */
#include <fcntl.h>
#include <linux/if_alg.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cryptodev.h"

/* What AES-GCM's result has behind its ciphertext */
#define TAG 16

static const char *target;
static bool gcm, mapped;
static size_t bytes;
static uint64_t end;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void encrypt(int fd, uint32_t ses, uint8_t *buffer)
{
	uint8_t iv[16] = { 2 };
	struct crypt_op cbc = { .ses = ses, .len = bytes, .src = buffer, .dst = buffer, .iv = iv };
	struct crypt_auth_op aead = { .ses = ses, .len = bytes, .src = buffer, .dst = buffer,
				      .iv = iv, .iv_len = 12 };

	if (gcm ? ioctl(fd, CIOCAUTHCRYPT, &aead) : ioctl(fd, CIOCCRYPT, &cbc))
		die("encrypting");
}

static uintptr_t by_cryptodev(uint8_t *buffer)
{
	uint8_t key[16] = { 1 };
	struct session_op session = { .cipher = gcm ? CRYPTO_AES_GCM : CRYPTO_AES_CBC,
				      .keylen = 16, .key = key };
	int fd = open(target, O_RDWR);
	uintptr_t count = 0;

	if (fd < 0 || ioctl(fd, CIOCGSESSION, &session))
		die(target);
	if (mapped) {
		buffer = mmap(NULL, bytes + TAG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (buffer == MAP_FAILED)
			die("mmap");
		memset(buffer, 0, bytes);
	}
	for (; now() < end; count++)
		encrypt(fd, session.ses, buffer);
	close(fd);
	return count;
}

static uintptr_t by_reading(uint8_t *buffer)
{
	int fd = open(target, O_RDONLY);
	uintptr_t count = 0;

	for (; now() < end; count++)
		if (read(fd, buffer, bytes) != (ssize_t)bytes)
			die(target);
	close(fd);
	return count;
}

static uintptr_t by_af_alg(uint8_t *buffer)
{
	struct sockaddr_alg address = { .salg_family = AF_ALG, .salg_type = "skcipher" };
	char control[CMSG_SPACE(4) + CMSG_SPACE(sizeof(struct af_alg_iv) + 16)] = { 0 };
	struct iovec data = { buffer, bytes };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);
	int family = socket(AF_ALG, SOCK_SEQPACKET, 0), fd;
	uint8_t key[16] = { 1 };
	uintptr_t count = 0;

	strncpy((char *)address.salg_name, target, sizeof(address.salg_name) - 1);
	if (family < 0 || bind(family, (struct sockaddr *)&address, sizeof(address)) ||
	    setsockopt(family, SOL_ALG, ALG_SET_KEY, key, sizeof(key)))
		die(target);
	fd = accept(family, NULL, 0);
	if (fd < 0)
		die("accept");
	part->cmsg_level = SOL_ALG;
	part->cmsg_type = ALG_SET_OP;
	part->cmsg_len = CMSG_LEN(4);
	*(uint32_t *)CMSG_DATA(part) = ALG_OP_ENCRYPT;
	part = CMSG_NXTHDR(&message, part);
	part->cmsg_level = SOL_ALG;
	part->cmsg_type = ALG_SET_IV;
	part->cmsg_len = CMSG_LEN(sizeof(struct af_alg_iv) + 16);
	((struct af_alg_iv *)CMSG_DATA(part))->ivlen = 16;
	for (; now() < end; count++) {
		if (sendmsg(fd, &message, 0) != (ssize_t)bytes)
			die("sendmsg");
		if (read(fd, buffer, bytes) != (ssize_t)bytes)
			die("read");
	}
	close(fd);
	close(family);
	return count;
}

static void *work(void *unused)
{
	uint8_t *buffer = calloc(1, bytes + TAG);
	uintptr_t count;
	(void)unused;

	count = !strcmp(target, "/dev/hwrng") ? by_reading(buffer) :
		target[0] == '/' ? by_cryptodev(buffer) : by_af_alg(buffer);
	free(buffer);
	return (void *)count;
}

/* Takes what follows the path off it */
static const char *options(char *path)
{
	char *word = strtok(path, ",");

	while ((word = strtok(NULL, ","))) {
		gcm |= !strcmp(word, "gcm");
		mapped |= !strcmp(word, "mapped");
	}
	return path;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	uint64_t start = now(), total = 0;
	int n = argc == 5 ? atoi(argv[4]) : 0;

	if (n < 1 || n > 64) {
		fprintf(stderr, "crypto-bench /dev/crypto[,gcm][,mapped]|DRIVER BYTES MILLISECONDS THREADS (1 to 64)\n");
		return 64;
	}
	target = argv[1][0] == '/' ? options(argv[1]) : argv[1];
	bytes = atoi(argv[2]);
	end = start + atoi(argv[3]) * 1000ull;
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < n; i++) {
		void *count;

		pthread_join(threads[i], &count);
		total += (uintptr_t)count;
	}
	printf("%llu %llu\n", (unsigned long long)total, (unsigned long long)(now() - start));
	return 0;
}
