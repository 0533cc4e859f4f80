// SPDX-License-Identifier: MIT
/*
 * A program that uses /dev/crypto as any cryptodev program does, driven line by line so that a test
 * outside the guest can ask for anything. Linked statically. Data is hexadecimal, "-" for none.
 *
 *   open PATH                                  -> ok FD
 *   close FD                                   -> ok
 *   session FD CIPHER KEY MAC MACKEY           -> ok SES
 *   end FD SES                                 -> ok
 *   crypt FD SES OP FLAGS IV DATA WANT         -> ok DST MAC IV   (WANT: c, m, i in place, - for none)
 *   info FD SES                                -> ok CIPHER HASH
 *   clone FD                                   -> ok FD
 *   asymfeat FD                                -> ok N
 *   ioctl FD NUMBER ADDRESS                    -> ok             (raw, for what must fail)
 *   badptr FD SES                              -> error 14       (CRYPT with a pointer to nowhere)
 *   zeros FD SES BYTES                         -> ok             (CRYPT of so many zeros)
 *   stress PATH SECONDS PROCESSES THREADS [lossy]
 *                                              -> ok OPERATIONS   (random work, processes killed; lossy:
 *                                                 the device may be lost at any time, but not lie)
 *   churn PATH COUNT                           -> ok             (opens, sessions, closes)
 *
 * Errors are answered with "error ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cryptodev.h"

#define MAX (4 << 20)

static char line[3 * MAX];
static uint8_t data[MAX + 64], key[4096], mackey[4096], iv[64], mac[64];

static size_t unhex(const char *text, uint8_t *out, size_t max)
{
	size_t n = 0;

	if (!strcmp(text, "-"))
		return 0;
	for (; text[0] && text[1] && n < max; text += 2) {
		unsigned int byte;

		sscanf(text, "%2x", &byte);
		out[n++] = byte;
	}
	return n;
}

static void hex(const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	if (n == 0)
		putchar('-');
	for (size_t i = 0; i < n; i++) {
		putchar(digits[bytes[i] >> 4]);
		putchar(digits[bytes[i] & 15]);
	}
}

static void fail(void)
{
	printf("error %d\n", errno);
}

static void do_session(int fd, char **w)
{
	struct session_op s = { .cipher = atoi(w[2]), .mac = atoi(w[4]) };

	s.key = key;
	s.keylen = unhex(w[3], key, sizeof(key));
	s.mackey = mackey;
	s.mackeylen = unhex(w[5], mackey, sizeof(mackey));
	if (ioctl(fd, CIOCGSESSION, &s))
		fail();
	else
		printf("ok %u\n", s.ses);
}

static void do_crypt(int fd, char **w)
{
	struct crypt_op c = { .ses = atoi(w[2]), .op = atoi(w[3]), .flags = atoi(w[4]) };
	int in_place = strchr(w[7], 'i') != NULL;
	/* An odd place, since any alignment is allowed. */
	uint8_t *src = data + 3;
	uint8_t *dst = in_place ? src : calloc(1, MAX);

	memset(mac, 0, sizeof(mac));
	c.len = unhex(w[6], src, MAX);
	c.src = src;
	c.dst = dst;
	c.mac = mac;
	c.iv = unhex(w[5], iv, sizeof(iv)) ? iv : NULL;
	if (ioctl(fd, CIOCCRYPT, &c)) {
		fail();
	} else {
		printf("ok ");
		hex(dst, strchr(w[7], 'c') ? c.len : 0);
		putchar(' ');
		hex(mac, strchr(w[7], 'm') ? 64 : 0);
		putchar(' ');
		hex(iv, c.iv ? 16 : 0);
		putchar('\n');
	}
	if (!in_place)
		free(dst);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

/* What the threads of one process of the stress test share with their parent */
static struct {
	uint64_t operations;
	uint64_t wrong;
} *shared;

static const char *stress_path;
static int stress_lossy;

/* Whether a call failed as calls do when the device has lost what was open */
static int is_lost(void)
{
	return stress_lossy && (errno == ENODEV || errno == EIO || errno == ETIMEDOUT);
}

/* Encrypts and decrypts random data in sessions of its own, and has it come out right. */
static void *stress_thread(void *argument)
{
	unsigned int seed = (uintptr_t)argument;
	uint8_t *buffer = malloc(70000), *copy = malloc(70000);
	uint8_t secret[32], start[16];

	for (;;) {
		struct session_op s = { .cipher = rand_r(&seed) % 2 ? 11 : 21, .keylen = 32,
					.key = secret };
		int fd = open(stress_path, O_RDWR);
		int rounds = rand_r(&seed) % 20;

		for (size_t i = 0; i < sizeof(secret); i++)
			secret[i] = rand_r(&seed);
		if (fd < 0 || ioctl(fd, CIOCGSESSION, &s))
			goto failed;
		for (int round = 0; round < rounds; round++) {
			struct crypt_op c = { .ses = s.ses, .src = buffer, .dst = buffer, .iv = start };

			c.len = (rand_r(&seed) % (round % 5 ? 64 : 4096)) * 16;
			for (size_t i = 0; i < c.len; i += 7)
				buffer[i] = rand_r(&seed);
			memcpy(copy, buffer, c.len);
			if (ioctl(fd, CIOCCRYPT, &c))
				goto failed;
			c.op = 1;
			if (c.len >= 64 && !memcmp(copy, buffer, c.len))
				goto wrong;
			if (ioctl(fd, CIOCCRYPT, &c))
				goto failed;
			if (memcmp(copy, buffer, c.len))
				goto wrong;
			__atomic_add_fetch(&shared->operations, 2, __ATOMIC_RELAXED);
		}
		if (rand_r(&seed) % 2)
			ioctl(fd, CIOCFSESSION, &s.ses);
		close(fd);
		continue;
failed:
		if (!is_lost())
			goto wrong;
		close(fd);
		usleep(1000);
	}
wrong:
	perror("stress");
	__atomic_add_fetch(&shared->wrong, 1, __ATOMIC_RELAXED);
	return NULL;
}

