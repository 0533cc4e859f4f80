/*
 * A vhost-user front end for tests: messages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "front-end.h"

#define REPLY_MS 10000

static void fail(const char *what)
{
    fprintf(stderr, "front-end: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void make_memory(struct front_end *front)
{
    front->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (front->memory_fd < 0 || ftruncate(front->memory_fd, MEMORY_BYTES) < 0) {
        fail("memory");
    }
    front->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                         MAP_SHARED, front->memory_fd, 0);
    if (front->memory == MAP_FAILED) {
        fail("memory");
    }
}

static void make_ring(struct front_end *front, unsigned queue)
{
    struct ring *ring = &front->rings[queue];
    uint8_t *at = front->memory + queue * RING_BYTES;

    ring->desc = (void *)at;
    ring->avail = (void *)(at + 0x2000);
    ring->used = (void *)(at + 0x3000);
    ring->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->error = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

bool front_end_connect(struct front_end *front, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    *front = (struct front_end) { .channel = -1 };
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (front->fd < 0) {
        fail("socket");
    }
    make_memory(front);
    for (unsigned i = 0; i < MAX_QUEUES; i++) {
        make_ring(front, i);
    }
    return connect(front->fd, (struct sockaddr *)&address,
                   sizeof(address)) == 0;
}

void front_end_close(struct front_end *front)
{
    close(front->fd);
    if (front->channel >= 0) {
        close(front->channel);
    }
    munmap(front->memory, MEMORY_BYTES);
    close(front->memory_fd);
    for (unsigned i = 0; i < MAX_QUEUES; i++) {
        close(front->rings[i].kick);
        close(front->rings[i].call);
        close(front->rings[i].error);
    }
}

bool front_end_send(struct front_end *front, int request, uint32_t flags,
                    const void *payload, uint32_t size, const int *fds,
                    unsigned num_fds)
{
    struct { int request; uint32_t flags, size; } header = {
        request, flags, size
    };
    struct iovec iov[2] = {
        { &header, sizeof(header) }, { (void *)payload, size },
    };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(32 * sizeof(int))];
    } control = { .space = { 0 } };
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

    if (num_fds > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(num_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, num_fds * sizeof(int));
    }
    return sendmsg(front->fd, &message, MSG_NOSIGNAL) ==
           (ssize_t)(sizeof(header) + size);
}

static bool read_all(int fd, void *to, size_t bytes)
{
    while (bytes > 0) {
        struct pollfd pollfd = { .fd = fd, .events = POLLIN };
        ssize_t got;

        if (poll(&pollfd, 1, REPLY_MS) == 0) {
            fprintf(stderr, "front-end: no reply in %d ms\n", REPLY_MS);
            exit(EXIT_FAILURE);
        }
        got = recv(fd, to, bytes, 0);
        if (got <= 0) {
            return false;
        }
        to = (char *)to + got;
        bytes -= got;
    }
    return true;
}

bool front_end_reply(struct front_end *front, int request, void *payload,
                     uint32_t size)
{
    struct { int request; uint32_t flags, size; } header;
    char rest[512];

    for (;;) {
        if (!read_all(front->fd, &header, sizeof(header)) ||
            header.size > sizeof(rest) ||
            !read_all(front->fd, rest, header.size)) {
            return false;
        }
        if (header.request == request && header.size == size &&
            header.flags == (VHOST_USER_REPLY_MASK | 1)) {
            memcpy(payload, rest, size);
            return true;
        }
        /* To something that was sent before, and not waited for */
    }
}

bool front_end_get_u64(struct front_end *front, int request, uint64_t *value)
{
    return front_end_send(front, request, 1, NULL, 0, NULL, 0) &&
           front_end_reply(front, request, value, sizeof(*value));
}

/* A message that is answered with 0 for success */
static bool send_acked(struct front_end *front, int request,
                       const void *payload, uint32_t size, const int *fds,
                       unsigned num_fds)
{
    uint64_t error;

    return front_end_send(front, request, 1 | VHOST_USER_NEED_REPLY_MASK,
                          payload, size, fds, num_fds) &&
           front_end_reply(front, request, &error, sizeof(error)) &&
           error == 0;
}

static bool send_file(struct front_end *front, int request, uint64_t queue,
                      int fd)
{
    return front_end_send(front, request, 1, &queue, sizeof(queue), &fd, 1);
}

