/*
 * A vhost-user front end for tests: one that means harm
 *
 * What it sends is of three kinds: messages as QEMU's but for one thing,
 * messages of chance, and well-formed connections with rings that are not.
 * What the back end does with them does not matter, as long as it answers the
 * next one, and in the end serves somebody well.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front-end.h"

/* So many inputs at most are sent on one connection */
#define INPUTS_OF_ONE 40
#define KNOWN_EVERY 2000

static uint64_t state;
/*
 * A ring with something wrong stands still, and the requests behind it are
 * never looked at: on half of the connections only what is in them is odd.
 */
static bool rings_are_good;
/* Of each queue, where there is one that is good */
static uint32_t handles[MAX_QUEUES], sessions[MAX_QUEUES];

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dULL;
}

static uint32_t below(uint32_t limit)
{
    return (next() >> 32) % limit;
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

/* A number that somebody may not have thought of */
static uint64_t odd_number(void)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 65, 255, 256, 1023, 1024, 1025,
        4095, 4096, 4097, 32767, 32768, 65535, 65536,
        MEMORY_BYTES - 4096, MEMORY_BYTES - 1, MEMORY_BYTES, MEMORY_BYTES + 1,
        GUEST_BASE, GUEST_BASE + MEMORY_BYTES - 1, GUEST_BASE + MEMORY_BYTES,
        USER_BASE, USER_BASE + MEMORY_BYTES - 1, USER_BASE + MEMORY_BYTES,
        USER_BASE + MEMORY_BYTES - 4096, USER_BASE - 4096,
        INT32_MAX, 1ULL << 31, UINT32_MAX, 1ULL << 32, 1ULL << 40,
        INT64_MAX, 1ULL << 63, UINT64_MAX - 4096, UINT64_MAX,
    };
    uint64_t number = numbers[below(sizeof(numbers) / sizeof(numbers[0]))];

    switch (below(8)) {
    case 0:
        return next();
    case 1:
        return number + below(5000) - 2500;
    case 2:
        return below(4);
    default:
        return number;
    }
}

/* Descriptors of all kinds; each is the caller's */
static int odd_fd(const struct front_end *front)
{
    int pair[2], fd;

    switch (below(9)) {
    case 0:
        fd = memfd_create("odd", MFD_CLOEXEC);
        if (ftruncate(fd, below(1 << 20)) < 0) {
            abort();
        }
        return fd;
    case 1:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 2:
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    case 3:
        return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    case 4:
    case 5:
        if (socketpair(AF_UNIX, one_in(2) ? SOCK_STREAM : SOCK_DGRAM, 0,
                       pair) < 0) {
            abort();
        }
        close(pair[1]);
        return pair[0];
    case 6:
        if (pipe(pair) < 0) {
            abort();
        }
        fd = one_in(2);
        close(pair[!fd]);
        return pair[fd];
    case 7:
        return dup(front->memory_fd);
    default:
        /* One that can't take any more, at times */
        fd = eventfd(0, EFD_CLOEXEC | (one_in(2) ? EFD_NONBLOCK : 0));
        if (one_in(4)) {
            eventfd_write(fd, UINT64_MAX - 1);
        }
        return fd;
    }
}

/* A message, with up to 20 descriptors that are closed when it is sent */
struct odd_message {
    int request;
    uint32_t flags, size;
    union {
        uint64_t u64;
        struct vhost_vring_state state;
        struct vhost_vring_addr addr;
        VhostUserMemory memory;
        VhostUserConfig config;
        uint8_t bytes[1024];
    } payload;
    int fds[20];
    unsigned num_fds;
};

static void add_fds(struct odd_message *message, const struct front_end *front,
                    unsigned count)
{
    while (message->num_fds < count) {
        message->fds[message->num_fds++] = odd_fd(front);
    }
}

static void make_memory(struct odd_message *message,
                        const struct front_end *front)
{
    VhostUserMemory *memory = &message->payload.memory;
    unsigned count = 1 + below(8);

    memory->nregions = count;
    for (unsigned i = 0; i < count; i++) {
        uint64_t part = MEMORY_BYTES / 8;

        memory->regions[i] = (VhostUserMemoryRegion) {
            GUEST_BASE + i * part, part, USER_BASE + i * part, i * part
        };
        message->fds[i] = dup(front->memory_fd);
    }
    message->num_fds = count;
    message->size = offsetof(VhostUserMemory, regions[count]);
}

