// SPDX-License-Identifier: MIT
/*
 * The limit that the relay is measured against: the same design with nothing around it. One room,
 * one shared ring, a cursor per client, one thread, epoll. It speaks enough of docs/protocol.md
 * for the load generator (HELLO, WELCOME, SEND, ENTRY) and checks nothing: never expose it.
 *
 * Usage: limit-relay PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

struct client {
	int fd;
	int full;
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
	while (!c->full && c->cursor < head) {
		size_t at = c->cursor % RING;
		size_t n = head - c->cursor;
		ssize_t took;

		if (n > RING - at)
			n = RING - at;
		took = send(c->fd, ring + at, n, MSG_NOSIGNAL);
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
		(void)!write(c->fd, welcome, sizeof(welcome));
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

static void receive(struct client *c)
{
	size_t held = c->held;
	size_t at = 0;
	ssize_t n;

	memcpy(in, c->partial, held);
	n = read(c->fd, in + held, INBUF - held);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(c->fd);
		for (int i = 0; i < member_count; i++)
			if (members[i] == c)
				members[i--] = members[--member_count];
		clients[c->fd] = NULL;
		free(c->partial);
		free(c);
		return;
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
}

int main(int argc, char **argv)
{
	struct rlimit files = { MAX_FD, MAX_FD };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct epoll_event ev, events[1024];
	int listener, ep, one = 1;

	if (argc != 2)
		return 64;
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
				struct client *c = calloc(1, sizeof(*c));

				c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (c->fd < 0 || c->fd >= MAX_FD) {
					free(c);
					continue;
				}
				c->partial = malloc(MAX_FRAME + 4);
				setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
				clients[c->fd] = c;
				ev.events = EPOLLIN | EPOLLOUT | EPOLLET;
				ev.data.fd = c->fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
				continue;
			}
			if (clients[fd] && (events[i].events & EPOLLOUT)) {
				clients[fd]->full = 0;
				pump(clients[fd]);
			}
			/* Edge-triggered: read until there is nothing left. */
			while (clients[fd] && (events[i].events & (EPOLLIN | EPOLLHUP))) {
				struct client *c = clients[fd];

				receive(c);
				if (clients[fd] != c || recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
					break;
			}
		}
	}
}
