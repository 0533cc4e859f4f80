// SPDX-License-Identifier: MIT
/*
 * A program that uses /dev/crypto as any cryptodev program does, driven line by line so that a test
 * outside the guest can ask for anything. Linked statically. How data is written: cryptodev-tool-text.c;
 * what a PLACE is: cryptodev-tool-memory.c.
 *
 *   open PATH                                  -> ok FD
 *   close FD                                   -> ok
 *   dup FD                                     -> ok FD
 *   session FD CIPHER KEY MAC MACKEY           -> ok SES
 *   end FD SES                                 -> ok
 *   crypt FD SES OP FLAGS IV DATA WANT         -> ok DST MAC IV   (WANT: c, d its CRC-32 only, m, i in
 *                                                 place, - for none)
 *   auth FD SES OP FLAGS IV AUTH DATA TAG TAGLEN WANT
 *                                              -> ok DST TAG IV LEN TAGLEN
 *   srtp FD SES OP FLAGS IV DATA BEFORE LEN AUTHLEN TAG TAGLEN
 *                                              -> ok DATA TAG IV LEN TAGLEN   (these also behind an error)
 *   info FD SES                                -> ok CIPHER HASH
 *   clone FD                                   -> ok FD
 *   cphash FD TO FROM                          -> ok
 *   asymfeat FD                                -> ok N
 *   ioctl FD NUMBER ADDRESS                    -> ok             (raw, for what must fail)
 *   badptr FD SES                              -> error 14       (CRYPT with a pointer to nowhere)
 *   zeros FD SES BYTES                         -> ok             (CRYPT of so many zeros)
 *
 *   anon NAME BYTES                            -> ok             (memory of the program's)
 *   map NAME FD BYTES PROT FLAGS OFFSET [PLACE]
 *                                              -> ok             (the file's, there if told so)
 *   unmap PLACE BYTES                          -> ok
 *   move NAME PLACE BYTES                      -> ok             (a mapping, to elsewhere)
 *   resize NAME PLACE BYTES BYTES              -> ok             (from, to)
 *   put PLACE DATA                             -> ok
 *   get PLACE BYTES                            -> ok DATA
 *   sum PLACE BYTES                            -> ok CRC-32
 *   call FD SES OP FLAGS LEN SRC DST MAC IV    -> ok             (CRYPT of PLACEs)
 *   authcall FD SES OP FLAGS LEN AUTHLEN AUTHSRC SRC DST TAG TAGLEN IV IVLEN
 *                                              -> ok LEN TAGLEN
 *   queue FD SES OP FLAGS LEN SRC DST MAC IV   -> ok             (ASYNCCRYPT)
 *   fetch FD                                   -> ok SES OP FLAGS LEN SRC DST MAC IV
 *   poll FD EVENTS MILLISECONDS                -> ok EVENTS
 *
 *   fork                                       -> ok             (what follows is done by a child ...)
 *   join                                       -> ok STATUS      (... that ends here)
 *   exit                                       -> ok             (it ends before, closing nothing)
 *   gone PATH                                  -> ok             (waits until it is)
 *   sleep MILLISECONDS                         -> ok
 *   stress PATH SECONDS PROCESSES THREADS [lossy]
 *                                              -> ok OPERATIONS   (random work, processes killed; lossy:
 *                                                 the device may be lost at any time, but not lie)
 *   churn PATH COUNT                           -> ok             (opens, sessions, closes)
 *   sidebyside FD SES OP FLAGS BYTES THREADS ROUNDS
 *                                              -> ok             (threads in one session)
 *
 * Errors are answered with "error ERRNO".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cryptodev-tool.h"

static char line[3 * MAX];

static void print_fd(int fd)
{
	if (fd < 0)
		answer(1);
	else
		printf("ok %d\n", fd);
}

static void do_open(char **w)
{
	print_fd(open(w[1], O_RDWR));
}

static void do_close(char **w)
{
	answer(close(atoi(w[1])));
}

static void do_dup(char **w)
{
	print_fd(dup(atoi(w[1])));
}

static void do_end(char **w)
{
	uint32_t ses = strtoul(w[2], NULL, 0);

	answer(ioctl(atoi(w[1]), CIOCFSESSION, &ses));
}

static void do_info(char **w)
{
	struct session_info_op info = { .ses = strtoul(w[2], NULL, 0) };

	if (ioctl(atoi(w[1]), CIOCGSESSINFO, &info))
		answer(1);
	else
		printf("ok %s %s\n", info.cipher_driver[0] ? info.cipher_driver : "-",
		       info.hash_driver[0] ? info.hash_driver : "-");
}

static void do_clone(char **w)
{
	uint32_t fd = 0;

	print_fd(ioctl(atoi(w[1]), CRIOGET, &fd) ? -1 : (int)fd);
}

static void do_cphash(char **w)
{
	struct cphash_op c = { .dst_ses = strtoul(w[2], NULL, 0), .src_ses = strtoul(w[3], NULL, 0) };

	answer(ioctl(atoi(w[1]), CIOCCPHASH, &c));
}

static void do_asymfeat(char **w)
{
	uint32_t n = 0;

	if (ioctl(atoi(w[1]), CIOCASYMFEAT, &n))
		answer(1);
	else
		printf("ok %u\n", n);
}

static void do_ioctl(char **w)
{
	answer(ioctl(atoi(w[1]), strtoul(w[2], NULL, 0), (void *)strtoul(w[3], NULL, 0)));
}

static void do_gone(char **w)
{
	int left = 3000;

	while (access(w[1], F_OK) == 0 && --left > 0)
		usleep(10000);
	errno = ETIMEDOUT;
	answer(left == 0);
}

static void do_sleep(char **w)
{
	usleep(atoi(w[1]) * 1000);
	puts("ok");
}

static void do_exit(char **w)
{
	(void)w;
	puts("ok");
	fflush(stdout);
	_exit(0);
}

static void run(char *text);

/* The child's lines are read first: what a child reads, its parent would not. */
static void do_fork(char **w)
{
	char **lines = NULL;
	size_t n = 0;
	int status;

	(void)w;
	puts("ok");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) && strcmp(line, "join\n")) {
		lines = realloc(lines, (n + 1) * sizeof(*lines));
		lines[n++] = strdup(line);
	}
	if (fork() == 0) {
		for (size_t i = 0; i < n; i++)
			run(lines[i]);
		exit(0);
	}
	wait(&status);
	for (size_t i = 0; i < n; i++)
		free(lines[i]);
	free(lines);
	printf("ok %d\n", status);
}

