/*
 * A vhost-user front end for tests: what it can do
 *
 *   front-end SOCKET known             a known answer on every queue
 *   front-end SOCKET pause             what lives through a pause, and what not
 *   front-end SOCKET fuzz SEED COUNT   hostile messages and rings, then known
 *   front-end SOCKET wait              known, then again whenever the guest is
 *                                      told of a change: for restarts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front-end.h"

#define GUEST_EBADF 9

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            fprintf(stderr, "front-end: %s:%d: %s\n", __FILE__,         \
                    __LINE__, #condition);                              \
            return EXIT_FAILURE;                                        \
        }                                                               \
    } while (0)

static int check_config(struct front_end *front, uint32_t *instance)
{
    struct {
        uint32_t offset, size, flags;
        struct virtio_cryptodev_config config;
    } message = { .size = sizeof(message.config) };

    CHECK(front_end_send(front, VHOST_USER_GET_CONFIG, 1, &message,
                         sizeof(message), NULL, 0));
    CHECK(front_end_reply(front, VHOST_USER_GET_CONFIG, &message,
                          sizeof(message)));
    CHECK(message.config.magic == VIRTIO_CRYPTODEV_MAGIC);
    CHECK(message.config.version == VIRTIO_CRYPTODEV_VERSION);
    CHECK(message.config.instance != 0);
    CHECK(message.config.num_queues >= front->num_queues);
    *instance = message.config.instance;
    return 0;
}

static int known_on(struct front_end *front, unsigned queue)
{
    uint32_t handle, session;

    CHECK(request_open(front, queue, &handle) == 0);
    CHECK(request_session(front, queue, handle, &session) == 0);
    CHECK(request_vector(front, queue, handle, session) == 0);
    CHECK(request_close(front, queue, handle) == 0);
    CHECK(request_vector(front, queue, handle, session) == GUEST_EBADF);
    return 0;
}

int known(const char *path)
{
    struct front_end front;
    uint32_t instance;

    CHECK(front_end_connect(&front, path));
    CHECK(front_end_handshake(&front));
    CHECK(check_config(&front, &instance) == 0);
    for (unsigned i = 0; i < front.num_queues; i++) {
        ring_clear(&front, i);
        CHECK(front_end_start(&front, i, 0));
    }
    for (unsigned i = 0; i < front.num_queues; i++) {
        CHECK(known_on(&front, i) == 0);
    }
    front_end_close(&front);
    return 0;
}

/* Does requests until the ring is at @index */
static int run_up_to(struct front_end *front, uint16_t index, uint32_t handle,
                     uint32_t session)
{
    while (front->rings[0].seen != index) {
        CHECK(request_vector(front, 0, handle, session) == 0);
    }
    return 0;
}

static int pause_once(struct front_end *front, uint16_t *base)
{
    CHECK(front_end_stop(front, 0, base));
    CHECK(*base == front->rings[0].seen);
    CHECK(front_end_start(front, 0, *base));
    return 0;
}

/* Also for files that were opened before the ring's index came round to 0 */
static int pauses(const char *path)
{
    struct front_end front;
    uint32_t handle, session;
    uint16_t base;

    CHECK(front_end_connect(&front, path));
    CHECK(front_end_handshake(&front));
    ring_clear(&front, 0);
    CHECK(front_end_start(&front, 0, 0));
    CHECK(request_open(&front, 0, &handle) == 0);
    CHECK(request_session(&front, 0, handle, &session) == 0);
    CHECK(request_vector(&front, 0, handle, session) == 0);

    CHECK(pause_once(&front, &base) == 0);
    CHECK(base == 3);
    CHECK(request_vector(&front, 0, handle, session) == 0);
    CHECK(front_end_memory_table(&front));
    CHECK(request_vector(&front, 0, handle, session) == 0);

    CHECK(run_up_to(&front, 0, handle, session) == 0);
    CHECK(pause_once(&front, &base) == 0);
    CHECK(base == 0);
    CHECK(request_vector(&front, 0, handle, session) == 0);
    CHECK(!front_end_told(&front, 100));

    /* A reset: another ring, zeroed, that starts at 0 */
    CHECK(front_end_stop(&front, 0, &base));
    ring_clear(&front, 0);
    CHECK(front_end_start(&front, 0, 0));
    CHECK(request_vector(&front, 0, handle, session) == GUEST_EBADF);
    CHECK(known_on(&front, 0) == 0);

    /* One where the index is 0 after all, so that only the ring tells */
    CHECK(request_open(&front, 0, &handle) == 0);
    CHECK(request_session(&front, 0, handle, &session) == 0);
    CHECK(run_up_to(&front, 0, handle, session) == 0);
    CHECK(front_end_stop(&front, 0, &base));
    CHECK(base == 0);
    ring_clear(&front, 0);
    CHECK(front_end_start(&front, 0, 0));
    CHECK(request_vector(&front, 0, handle, session) == GUEST_EBADF);

    /* A base that nobody returned */
    CHECK(front_end_stop(&front, 0, &base));
    CHECK(front_end_start(&front, 0, base + 5));
    CHECK(front_end_told(&front, 5000));
    CHECK(front_end_stop(&front, 0, &base));
    ring_clear(&front, 0);
    CHECK(front_end_start(&front, 0, 0));
    CHECK(known_on(&front, 0) == 0);
    front_end_close(&front);
    return 0;
}

/* What a guest's driver does when it sees another instance */
static int reset_guest(struct front_end *front, uint32_t *instance)
{
    uint32_t before = *instance;
    uint16_t base;

    CHECK(check_config(front, instance) == 0);
    CHECK(*instance != before);
    CHECK(front_end_stop(front, 0, &base));
    ring_clear(front, 0);
    CHECK(front_end_start(front, 0, 0));
    CHECK(known_on(front, 0) == 0);
    return 0;
}

static int wait_for_changes(const char *path)
{
    struct front_end front;
    uint32_t instance;

    CHECK(front_end_connect(&front, path));
    CHECK(front_end_handshake(&front));
    CHECK(check_config(&front, &instance) == 0);
    ring_clear(&front, 0);
    CHECK(front_end_start(&front, 0, 0));
    CHECK(known_on(&front, 0) == 0);
    for (;;) {
        struct pollfd fds[] = {
            { .fd = front.channel, .events = POLLIN },
            { .fd = front.fd, .events = POLLIN },
        };

        puts("serves");
        fflush(stdout);
        poll(fds, 2, -1);
        CHECK(fds[1].revents == 0);
        CHECK(front_end_told(&front, 0));
        CHECK(reset_guest(&front, &instance) == 0);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc >= 3 ? argv[2] : "";

    if (argc == 3 && strcmp(what, "known") == 0) {
        return known(argv[1]);
    }
    if (argc == 3 && strcmp(what, "pause") == 0) {
        return pauses(argv[1]);
    }
    if (argc == 3 && strcmp(what, "wait") == 0) {
        return wait_for_changes(argv[1]);
    }
    if (argc == 5 && strcmp(what, "fuzz") == 0) {
        return fuzz(argv[1], strtoull(argv[3], NULL, 0),
                    strtoul(argv[4], NULL, 0));
    }
    fprintf(stderr, "Usage: %s SOCKET known|pause|wait|fuzz SEED COUNT\n",
            argv[0]);
    return 64;
}
