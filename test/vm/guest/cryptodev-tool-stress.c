// SPDX-License-Identifier: MIT
/* Many calls at once, which have to come out right */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cryptodev-tool.h"

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

/* stress PATH SECONDS PROCESSES THREADS [lossy] */
void do_stress(char **w)
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

/* churn PATH COUNT */
void do_churn(char **w)
{
	uint8_t key[16] = { 0 };
	int count = atoi(w[2]);

	for (int i = 0; i < count; i++) {
		struct session_op s = { .cipher = 11, .keylen = 16, .key = key };
		int fd = open(w[1], O_RDWR);

		if (fd < 0 || ioctl(fd, CIOCGSESSION, &s)) {
			answer(1);
			return;
		}
		/* Every second one leaves the session to close(). */
		if (i % 2 && ioctl(fd, CIOCFSESSION, &s.ses)) {
			answer(1);
			return;
		}
		close(fd);
	}
	puts("ok");
}

/* A call that threads make again and again in one session, each with data of its own */
struct side {
	pthread_t thread;
	int fd, rounds, wrong;
	struct crypt_op call;
	uint8_t iv[16], mac[64];
	uint8_t *expected;
	uint8_t expected_mac[64];
};

static int side_call(struct side *side)
{
	struct crypt_op c = side->call;
	uint8_t iv[16];

	memcpy(iv, side->iv, sizeof(iv));
	memset(side->mac, 0, sizeof(side->mac));
	c.iv = iv;
	c.mac = side->mac;
	return ioctl(side->fd, CIOCCRYPT, &c);
}

static void *side_thread(void *argument)
{
	struct side *side = argument;

	for (int i = 0; i < side->rounds; i++) {
		memset(side->call.dst, 0, side->call.len);
		if (side_call(side) || memcmp(side->call.dst, side->expected, side->call.len) ||
		    memcmp(side->mac, side->expected_mac, 64))
			side->wrong++;
	}
	return NULL;
}

/* sidebyside FD SES OP FLAGS BYTES THREADS ROUNDS: results are those of each call alone */
void do_sidebyside(char **w)
{
	static struct side sides[16];
	int threads = atoi(w[6]), wrong = 0;
	size_t bytes = strtoul(w[5], NULL, 0);

	for (int i = 0; i < threads; i++) {
		struct side *side = &sides[i];

		memset(side, 0, sizeof(*side));
		side->fd = atoi(w[1]);
		side->rounds = atoi(w[7]);
		side->call = (struct crypt_op){ .ses = atoi(w[2]), .op = atoi(w[3]),
						.flags = atoi(w[4]), .len = bytes,
						.src = malloc(bytes), .dst = malloc(bytes) };
		side->expected = malloc(bytes);
		fill(side->call.src, bytes, i + 1);
		fill(side->iv, sizeof(side->iv), i + 100);
		if (side_call(side)) {
			answer(1);
			return;
		}
		memcpy(side->expected, side->call.dst, bytes);
		memcpy(side->expected_mac, side->mac, 64);
	}
	for (int i = 0; i < threads; i++)
		pthread_create(&sides[i].thread, NULL, side_thread, &sides[i]);
	for (int i = 0; i < threads; i++) {
		pthread_join(sides[i].thread, NULL);
		wrong += sides[i].wrong;
		free(sides[i].call.src);
		free(sides[i].call.dst);
		free(sides[i].expected);
	}
	printf(wrong ? "wrong %d\n" : "ok\n", wrong);
}
