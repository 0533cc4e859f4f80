// SPDX-License-Identifier: MIT
/*
 * The limit that the relay is measured against: the same design with nothing around it. One room,
 * one shared ring, a cursor per client, one thread, epoll. It speaks enough of docs/protocol.md
 * for the load generator (HELLO, WELCOME, SEND, ENTRY) and checks nothing: never expose it. With
 * a certificate it speaks TLS 1.3 by OpenSSL: slices of the ring are encrypted for each client, and
 * several records sent at once.
 *
 * Usage: limit-relay PORT [CERTIFICATE KEY]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING (1u << 20)
#define INBUF (512 * 1024)
#define MAX_FD 20000
#define MAX_FRAME 65536
#define WELCOME_BODY 53
/* What one send() takes of TLS: as many records of OpenSSL's, which are no larger than this */
#define RECORDS 8
#define MAX_RECORD (16384 + 256)

struct client {
	int fd;
	int full;
	SSL *ssl; /* NULL without TLS */
	uint8_t *rest; /* of its records: what the socket did not take */
	size_t rest_at;
	size_t rest_length;
	uint64_t cursor;
	size_t held;
	uint8_t *partial;
};

static uint8_t ring[RING];
static uint64_t head;
static uint64_t next_seq = 1;
static struct client *clients[MAX_FD];
static struct client *members[MAX_FD];
static int member_count;
static uint8_t in[INBUF];
static SSL_CTX *tls; /* NULL without TLS */

/* The records that are made now, of whichever client; between two calls there are none. */
static uint8_t out[RECORDS * MAX_RECORD];
static size_t out_held;
static BIO_METHOD *gathering;

static int gather_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static int gather(BIO *bio, const char *bytes, int n)
{
	(void)bio;
	if (out_held + n > sizeof(out))
		return -1;
	memcpy(out + out_held, bytes, n);
	out_held += n;
	return n;
}

static long gather_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

/* Sends what waits of a client's records before. Returns 0 when its socket is full */
static int flush(struct client *c)
{
	ssize_t took;

	if (!c->rest)
		return 1;
	took = send(c->fd, c->rest + c->rest_at, c->rest_length - c->rest_at, MSG_NOSIGNAL);
	if (took < 0)
		return 0;
	c->rest_at += took;
	if (c->rest_at < c->rest_length)
		return 0;
	free(c->rest);
	c->rest = NULL;
	return 1;
}

/* Sends the records that were made for a client. Returns 0 when its socket is full */
static int send_records(struct client *c)
{
	ssize_t took;

	if (out_held == 0)
		return 1;
	took = send(c->fd, out, out_held, MSG_NOSIGNAL);
	if (took < 0)
		took = 0;
	c->rest_at = 0;
	c->rest_length = out_held - took;
	out_held = 0;
	if (c->rest_length == 0)
		return 1;
	c->rest = malloc(c->rest_length);
	memcpy(c->rest, out + took, c->rest_length);
	return 0;
}

/* As send(): less than n when the socket is full */
static ssize_t give(struct client *c, const uint8_t *bytes, size_t n)
{
	size_t given = 0;

	if (!c->ssl)
		return send(c->fd, bytes, n, MSG_NOSIGNAL);
	if (!flush(c))
		return 0;
	while (given < n) {
		int took = SSL_write(c->ssl, bytes + given, n - given);

		given += took > 0 ? took : 0;
		if (took <= 0 || given == n || out_held + MAX_RECORD > sizeof(out))
			if (!send_records(c) || took <= 0)
				break;
	}
	return given;
}

/* As read(): as many records as have come and fit. */
static ssize_t take(struct client *c, uint8_t *bytes, size_t n)
{
	size_t taken = 0;
	int got = 0;

	if (!c->ssl)
		return read(c->fd, bytes, n);
	while (taken < n && (got = SSL_read(c->ssl, bytes + taken, n - taken)) > 0)
		taken += got;
	send_records(c); /* of a handshake */
	if (taken > 0)
		return taken;
	errno = SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ ? EAGAIN : EIO;
	ERR_clear_error();
	return -1;
}

static void put(const uint8_t *bytes, size_t n)
{
	size_t at = head % RING;
	size_t first = n < RING - at ? n : RING - at;

	memcpy(ring + at, bytes, first);
	memcpy(ring, bytes + first, n - first);
	head += n;
}