static pid_t stress_process(int threads, unsigned int seed)
{
	pid_t child = fork();

	if (child == 0) {
		for (int i = 0; i < threads; i++) {
			pthread_t thread;

			pthread_create(&thread, NULL, stress_thread,
				       (void *)(uintptr_t)(seed * 64 + i));
		}
		pause();
	}
	return child;
}

static void do_stress(char **w)
{
	uint64_t end = now() + atoi(w[2]) * 1000000ull;
	int processes = atoi(w[3]), threads = atoi(w[4]);
	unsigned int seed = 1;
	pid_t children[64];

	stress_path = w[1];
	stress_lossy = w[5] && !strcmp(w[5], "lossy");
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < processes; i++)
		children[i] = stress_process(threads, seed++);
	while (now() < end) {
		int victim = rand_r(&seed) % processes;

		usleep(200000);
		kill(children[victim], SIGKILL);
		waitpid(children[victim], NULL, 0);
		children[victim] = stress_process(threads, seed++);
	}
	for (int i = 0; i < processes; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	if (shared->wrong)
		printf("wrong %llu\n", (unsigned long long)shared->wrong);
	else
		printf("ok %llu\n", (unsigned long long)shared->operations);
}

static void do_churn(const char *path, int count)
{
	for (int i = 0; i < count; i++) {
		struct session_op s = { .cipher = 11, .keylen = 16, .key = key };
		int fd = open(path, O_RDWR);

		if (fd < 0 || ioctl(fd, CIOCGSESSION, &s)) {
			fail();
			return;
		}
		/* Every second one leaves the session to close(). */
		if (i % 2 && ioctl(fd, CIOCFSESSION, &s.ses)) {
			fail();
			return;
		}
		close(fd);
	}
	puts("ok");
}

static void run(char **w)
{
	int fd = w[1] ? atoi(w[1]) : -1;
	uint32_t n = w[2] ? strtoul(w[2], NULL, 0) : 0;
	struct session_info_op info = { .ses = n };
	struct crypt_op bad = { .ses = n, .len = 16, .src = (void *)8, .dst = (void *)8 };

	if (!strcmp(w[0], "open")) {
		fd = open(w[1], O_RDWR);
		fd < 0 ? fail() : (void)printf("ok %d\n", fd);
	} else if (!strcmp(w[0], "close")) {
		close(fd) ? fail() : (void)puts("ok");
	} else if (!strcmp(w[0], "session")) {
		do_session(fd, w);
	} else if (!strcmp(w[0], "end")) {
		ioctl(fd, CIOCFSESSION, &n) ? fail() : (void)puts("ok");
	} else if (!strcmp(w[0], "crypt")) {
		do_crypt(fd, w);
	} else if (!strcmp(w[0], "info")) {
		if (ioctl(fd, CIOCGSESSINFO, &info))
			fail();
		else
			printf("ok %s %s\n", info.cipher_driver[0] ? info.cipher_driver : "-",
			       info.hash_driver[0] ? info.hash_driver : "-");
	} else if (!strcmp(w[0], "clone")) {
		ioctl(fd, CRIOGET, &n) ? fail() : (void)printf("ok %u\n", n);
	} else if (!strcmp(w[0], "asymfeat")) {
		ioctl(fd, CIOCASYMFEAT, &n) ? fail() : (void)printf("ok %u\n", n);
	} else if (!strcmp(w[0], "ioctl")) {
		ioctl(fd, (unsigned long)n, (void *)strtoul(w[3], NULL, 0)) ? fail() : (void)puts("ok");
	} else if (!strcmp(w[0], "badptr")) {
		ioctl(fd, CIOCCRYPT, &bad) ? fail() : (void)puts("ok");
	} else if (!strcmp(w[0], "zeros")) {
		memset(data, 0, sizeof(data));
		bad.len = atoi(w[3]);
		bad.src = bad.dst = data;
		ioctl(fd, CIOCCRYPT, &bad) ? fail() : (void)puts("ok");
	} else if (!strcmp(w[0], "stress")) {
		do_stress(w);
	} else if (!strcmp(w[0], "churn")) {
		do_churn(w[1], n);
	} else {
		puts("what?");
	}
}

int main(void)
{
	while (fgets(line, sizeof(line), stdin)) {
		char *words[10] = { 0 };
		int n = 0;

		for (char *w = strtok(line, " \n"); w && n < 9; w = strtok(NULL, " \n"))
			words[n++] = w;
		if (n > 0)
			run(words);
		fflush(stdout);
	}
	return 0;
}
