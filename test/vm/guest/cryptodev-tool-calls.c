// SPDX-License-Identifier: MIT
/* One call, with its data in the line and in the answer */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cryptodev-tool.h"

static uint8_t data[MAX + 512], key[4096], mackey[4096], auth[8192], iv[64], mac[64];

static void print_result(const uint8_t *result, size_t n, const char *want)
{
	if (strchr(want, 'd'))
		print_sum(result, n);
	else
		print_hex(result, strchr(want, 'c') ? n : 0);
}

/* session FD CIPHER KEY MAC MACKEY */
void do_session(char **w)
{
	struct session_op s = { .cipher = atoi(w[2]), .mac = atoi(w[4]) };

	s.key = key;
	s.keylen = bytes_of(w[3], key, sizeof(key));
	s.mackey = mackey;
	s.mackeylen = bytes_of(w[5], mackey, sizeof(mackey));
	if (ioctl(atoi(w[1]), CIOCGSESSION, &s))
		answer(1);
	else
		printf("ok %u\n", s.ses);
}

/* crypt FD SES OP FLAGS IV DATA WANT */
void do_crypt(char **w)
{
	struct crypt_op c = { .ses = atoi(w[2]), .op = atoi(w[3]), .flags = atoi(w[4]) };
	int in_place = strchr(w[7], 'i') != NULL;
	/* An odd place, since any alignment is allowed. */
	uint8_t *src = data + 3;
	uint8_t *dst = in_place ? src : calloc(1, MAX);

	memset(mac, 0, sizeof(mac));
	memset(iv, 0, sizeof(iv));
	c.len = bytes_of(w[6], src, MAX);
	c.src = src;
	c.dst = dst;
	c.mac = mac;
	c.iv = bytes_of(w[5], iv, sizeof(iv)) ? iv : NULL;
	if (ioctl(atoi(w[1]), CIOCCRYPT, &c)) {
		answer(1);
	} else {
		printf("ok ");
		print_result(dst, c.len, w[7]);
		putchar(' ');
		print_hex(mac, strchr(w[7], 'm') ? 64 : 0);
		putchar(' ');
		print_hex(iv, c.iv ? 16 : 0);
		putchar('\n');
	}
	if (!in_place)
		free(dst);
}

static void authcrypt(char **w, struct crypt_auth_op *c, uint8_t **result, const char *want)
{
	if (ioctl(atoi(w[1]), CIOCAUTHCRYPT, c)) {
		answer(1);
		return;
	}
	printf("ok ");
	print_result(*result, c->len, want);
	putchar(' ');
	print_hex(mac, 64);
	putchar(' ');
	print_hex(iv, c->iv ? 16 : 0);
	printf(" %u %u\n", c->len, c->tag_len);
}

/* auth FD SES OP FLAGS IV AUTH DATA TAG TAGLEN WANT; AEAD and TLS */
void do_auth(char **w)
{
	struct crypt_auth_op c = { .ses = atoi(w[2]), .op = atoi(w[3]), .flags = atoi(w[4]) };
	int in_place = strchr(w[10], 'i') != NULL;
	uint8_t *src = data + 3;
	uint8_t *dst = in_place ? src : calloc(1, MAX + 512);

	memset(mac, 0, sizeof(mac));
	memset(iv, 0, sizeof(iv));
	c.iv_len = bytes_of(w[5], iv, sizeof(iv));
	c.iv = c.iv_len ? iv : NULL;
	c.auth_len = bytes_of(w[6], auth + 1, sizeof(auth) - 1);
	c.auth_src = c.auth_len ? auth + 1 : NULL;
	c.len = bytes_of(w[7], src, MAX);
	c.src = src;
	c.dst = dst;
	bytes_of(w[8], mac, sizeof(mac));
	c.tag = mac;
	c.tag_len = atoi(w[9]);
	authcrypt(w, &c, &c.dst, w[10]);
	if (!in_place)
		free(dst);
}

/*
 * srtp FD SES OP FLAGS IV DATA BEFORE LEN AUTHLEN TAG TAGLEN; what is encrypted lies in DATA behind
 * BEFORE bytes, and the answer is all of DATA.
 */
void do_srtp(char **w)
{
	struct crypt_auth_op c = { .ses = atoi(w[2]), .op = atoi(w[3]), .flags = atoi(w[4]) };
	uint8_t *packet = data + 3;
	size_t bytes = bytes_of(w[6], packet, MAX);

	memset(mac, 0, sizeof(mac));
	memset(iv, 0, sizeof(iv));
	c.iv_len = bytes_of(w[5], iv, sizeof(iv));
	c.iv = c.iv_len ? iv : NULL;
	c.auth_src = packet;
	c.src = c.dst = packet + atoi(w[7]);
	c.len = atoi(w[8]);
	c.auth_len = atoi(w[9]);
	bytes_of(w[10], mac, sizeof(mac));
	c.tag = mac;
	c.tag_len = atoi(w[11]);
	if (ioctl(atoi(w[1]), CIOCAUTHCRYPT, &c))
		printf("error %d ", errno);
	else
		printf("ok ");
	print_hex(packet, bytes);
	putchar(' ');
	print_hex(mac, 64);
	putchar(' ');
	print_hex(iv, c.iv ? 16 : 0);
	printf(" %u %u\n", c.len, c.tag_len);
}

/* badptr FD SES: a CRYPT with a pointer to nowhere */
void do_badptr(char **w)
{
	struct crypt_op c = { .ses = atoi(w[2]), .len = 16, .src = (void *)8, .dst = (void *)8 };

	answer(ioctl(atoi(w[1]), CIOCCRYPT, &c));
}

/* zeros FD SES BYTES: a CRYPT of so many of them */
void do_zeros(char **w)
{
	struct crypt_op c = { .ses = atoi(w[2]), .len = atoi(w[3]), .src = data, .dst = data };

	memset(data, 0, sizeof(data));
	answer(ioctl(atoi(w[1]), CIOCCRYPT, &c));
}
