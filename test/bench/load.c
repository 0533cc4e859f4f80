// SPDX-License-Identifier: MIT
/*
 * The load generator of the benchmark: one publisher, many subscribers, one thread, epoll. It
 * speaks this project's protocol (vcc), Redis's (redis) and NATS's (nats) and treats all alike:
 * it counts whole messages by their bytes and keeps WINDOW messages in flight, a message being in
 * flight until the last subscriber has it. With TLS (tls) most subscribers read no more than the
 * records' headers, for a load that decrypted all would be the limit, and not the server; every
 * DECRYPTS-th decrypts what it gets, which is also the proof that it is right.
 *
 * Usage: load PROTOCOL PORT SUBSCRIBERS BYTES WINDOW MILLISECONDS
 *        load PROTOCOL PORT CONNECTIONS idle      (holds them until stdin ends)
 * Prints "ready" when all are connected, and one JSON object in the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INBUF (512 * 1024)
#define MAX_SAMPLES 2000000
#define MAX_BATCH 512
#define DECRYPTS 32
#define RECORD_HEADER 5
/* What TLS 1.3 adds to the bytes of a record without padding: their type and a tag */
#define RECORD_REST 17
#define APPLICATION_DATA 23

enum protocol { VCC, REDIS, NATS };

struct link {
	int fd;
	SSL *ssl; /* NULL without TLS */
	int blind; /* counts the bytes of records that it does not decrypt */
	uint8_t header[RECORD_HEADER]; /* of the record that a blind one is in */
	size_t header_held;
	size_t rest;
};

struct subscriber {
	struct link link;
	uint64_t bytes;
	uint64_t messages;
};

static enum protocol protocol;
static SSL_CTX *tls; /* NULL without TLS */
static int port;
static uint8_t in[INBUF];

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(70);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* As send(): what was taken, or -1 when nothing can be now. OpenSSL takes a record at a time. */
static ssize_t give(struct link *l, const uint8_t *bytes, size_t n)
{
	ssize_t took, sum = 0;

	do {
		took = l->ssl ? SSL_write(l->ssl, bytes + sum, n - sum)
			      : send(l->fd, bytes, n, MSG_NOSIGNAL);
		if (took > 0)
			sum += took;
	} while (l->ssl && took > 0 && (size_t)sum < n);
	if (sum > 0)
		return sum;
	if (l->ssl ? SSL_get_error(l->ssl, took) != SSL_ERROR_WANT_WRITE : errno != EAGAIN)
		die("the server takes nothing any more: %s", strerror(errno));
	return -1;
}

/* As read(): -1 when there is nothing now */
static ssize_t take(struct link *l, void *bytes, size_t n)
{
	ssize_t got = l->ssl ? SSL_read(l->ssl, bytes, n) : read(l->fd, bytes, n);

	if (got > 0)
		return got;
	if (l->ssl ? SSL_get_error(l->ssl, got) != SSL_ERROR_WANT_READ : got == 0 || errno != EAGAIN)
		die("the server closed a connection");
	return -1;
}

/* Takes up to n bytes, which the kernel discards where there is no room for them, so that the server
 * is the limit: how many */
static size_t take_raw(int fd, void *bytes, size_t n)
{
	ssize_t got = recv(fd, bytes, n, bytes ? 0 : MSG_TRUNC);

	if (got == 0 || (got < 0 && errno != EAGAIN))
		die("the server closed a subscriber");
	return got > 0 ? got : 0;
}

/* Takes all the records that have come: how many bytes were encrypted in those that are whole */
static uint64_t take_blindly(struct link *l)
{
	uint64_t sum = 0;

	for (;;) {
		if (l->header_held < RECORD_HEADER) {
			l->header_held += take_raw(l->fd, l->header + l->header_held,
						   RECORD_HEADER - l->header_held);
			if (l->header_held < RECORD_HEADER)
				return sum;
			if (l->header[0] != APPLICATION_DATA)
				die("the server sent a record of type %d", l->header[0]);
			l->rest = l->header[3] << 8 | l->header[4];
		}
		l->rest -= take_raw(l->fd, NULL, l->rest);
		if (l->rest > 0)
			return sum;
		sum += (l->header[3] << 8 | l->header[4]) - RECORD_REST;
		l->header_held = 0;
	}
}