bool front_end_handshake(struct front_end *front)
{
    uint64_t features, protocol, queues;
    int pair[2];

    if (!front_end_get_u64(front, VHOST_USER_GET_FEATURES, &features) ||
        !front_end_get_u64(front, VHOST_USER_GET_PROTOCOL_FEATURES,
                           &protocol) ||
        !front_end_send(front, VHOST_USER_SET_PROTOCOL_FEATURES, 1, &protocol,
                        sizeof(protocol), NULL, 0) ||
        !front_end_get_u64(front, VHOST_USER_GET_QUEUE_NUM, &queues)) {
        return false;
    }
    front->num_queues = queues < MAX_QUEUES ? queues : MAX_QUEUES;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        fail("socketpair");
    }
    front->channel = pair[0];
    if (!send_acked(front, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0,
                    &pair[1], 1)) {
        close(pair[1]);
        return false;
    }
    close(pair[1]);

    if (!front_end_send(front, VHOST_USER_SET_OWNER, 1, NULL, 0, NULL, 0)) {
        return false;
    }
    for (unsigned i = 0; i < front->num_queues; i++) {
        if (!send_file(front, VHOST_USER_SET_VRING_CALL, i,
                       front->rings[i].call) ||
            !send_file(front, VHOST_USER_SET_VRING_ERR, i,
                       front->rings[i].error)) {
            return false;
        }
    }
    return front_end_send(front, VHOST_USER_SET_FEATURES, 1, &features,
                          sizeof(features), NULL, 0);
}

bool front_end_memory_table(struct front_end *front)
{
    VhostUserMemory memory = {
        .nregions = 1,
        .regions[0] = {
            .guest_phys_addr = GUEST_BASE,
            .memory_size = MEMORY_BYTES,
            .userspace_addr = USER_BASE,
        },
    };

    return send_acked(front, VHOST_USER_SET_MEM_TABLE, &memory,
                      offsetof(VhostUserMemory, regions[1]),
                      &front->memory_fd, 1);
}

static uint64_t user_address(struct front_end *front, const void *at)
{
    return USER_BASE + ((const uint8_t *)at - front->memory);
}

bool front_end_start(struct front_end *front, unsigned queue, uint16_t base)
{
    struct ring *ring = &front->rings[queue];
    struct vhost_vring_state num = { queue, RING_NUM };
    struct vhost_vring_state start = { queue, base };
    struct vhost_vring_state enable = { queue, 1 };
    struct vhost_vring_addr addr = {
        .index = queue,
        .desc_user_addr = user_address(front, ring->desc),
        .avail_user_addr = user_address(front, ring->avail),
        .used_user_addr = user_address(front, ring->used),
    };

    return front_end_memory_table(front) &&
           front_end_send(front, VHOST_USER_SET_VRING_NUM, 1, &num,
                          sizeof(num), NULL, 0) &&
           front_end_send(front, VHOST_USER_SET_VRING_BASE, 1, &start,
                          sizeof(start), NULL, 0) &&
           front_end_send(front, VHOST_USER_SET_VRING_ADDR, 1, &addr,
                          sizeof(addr), NULL, 0) &&
           send_file(front, VHOST_USER_SET_VRING_KICK, queue, ring->kick) &&
           send_file(front, VHOST_USER_SET_VRING_CALL, queue, ring->call) &&
           send_acked(front, VHOST_USER_SET_VRING_ENABLE, &enable,
                      sizeof(enable), NULL, 0);
}

bool front_end_stop(struct front_end *front, unsigned queue, uint16_t *base)
{
    struct vhost_vring_state disable = { queue, 0 };
    struct vhost_vring_state state = { queue, 0 };

    if (!send_acked(front, VHOST_USER_SET_VRING_ENABLE, &disable,
                    sizeof(disable), NULL, 0) ||
        !front_end_send(front, VHOST_USER_GET_VRING_BASE, 1, &state,
                        sizeof(state), NULL, 0) ||
        !front_end_reply(front, VHOST_USER_GET_VRING_BASE, &state,
                         sizeof(state))) {
        return false;
    }
    *base = state.num;
    return true;
}

bool front_end_told(struct front_end *front, int milliseconds)
{
    struct pollfd pollfd = { .fd = front->channel, .events = POLLIN };
    struct { int request; uint32_t flags, size; } header;

    return poll(&pollfd, 1, milliseconds) == 1 &&
           recv(front->channel, &header, sizeof(header), 0) ==
           (ssize_t)sizeof(header) &&
           header.request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG &&
           header.size == 0;
}