static void make_addr(struct odd_message *message,
                      const struct front_end *front)
{
    uint32_t index = below(front->num_queues ? front->num_queues : 1);
    uint64_t at = USER_BASE + index * RING_BYTES;

    message->payload.addr = (struct vhost_vring_addr) {
        .index = index, .desc_user_addr = at,
        .avail_user_addr = at + 0x2000, .used_user_addr = at + 0x3000,
    };
    message->size = sizeof(message->payload.addr);
}

static void make_file(struct odd_message *message)
{
    message->payload.u64 = below(MAX_QUEUES);
    message->fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    message->num_fds = 1;
    message->size = sizeof(uint64_t);
}

/* One that QEMU could send */
static void make_message(struct odd_message *message,
                         const struct front_end *front)
{
    static const int requests[] = {
        VHOST_USER_GET_FEATURES, VHOST_USER_SET_FEATURES, VHOST_USER_SET_OWNER,
        VHOST_USER_SET_MEM_TABLE, VHOST_USER_SET_MEM_TABLE,
        VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_ADDR,
        VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_BASE,
        VHOST_USER_GET_VRING_BASE, VHOST_USER_GET_VRING_BASE,
        VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
        VHOST_USER_SET_VRING_ERR, VHOST_USER_GET_PROTOCOL_FEATURES,
        VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_GET_QUEUE_NUM,
        VHOST_USER_SET_VRING_ENABLE, VHOST_USER_SET_BACKEND_REQ_FD,
        VHOST_USER_GET_CONFIG, VHOST_USER_SET_CONFIG,
    };
    int pair[2];

    message->request = requests[below(sizeof(requests) / sizeof(requests[0]))];
    message->flags = 1 | (one_in(3) ? VHOST_USER_NEED_REPLY_MASK : 0);
    switch (message->request) {
    case VHOST_USER_SET_MEM_TABLE:
        make_memory(message, front);
        break;
    case VHOST_USER_SET_VRING_ADDR:
        make_addr(message, front);
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        make_file(message);
        break;
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_VRING_ENABLE:
        message->payload.state.index = below(MAX_QUEUES);
        message->payload.state.num = 1u << below(11);
        message->size = sizeof(message->payload.state);
        break;
    case VHOST_USER_SET_FEATURES:
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        message->payload.u64 = one_in(2) ? 0x160000000ULL : 0x229;
        message->size = sizeof(uint64_t);
        break;
    case VHOST_USER_SET_BACKEND_REQ_FD:
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
            abort();
        }
        close(pair[1]);
        message->fds[0] = pair[0];
        message->num_fds = 1;
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        message->payload.config.size = below(257);
        message->size = VHOST_USER_CONFIG_HDR_SIZE +
                        message->payload.config.size;
        break;
    }
}

/* One thing about it that is not as it should be */
static void spoil(struct odd_message *message, const struct front_end *front)
{
    switch (below(8)) {
    case 0:
        message->size = one_in(2) ? below(1024) : message->size + 8;
        break;
    case 1:
        message->flags = one_in(2) ? below(64) : next();
        break;
    case 2:
        message->request = one_in(2) ? (int)below(64) :
                           (int)odd_number();
        break;
    case 3:
        add_fds(message, front, message->num_fds + 1 + below(10));
        break;
    case 4:
        if (message->num_fds > 0) {
            unsigned i = below(message->num_fds);

            close(message->fds[i]);
            message->fds[i] = odd_fd(front);
        }
        break;
    default: {
        /* A field: most are 4 or 8 bytes */
        uint64_t number = odd_number();
        uint32_t words = message->size / 4;

        if (words > 0) {
            unsigned at = below(words);

            memcpy(message->payload.bytes + at * 4, &number,
                   one_in(2) && at + 1 < words ? 8 : 4);
        }
    }
    }
}

