// SPDX-License-Identifier: MIT
/* Calls on memory that has been named, waited for or not */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "cryptodev-tool.h"

static struct crypt_op operation(char **w)
{
	struct crypt_op c = {
		.ses = strtoul(w[2], NULL, 0), .op = atoi(w[3]), .flags = atoi(w[4]),
		.len = strtoul(w[5], NULL, 0), .src = place_of(w[6]), .dst = place_of(w[7]),
		.mac = place_of(w[8]), .iv = place_of(w[9]),
	};

	return c;
}

/* call FD SES OP FLAGS LEN SRC DST MAC IV */
void do_call(char **w)
{
	struct crypt_op c = operation(w);

	answer(ioctl(atoi(w[1]), CIOCCRYPT, &c));
}

/* queue FD SES OP FLAGS LEN SRC DST MAC IV */
void do_queue(char **w)
{
	struct crypt_op c = operation(w);

	answer(ioctl(atoi(w[1]), CIOCASYNCCRYPT, &c));
}

/* fetch FD */
void do_fetch(char **w)
{
	struct crypt_op c = { 0 };

	if (ioctl(atoi(w[1]), CIOCASYNCFETCH, &c)) {
		answer(1);
		return;
	}
	printf("ok %u %u %u %u", c.ses, c.op, c.flags, c.len);
	print_place(c.src);
	print_place(c.dst);
	print_place(c.mac);
	print_place(c.iv);
	putchar('\n');
}

/* poll FD EVENTS MILLISECONDS */
void do_poll(char **w)
{
	struct pollfd p = { .fd = atoi(w[1]), .events = atoi(w[2]) };

	if (poll(&p, 1, atoi(w[3])) < 0)
		answer(1);
	else
		printf("ok %d\n", p.revents);
}

/* authcall FD SES OP FLAGS LEN AUTHLEN AUTHSRC SRC DST TAG TAGLEN IV IVLEN */
void do_authcall(char **w)
{
	struct crypt_auth_op c = {
		.ses = strtoul(w[2], NULL, 0), .op = atoi(w[3]), .flags = atoi(w[4]),
		.len = strtoul(w[5], NULL, 0), .auth_len = strtoul(w[6], NULL, 0),
		.auth_src = place_of(w[7]), .src = place_of(w[8]), .dst = place_of(w[9]),
		.tag = place_of(w[10]), .tag_len = strtoul(w[11], NULL, 0),
		.iv = place_of(w[12]), .iv_len = strtoul(w[13], NULL, 0),
	};

	if (ioctl(atoi(w[1]), CIOCAUTHCRYPT, &c))
		answer(1);
	else
		printf("ok %u %u\n", c.len, c.tag_len);
}