/* Takes all that has come: how much */
static uint64_t take_all(struct link *l)
{
	uint64_t sum = 0;
	ssize_t got;

	if (!l->ssl)
		return take_raw(l->fd, NULL, 1 << 30);
	if (l->blind)
		return take_blindly(l);
	while ((got = take(l, in, INBUF)) > 0)
		sum += got;
	return sum;
}

static void send_all(struct link *l, const void *bytes, size_t n)
{
	if (give(l, bytes, n) != (ssize_t)n)
		die("the server does not take a short greeting: %s", strerror(errno));
}

static void read_exactly(struct link *l, size_t n)
{
	while (n > 0) {
		ssize_t got = take(l, in, n < INBUF ? n : INBUF);

		if (got <= 0)
			die("the server closed during the greeting");
		n -= got;
	}
}

static void read_until(struct link *l, const char *end)
{
	size_t have = 0, want = strlen(end);

	while (have < want || memcmp(in + have - want, end, want)) {
		if (have == INBUF || take(l, in + have, 1) != 1)
			die("the server closed during the greeting");
		have++;
	}
}

static struct link dial(int subscribes)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
	uint8_t hello[5 + 81] = { 0, 0, 0, 82, 0x01, 'V', 'C', 'C', '1', 0, 1, 0, 1, 'b', 'e', 'n', 'c', 'h' };
	struct link l = { .fd = socket(AF_INET, SOCK_STREAM, 0) };
	int one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (l.fd < 0 || connect(l.fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("can't connect to port %d: %s", port, strerror(errno));
	setsockopt(l.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tls) {
		l.ssl = SSL_new(tls);
		SSL_set_fd(l.ssl, l.fd);
		if (SSL_connect(l.ssl) != 1)
			die("no TLS with port %d", port);
	}
	if (protocol == VCC) {
		send_all(&l, hello, sizeof(hello));
		read_exactly(&l, 5 + 53);
	} else if (protocol == REDIS && subscribes) {
		send_all(&l, "SUBSCRIBE bench\r\n", 17);
		read_exactly(&l, strlen("*3\r\n$9\r\nsubscribe\r\n$5\r\nbench\r\n:1\r\n"));
	} else if (protocol == NATS) {
		static const char hi[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

		read_until(&l, "\r\n");
		send_all(&l, hi, sizeof(hi) - 1);
		if (subscribes)
			send_all(&l, "SUB bench 1\r\n", 13);
		send_all(&l, "PING\r\n", 6);
		read_until(&l, "PONG\r\n");
	}
	fcntl(l.fd, F_SETFL, O_NONBLOCK);
	return l;
}

/* One message as it is published; returns its length. */
static size_t publication(uint8_t *out, int bytes)
{
	int n = 0;

	if (protocol == VCC) {
		uint32_t be = htonl(1 + bytes);

		memcpy(out, &be, 4);
		out[4] = 0x02;
		n = 5;
	} else if (protocol == REDIS) {
		n = sprintf((char *)out, "*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$%d\r\n", bytes);
	} else {
		n = sprintf((char *)out, "PUB bench %d\r\n", bytes);
	}
	memset(out + n, 'x', bytes);
	n += bytes;
	if (protocol != VCC)
		n += sprintf((char *)out + n, "\r\n");
	return n;
}

/* The length of one message as a subscriber gets it. */
static size_t delivery(int bytes)
{
	char text[128];

	if (protocol == VCC)
		return 17 + bytes;
	if (protocol == REDIS)
		return sprintf(text, "*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$%d\r\n", bytes) + bytes + 2;
	return sprintf(text, "MSG bench 1 %d\r\n", bytes) + bytes + 2;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void hold(int count)
{
	for (int i = 0; i < count; i++)
		dial(1);
	printf("{\"connections\":%d}\n", count);
	fflush(stdout);
	while (read(0, in, INBUF) > 0)
		;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 20000, 20000 };
	struct epoll_event ev, events[1024];
	struct subscriber *subs;
	uint8_t *batch;
	uint32_t *samples = malloc(MAX_SAMPLES * sizeof(*samples));
	uint64_t start, end, sent = 0, delivered = 0, out_at = 0, sent_at = 0, sampled = 0;
	size_t message, whole;
	struct link publisher;
	int count, bytes, window, ep, writable = 1;

	if (argc != 7 && argc != 5)
		die("usage: see the head of load.c");
	setrlimit(RLIMIT_NOFILE, &files);
	if (!strcmp(argv[1], "tls")) {
		tls = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
		SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	}
	protocol = !strcmp(argv[1], "redis") ? REDIS : !strcmp(argv[1], "nats") ? NATS : VCC;
	port = atoi(argv[2]);
	count = atoi(argv[3]);
	if (argc == 5) {
		hold(count);
		return 0;
	}
	bytes = atoi(argv[4]);
	window = atoi(argv[5]);
	subs = calloc(count, sizeof(*subs));
	batch = malloc((size_t)MAX_BATCH * (bytes + 64));
	message = publication(batch, bytes);
	for (int i = 1; i < MAX_BATCH; i++)
		memcpy(batch + i * message, batch, message);
	whole = delivery(bytes);
	ep = epoll_create1(0);
	for (int i = 0; i < count; i++) {
		subs[i].link = dial(1);
		subs[i].link.blind = i % DECRYPTS != 0;
		ev.events = EPOLLIN;
		ev.data.ptr = &subs[i];
		epoll_ctl(ep, EPOLL_CTL_ADD, subs[i].link.fd, &ev);
	}
	publisher = dial(0);
	ev.events = EPOLLIN | EPOLLOUT | EPOLLET;
	ev.data.ptr = NULL;
	epoll_ctl(ep, EPOLL_CTL_ADD, publisher.fd, &ev);
	/* What an earlier run left in the server's buffers is none of this one's. */
	usleep(300000);
	for (int i = 0; i < count; i++)
		while (take_all(&subs[i].link) > 0)
			;
	puts("ready");
	fflush(stdout);
	start = now_ns();
	end = start + strtoull(argv[6], NULL, 10) * 1000000ull;
	while (now_ns() < end) {
		uint64_t complete = delivered / count;
		/* out_at counts bytes; a message partly written counts as sent. */
		uint64_t may = (complete + window) * message;
		int n;

		while (writable && out_at < may) {
			size_t at = out_at % (MAX_BATCH * message);
			size_t length = MAX_BATCH * message - at;
			ssize_t took;

			if (length > may - out_at)
				length = may - out_at;
			if (window == 1)
				sent_at = now_ns();
			took = give(&publisher, batch + at, length);
			if (took > 0)
				out_at += took;
			writable = took == (ssize_t)length;
		}
		sent = out_at / message;
		n = epoll_wait(ep, events, 1024, 100);
		for (int i = 0; i < n; i++) {
			struct subscriber *s = events[i].data.ptr;

			if (s == NULL) {
				if (events[i].events & EPOLLOUT)
					writable = 1;
				while (take(&publisher, in, INBUF) > 0)
					;
				continue;
			}
			s->bytes += take_all(&s->link);
			delivered += s->bytes / whole - s->messages;
			s->messages = s->bytes / whole;
		}
		if (window == 1 && delivered / count > complete && sampled < MAX_SAMPLES)
			samples[sampled++] = now_ns() - sent_at;
	}
	end = now_ns();
	qsort(samples, sampled, sizeof(*samples), by_value);
	printf("{\"seconds\":%.3f,\"published\":%llu,\"deliveries\":%llu,\"p50us\":%.1f,\"p99us\":%.1f}\n",
	       (end - start) / 1e9, (unsigned long long)sent, (unsigned long long)delivered,
	       sampled ? samples[sampled / 2] / 1e3 : 0, sampled ? samples[sampled * 99 / 100] / 1e3 : 0);
	return 0;
}