static bool send_odd(struct front_end *front, struct odd_message *message)
{
    /* What is announced, and at times not all of it, or none that is true */
    uint32_t size = message->size < sizeof(message->payload) ?
                    message->size : sizeof(message->payload);
    bool sent = front_end_send(front, message->request, message->flags,
                               message->payload.bytes, size, message->fds,
                               message->num_fds);

    for (unsigned i = 0; i < message->num_fds; i++) {
        close(message->fds[i]);
    }
    return sent;
}

static bool odd_message(struct front_end *front)
{
    struct odd_message message = { 0 };

    make_message(&message, front);
    if (!one_in(3)) {
        spoil(&message, front);
    }
    return send_odd(front, &message);
}

static bool message_of_chance(struct front_end *front)
{
    struct odd_message message = {
        .request = one_in(8) ? (int)next() : (int)below(50),
        .flags = one_in(8) ? next() : 1 | below(2) << 3,
        .size = one_in(16) ? next() : below(300),
    };

    for (size_t i = 0; i < sizeof(message.payload); i += 8) {
        uint64_t number = odd_number();

        memcpy(message.payload.bytes + i, &number, 8);
    }
    add_fds(&message, front, one_in(2) ? 0 : below(20));
    return send_odd(front, &message);
}

/* Half of one, and silence; the connection is of no more use */
static bool half_message(struct front_end *front)
{
    struct { int request; uint32_t flags, size; uint8_t payload[8]; } half = {
        below(42), 1, 8 + below(200), { 0 }
    };

    if (send(front->fd, &half, 1 + below(sizeof(half)), MSG_NOSIGNAL) > 0 &&
        one_in(8)) {
        poll(NULL, 0, below(20));
    }
    return false;
}

/*
 * Rings
 */

static uint64_t guest_address(void)
{
    return one_in(6) ? odd_number() : GUEST_BASE + HEAP +
           below(MEMORY_BYTES - HEAP);
}

/* A request that may be one */
static uint32_t odd_request(uint8_t *at)
{
    static const uint16_t commands[] = { 102, 103, 104, 107, 109, 0 };
    static const uint8_t sizes[] = { 0, 8, 16, 24, 32, 64, 255 };
    struct virtio_cryptodev_request request = {
        .type = below(5), .handle = below(4), .command = commands[below(6)],
    };
    uint32_t words[6] = { 0 };

    if (request.command == 102) {
        words[0] = below(30);
        words[1] = one_in(2) ? 0 : below(120);
        words[2] = sizes[below(7)];
        words[3] = sizes[below(7)];
    } else {
        words[0] = below(4);
        words[1] = below(2) | below(128) << 16;
        words[2] = one_in(4) ? odd_number() : below(64) * 16;
        words[3] = one_in(4) ? odd_number() : 16;
        words[4] = one_in(4) ? odd_number() : words[2];
        words[5] = one_in(4) ? odd_number() : 0;
    }
    memcpy(at, &request, sizeof(request));
    memcpy(at + sizeof(request), words, sizeof(words));
    return sizeof(request) + sizeof(words) + below(1100);
}

/* Mostly a chain that could be one, in @desc of @num; some of it is not */
static void odd_chain(struct front_end *front, struct vring_desc *desc,
                      unsigned num)
{
    uint32_t at = HEAP + below(MEMORY_BYTES - HEAP - 4096);
    unsigned out = 1 + below(3);
    unsigned in = rings_are_good ? 1 + below(2) : below(3);
    uint32_t bytes = odd_request(front->memory + at);

    for (unsigned i = 0; i < out + in && i < num; i++) {
        desc[i] = (struct vring_desc) {
            .addr = GUEST_BASE + at + i * (bytes / out),
            .len = i < out ? bytes / out : 16 + below(2000),
            .flags = (i >= out ? VRING_DESC_F_WRITE : 0) |
                     (i + 1 < out + in ? VRING_DESC_F_NEXT : 0),
            .next = i + 1,
        };
    }
    if (!rings_are_good && one_in(2)) {
        struct vring_desc *bad = &desc[below(num)];

        switch (below(5)) {
        case 0:
            bad->addr = guest_address();
            break;
        case 1:
            bad->len = odd_number();
            break;
        case 2:
            bad->flags = below(8);
            break;
        case 3:
            bad->flags |= VRING_DESC_F_NEXT;
            bad->next = below(num + 2);
            break;
        default:
            bad->next = odd_number();
        }
    }
}

