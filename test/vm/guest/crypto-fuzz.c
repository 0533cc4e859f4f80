// SPDX-License-Identifier: MIT
/*
 * Random calls of /dev/crypto, by threads of processes that are killed and that fork:
 *
 *   crypto-fuzz PATH CALLS SEED [THREADS [SECONDS [lying|failing]]]
 *
 * ends after so many calls or seconds, with "ok ..." or with what was wrong: an answer, an error that
 * no call should give, memory that was written beside what a call was given, bytes that are the
 * kernel's or another process's, a call that doesn't end, a process that can't be killed. lying: of the
 * device nothing is believed, so its answers and errors aren't looked at, only where they go.
 * failing: the kernel is to fail what these threads allocate, as set up in its debugfs.
 * A seed's calls are the same ones each time, as far as threads don't get in each other's way.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crypto-fuzz.h"

/* Of a process, so that there are many */
#define PROCESS_CALLS	1500
#define HANG_SECONDS	90

struct shared *shared;
const char *fuzz_path;
int fuzz_lying;
static uint64_t limit;
static int fuzz_failing;
static pthread_barrier_t all_are_there;

/* Writes down the first fault, and ends the process. */
void fault(const char *format, ...)
{
	va_list arguments;

	if (!__atomic_exchange_n(&shared->faults, 1, __ATOMIC_ACQ_REL)) {
		va_start(arguments, format);
		vsnprintf(shared->fault, sizeof(shared->fault) - 1, format, arguments);
		va_end(arguments);
	}
	_exit(1);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	fault("signal %d at %p: memory of the fuzzer's own is not what it was", number,
	      info->si_addr);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A child goes on with its parent's files, sessions and mappings for a while, and just ends. */
static void fork_child(struct thread *t)
{
	pid_t child = fork();

	if (child == 0) {
		uint32_t calls = random_below(t, 60);

		/* For its own memory is a copy */
		t->is_child = 1;
		/* A child of a process that is killed goes soon after. */
		alarm(HANG_SECONDS - 30);
		while (calls-- && !shared->faults)
			call(t);
		_exit(0);
	}
}

/* From here on what this thread, and those that it forks, do in the kernel may fail. */
static void make_it_fail(void)
{
	int fd = open("/proc/thread-self/make-it-fail", O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1)
		fault("this kernel fails nothing on purpose");
	close(fd);
}

static void *run_thread(void *argument)
{
	struct thread *t = argument;
	uint32_t left = PROCESS_CALLS;

	/* The stack of one that comes later could lie where one has unmapped something. */
	pthread_barrier_wait(&all_are_there);
	if (fuzz_failing)
		make_it_fail();
	while (left-- && !shared->faults &&
	       __atomic_add_fetch(&shared->calls, 1, __ATOMIC_RELAXED) <= limit) {
		call(t);
		if (!random_below(t, 100))
			known_answers(t);
		if (!random_below(t, 500))
			fork_child(t);
	}
	return NULL;
}

static pid_t start_process(uint64_t seed, int threads)
{
	static struct thread all[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	pid_t child = fork();

	if (child)
		return child;
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	/* Nobody waits for those that are forked. */
	signal(SIGCHLD, SIG_IGN);
	calls_init();
	memory_reserve();
	for (int i = 0; i < threads; i++) {
		all[i] = (struct thread){ .random = (seed * 64 + i + 1) * 0x9e3779b97f4a7c15,
					  .fill = 0x80 | (seed & 0x1f) };
		memory_of(&all[i], i);
	}
	pthread_barrier_init(&all_are_there, NULL, threads);
	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, run_thread, &all[i]);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	_exit(0);
}

/* Whether a process has ended; ends it where that is due. */
static int has_ended(pid_t child, uint64_t kill_after)
{
	if (waitpid(child, NULL, WNOHANG) == child)
		return 1;
	if (!kill_after || __atomic_load_n(&shared->calls, __ATOMIC_RELAXED) < kill_after)
		return 0;
	kill(child, SIGKILL);
	for (int i = 0; waitpid(child, NULL, WNOHANG) != child; i++) {
		if (i > HANG_SECONDS * 100)
			fault("a process can't be killed");
		usleep(10000);
	}
	shared->killed++;
	return 1;
}

static void print_summary(void)
{
	printf("ok %llu calls, %llu succeeded, %llu known answers, %llu processes killed;",
	       (unsigned long long)shared->calls, (unsigned long long)shared->succeeded,
	       (unsigned long long)shared->known, (unsigned long long)shared->killed);
	for (int i = 0; call_names[i]; i++)
		printf(" %s %llu/%llu", call_names[i], (unsigned long long)shared->worked[i],
		       (unsigned long long)shared->tried[i]);
	for (int i = 0; i < 256; i++)
		if (shared->errors[i])
			printf("; errno %d %llu", i, (unsigned long long)shared->errors[i]);
	putchar('\n');
}

int main(int argc, char **argv)
{
	int threads = argc > 4 ? atoi(argv[4]) : 4;
	double end, progress;
	uint64_t seed, before = 0;
	pid_t children[2] = { 0 };
	uint64_t kill_after[2];
	struct thread t = { 0 };

	if (argc < 4 || threads < 1 || threads > THREADS_MAX) {
		fprintf(stderr, "usage: crypto-fuzz PATH CALLS SEED [THREADS [SECONDS [lying|failing]]]\n");
		return 64;
	}
	fuzz_path = argv[1];
	limit = strtoull(argv[2], NULL, 0);
	seed = strtoull(argv[3], NULL, 0);
	end = seconds() + (argc > 5 ? atof(argv[5]) : 1e9);
	fuzz_lying = argc > 6 && !strcmp(argv[6], "lying");
	fuzz_failing = argc > 6 && !strcmp(argv[6], "failing");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t.random = (seed + 1) * 0x9e3779b97f4a7c15;
	progress = seconds();
	while (!shared->faults && shared->calls < limit && seconds() < end) {
		for (int i = 0; i < 2; i++) {
			if (children[i] && !has_ended(children[i], kill_after[i]))
				continue;
			/* Every second one is killed in the middle. */
			kill_after[i] = random_below(&t, 2) ? 0 :
					shared->calls + random_below(&t, PROCESS_CALLS * threads);
			children[i] = start_process(seed++, threads);
		}
		if (shared->calls != before)
			progress = seconds();
		before = shared->calls;
		if (seconds() - progress > HANG_SECONDS) {
			snprintf(shared->fault, sizeof(shared->fault), "no call ends");
			shared->faults = 1;
		}
		usleep(5000);
	}
	/* Those that have time yet come to an end by themselves. */
	end = shared->faults ? 0 : end < seconds() + HANG_SECONDS ? end : seconds() + HANG_SECONDS;
	for (int i = 0; i < 2; i++)
		while (children[i] && !has_ended(children[i], seconds() >= end))
			usleep(5000);
	if (shared->calls > limit)
		shared->calls = limit;
	if (shared->faults) {
		printf("fault: %s\n", shared->fault);
		return 1;
	}
	print_summary();
	return 0;
}