static void pump(struct client *c)
{
	if (!c->full && !flush(c))
		c->full = 1;
	while (!c->full && c->cursor < head) {
		size_t at = c->cursor % RING;
		size_t n = head - c->cursor;
		ssize_t took;

		if (n > RING - at)
			n = RING - at;
		took = give(c, ring + at, n);
		if (took < 0)
			took = 0;
		c->cursor += took;
		if ((size_t)took < n)
			c->full = 1;
	}
}

static void serve(void)
{
	for (int i = 0; i < member_count; i++)
		pump(members[i]);
}

static void frame(struct client *c, const uint8_t *f, uint32_t len)
{
	uint8_t header[17];
	uint32_t be;
	uint64_t be64;

	if (f[4] == 0x01) {
		uint8_t welcome[5 + WELCOME_BODY] = { 0, 0, 0, 1 + WELCOME_BODY, 0x81 };

		c->cursor = head;
		members[member_count++] = c;
		give(c, welcome, sizeof(welcome));
	} else if (f[4] == 0x02) {
		be = htonl(len + 12);
		memcpy(header, &be, 4);
		header[4] = 0x82;
		be64 = __builtin_bswap64(next_seq++);
		memcpy(header + 5, &be64, 8);
		memset(header + 13, 0, 4);
		put(header, sizeof(header));
		put(f + 5, len - 1);
	}
}

static void drop(struct client *c)
{
	for (int i = 0; i < member_count; i++)
		if (members[i] == c)
			members[i--] = members[--member_count];
	clients[c->fd] = NULL;
	SSL_free(c->ssl);
	free(c->rest);
	close(c->fd);
	free(c->partial);
	free(c);
}

/* Returns 0 when nothing is left, or the client is gone */
static int receive(struct client *c)
{
	size_t held = c->held;
	size_t at = 0;
	ssize_t n;

	memcpy(in, c->partial, held);
	n = take(c, in + held, INBUF - held);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		drop(c);
		return 0;
	}
	n += held;
	while (at + 5 <= (size_t)n) {
		uint32_t len;

		memcpy(&len, in + at, 4);
		len = ntohl(len);
		if (at + 4 + len > (size_t)n)
			break;
		frame(c, in + at, len);
		at += 4 + len;
	}
	c->held = n - at;
	memcpy(c->partial, in + at, c->held);
	serve();
	return 1;
}

static int use_tls(const char *certificate, const char *key)
{
	gathering = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gather");
	BIO_meth_set_create(gathering, gather_create);
	BIO_meth_set_write(gathering, gather);
	BIO_meth_set_ctrl(gathering, gather_control);
	tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			      SSL_MODE_RELEASE_BUFFERS);
	return SSL_CTX_use_certificate_chain_file(tls, certificate) == 1 &&
	       SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) == 1;
}

static void greet(int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int one = 1;

	c->fd = fd;
	c->partial = malloc(MAX_FRAME + 4);
	if (tls) {
		c->ssl = SSL_new(tls);
		SSL_set0_wbio(c->ssl, BIO_new(gathering));
		SSL_set_rfd(c->ssl, fd);
		SSL_set_accept_state(c->ssl);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	clients[fd] = c;
}

int main(int argc, char **argv)
{
	struct rlimit files = { MAX_FD, MAX_FD };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct epoll_event ev, events[1024];
	int listener, ep, one = 1;

	if (argc != 2 && argc != 4)
		return 64;
	if (argc == 4 && !use_tls(argv[2], argv[3])) {
		ERR_print_errors_fp(stderr);
		return 66;
	}
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	addr.sin_port = htons(atoi(argv[1]));
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 4096)) {
		perror("limit-relay");
		return 69;
	}
	ep = epoll_create1(0);
	ev.events = EPOLLIN;
	ev.data.fd = listener;
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(ep, events, 1024, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listener) {
				fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (fd < 0 || fd >= MAX_FD)
					continue;
				greet(fd);
				ev.events = EPOLLIN | EPOLLOUT | EPOLLET;
				ev.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
				continue;
			}
			if (clients[fd] && (events[i].events & EPOLLOUT)) {
				clients[fd]->full = 0;
				pump(clients[fd]);
			}
			/* Edge-triggered: read until there is nothing left. */
			while (clients[fd] && (events[i].events & (EPOLLIN | EPOLLHUP)) &&
			       receive(clients[fd]))
				;
		}
	}
}