/* The same in a table of its own, at times of an odd length or at the end */
static void odd_table(struct front_end *front, struct vring_desc *head)
{
    unsigned num = rings_are_good ? 8 : 1 + below(40);
    uint32_t bytes = num * sizeof(struct vring_desc);
    bool odd = !rings_are_good && one_in(2);
    uint32_t at = one_in(4) ? MEMORY_BYTES - bytes :
                  HEAP + (below(MEMORY_BYTES - HEAP - bytes) & ~15u);

    odd_chain(front, (void *)(front->memory + at), num);
    *head = (struct vring_desc) {
        .addr = GUEST_BASE + at,
        .len = !odd ? bytes : one_in(2) ? odd_number() : bytes - below(16),
        .flags = VRING_DESC_F_INDIRECT | (odd ? below(8) : 0),
    };
}

static void odd_ring(struct front_end *front, struct ring *ring)
{
    unsigned chains = 1 + below(8);

    for (unsigned i = 0; i < chains; i++) {
        uint16_t head = below(RING_NUM / 8) * 8;

        if (one_in(3)) {
            odd_table(front, &ring->desc[head]);
        } else {
            odd_chain(front, &ring->desc[head],
                      one_in(4) ? RING_NUM - head : 8);
        }
        ring_kick(ring, !rings_are_good && one_in(20) ?
                        (uint16_t)odd_number() : head);
    }
    if (rings_are_good) {
        ring->seen = ring->used->idx;
        return;
    }
    if (one_in(30)) {
        ring->avail->idx = odd_number();
        eventfd_write(ring->kick, 1);
    }
    if (one_in(30)) {
        ring->used->idx = odd_number();
    }
}

/* Stops in mid-work, and goes on in one way or another */
static bool odd_stop(struct front_end *front, unsigned queue)
{
    uint16_t base;

    if (!front_end_stop(front, queue, &base)) {
        return false;
    }
    switch (below(4)) {
    case 0:
        return front_end_start(front, queue, base);
    case 1:
        return front_end_start(front, queue, odd_number());
    default:
        ring_clear(front, queue);
        return front_end_start(front, queue, 0);
    }
}

/* Some files and sessions that are good, for the requests of chance to hit */
static void honest_work(struct front_end *front, unsigned queue)
{
    uint32_t handle, session;

    if (front->rings[queue].used->idx == front->rings[queue].seen &&
        request_open(front, queue, &handle) == 0 &&
        request_session(front, queue, handle, &session) == 0) {
        request_vector(front, queue, handle, session);
        handles[queue] = handle;
        sessions[queue] = session;
    }
}

/* Work that takes a while, not waited for: what comes next is in its midst */
static void long_work(struct front_end *front, unsigned queue)
{
    struct ring *ring = &front->rings[queue];
    uint32_t bytes = 0x10000 << below(4), at = HEAP + below(16) * 64;
    struct {
        struct virtio_cryptodev_request request;
        struct virtio_cryptodev_crypt crypt;
        uint8_t iv[16];
    } out = {
        .request = {
            .type = VIRTIO_CRYPTODEV_IOCTL, .handle = handles[queue],
            .command = VIRTIO_CRYPTODEV_CRYPT,
        },
        .crypt = {
            .session = sessions[queue], .len = bytes, .iv_bytes = 16,
            .result_bytes = bytes,
        },
    };

    memcpy(front->memory + at, &out, sizeof(out));
    ring->desc[0] = (struct vring_desc) {
        GUEST_BASE + at, sizeof(out), VRING_DESC_F_NEXT, 1
    };
    ring->desc[1] = (struct vring_desc) {
        GUEST_BASE + MEMORY_BYTES / 2, bytes, VRING_DESC_F_NEXT, 2
    };
    ring->desc[2] = (struct vring_desc) {
        GUEST_BASE + MEMORY_BYTES / 4 * 3,
        sizeof(struct virtio_cryptodev_response) + bytes,
        VRING_DESC_F_WRITE, 0
    };
    for (unsigned i = 1 + below(8); i > 0; i--) {
        ring_kick(ring, 0);
    }
}

/*
 * Connections
 */