static const struct {
	const char *name;
	/* Words that it takes at least, its name included */
	int words;
	void (*run)(char **w);
} commands[] = {
	{ "open", 2, do_open },		{ "close", 2, do_close },
	{ "dup", 2, do_dup },		{ "session", 6, do_session },
	{ "end", 3, do_end },		{ "crypt", 8, do_crypt },
	{ "auth", 11, do_auth },	{ "srtp", 12, do_srtp },
	{ "info", 3, do_info },		{ "clone", 2, do_clone },
	{ "cphash", 4, do_cphash },	{ "asymfeat", 2, do_asymfeat },
	{ "ioctl", 4, do_ioctl },	{ "badptr", 3, do_badptr },
	{ "zeros", 4, do_zeros },	{ "anon", 3, do_anon },
	{ "map", 7, do_map },		{ "unmap", 3, do_unmap },
	{ "move", 4, do_move },		{ "resize", 5, do_resize },
	{ "put", 3, do_put },		{ "get", 3, do_get },
	{ "sum", 3, do_sum },		{ "call", 10, do_call },
	{ "authcall", 14, do_authcall }, { "queue", 10, do_queue },
	{ "fetch", 2, do_fetch },	{ "poll", 4, do_poll },
	{ "fork", 1, do_fork },		{ "exit", 1, do_exit },
	{ "gone", 2, do_gone },		{ "sleep", 2, do_sleep },
	{ "stress", 5, do_stress },	{ "churn", 3, do_churn },
	{ "sidebyside", 8, do_sidebyside },
};

static void run(char *text)
{
	char *words[16] = { 0 };
	int n = 0;

	for (char *w = strtok(text, " \n"); w && n < 15; w = strtok(NULL, " \n"))
		words[n++] = w;
	if (n == 0)
		return;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(words[0], commands[i].name) && n >= commands[i].words) {
			commands[i].run(words);
			fflush(stdout);
			return;
		}
	}
	puts("what?");
	fflush(stdout);
}

int main(void)
{
	while (fgets(line, sizeof(line), stdin))
		run(line);
	return 0;
}