/* A ring at the very end of memory, or beyond */
static bool edge_ring(struct front_end *front, unsigned queue)
{
    struct vhost_vring_state num = { queue, 1u << below(12) };
    struct vhost_vring_addr addr = {
        .index = queue,
        .desc_user_addr = USER_BASE + MEMORY_BYTES - (num.num * 16) +
                          (one_in(2) ? 0 : 16),
        .avail_user_addr = USER_BASE + 0x2000,
        .used_user_addr = USER_BASE + MEMORY_BYTES -
                          ((6 + num.num * 8 + 3) & ~3u) +
                          (one_in(2) ? 0 : 4),
    };
    uint64_t kick = queue;
    struct vhost_vring_state enable = { queue, 1 };
    uint16_t base;

    if (!front_end_stop(front, queue, &base)) {
        return false;
    }
    memset(front->memory + MEMORY_BYTES - 0x8000, one_in(2) ? 0xff : 0, 0x8000);
    return front_end_send(front, VHOST_USER_SET_VRING_NUM, 1, &num,
                          sizeof(num), NULL, 0) &&
           front_end_send(front, VHOST_USER_SET_VRING_ADDR, 1, &addr,
                          sizeof(addr), NULL, 0) &&
           front_end_send(front, VHOST_USER_SET_VRING_KICK, 1, &kick,
                          sizeof(kick), &front->rings[queue].kick, 1) &&
           front_end_send(front, VHOST_USER_SET_VRING_ENABLE, 1, &enable,
                          sizeof(enable), NULL, 0);
}

/* One input. False when the connection is of no more use. */
static bool input(struct front_end *front, bool started)
{
    unsigned queue = below(front->num_queues ? front->num_queues : 1);

    if (started && !one_in(3)) {
        switch (below(24)) {
        case 0:
        case 1:
            return odd_stop(front, queue);
        case 2:
            return front_end_memory_table(front);
        case 3:
            return edge_ring(front, queue);
        case 4:
        case 5:
        case 6:
            long_work(front, queue);
            return true;
        default:
            odd_ring(front, &front->rings[queue]);
            return true;
        }
    }
    switch (below(started ? 30 : 8)) {
    case 0:
        return half_message(front);
    case 1:
        return message_of_chance(front);
    default:
        return odd_message(front);
    }
}

/* Whether the back end still listens; replies to what was sent come first */
static bool is_alive(struct front_end *front)
{
    uint64_t features;

    return front_end_get_u64(front, VHOST_USER_GET_FEATURES, &features);
}

static unsigned long one_connection(const char *path, unsigned long limit)
{
    struct front_end front;
    unsigned long done = 0;
    bool started = false;

    rings_are_good = one_in(2);
    if (!front_end_connect(&front, path)) {
        fprintf(stderr, "front-end: nobody listens at %s any more\n", path);
        exit(EXIT_FAILURE);
    }
    if (!one_in(4)) {
        if (!front_end_handshake(&front)) {
            fprintf(stderr, "front-end: an honest handshake was refused\n");
            exit(EXIT_FAILURE);
        }
        started = !one_in(4);
    }
    for (unsigned i = 0; started && i < front.num_queues; i++) {
        if (!front_end_start(&front, i, 0)) {
            fprintf(stderr, "front-end: an honest start was refused\n");
            exit(EXIT_FAILURE);
        }
        if (one_in(2)) {
            honest_work(&front, i);
        }
    }
    while (done < limit && done < INPUTS_OF_ONE) {
        done++;
        if (!input(&front, started)) {
            break;
        }
        if (one_in(8) && !is_alive(&front)) {
            break;
        }
    }
    front_end_close(&front);
    return done;
}

int fuzz(const char *path, uint64_t seed, unsigned long count)
{
    unsigned long done = 0, connections = 0, checked = 0;

    state = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    while (done < count) {
        done += one_connection(path, count - done);
        connections++;
        if (done - checked >= KNOWN_EVERY) {
            checked = done;
            if (known(path) != 0) {
                fprintf(stderr, "front-end: after %lu inputs\n", done);
                return EXIT_FAILURE;
            }
        }
    }
    printf("%lu inputs on %lu connections, seed %llu\n", done, connections,
           (unsigned long long)seed);
    return known(path);
}
