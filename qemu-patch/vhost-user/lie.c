/*
 * virtio-cryptodevd-lying: a daemon whose device lies, to test drivers with
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "lie.h"
#include "log.h"

/* An answer that is late is so by at most so many ms */
#define LATE_MS 2000

enum mode {
    HONEST,
    NOTHING,        /* used with nothing written, nothing done */
    SHORT,          /* used as if all were written, nothing done */
    LONG,           /* more written than the chain holds */
    SIZES,          /* of a session: wrong ones */
    VALUE,          /* huge, or the same for all files and sessions */
    ERROR,          /* numbers that are no errors */
    TWICE,          /* the same chain used twice */
    BOGUS,          /* a chain used that does not exist */
    LATE,           /* and out of order */
    NEEDS_RESET,    /* the instance changes, and the old one goes on */
    NEVER,          /* no answer */
    RANDOM,         /* any of these */
    MODES
};

/*
 * One answer in how many is a lie, so that there is something to lie about:
 * files and sessions. Most drivers give a queue up at the first answer to a
 * chain that they have not sent.
 */
static const struct {
    const char *name;
    unsigned one_in;
} modes[MODES] = {
    [HONEST] = { "honest", 1 },
    [NOTHING] = { "nothing", 2 },
    [SHORT] = { "short", 2 },
    [LONG] = { "long", 2 },
    [SIZES] = { "sizes", 1 },
    [VALUE] = { "value", 1 },
    [ERROR] = { "error", 3 },
    [TWICE] = { "twice", 64 },
    [BOGUS] = { "bogus", 64 },
    [LATE] = { "late", 16 },
    [NEEDS_RESET] = { "needs-reset", 64 },
    [NEVER] = { "never", 64 },
    [RANDOM] = { "random", 16 },
};

/* An answer that is held back */
struct held {
    struct held *next;
    uint64_t due;           /* ms */
    uint32_t id, written;
};

/* What each queue needs, by its index */
static struct liar {
    uint64_t random;        /* the generator's state; 0: not yet seeded */
    unsigned errors;        /* told so far */
    enum mode next;         /* what the chain being submitted is due */
    struct held *held;
} liars[VIRTIO_CRYPTODEV_MAX_QUEUES];

static enum mode mode = HONEST;
static uint64_t seed = 1;
static atomic_uint instances;   /* changes that the main thread has to make */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* Less than @bound: splitmix64, which takes any seed */
static uint32_t draw(struct liar *liar, uint32_t bound)
{
    uint64_t z;

    if (liar->random == 0) {
        liar->random = (seed << 8) + (liar - liars) + 1;
    }
    z = liar->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % bound;
}

/* The lie of the next answer */
static enum mode choose(struct liar *liar)
{
    enum mode chosen = mode;

    if (draw(liar, modes[mode].one_in) != 0) {
        return HONEST;
    }
    if (mode == RANDOM) {
        chosen = NOTHING + draw(liar, RANDOM - NOTHING);
        /* What ends a queue is to be rare here as well */
        if (modes[chosen].one_in >= 64 && draw(liar, 4) != 0) {
            return HONEST;
        }
    }
    return chosen;
}

/*
 * Options
 */

void lie_take_options(int *argc, char **argv)
{
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        const char *value = argv[i + 1];

        if (strcmp(argv[i], "--lie") == 0 && value) {
            for (mode = 0; strcmp(value, modes[mode].name) != 0; ) {
                if (++mode == MODES) {
                    die(EX_USAGE, "--lie %s: no such lie", value);
                }
            }
            i++;
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            seed = strtoull(value, NULL, 10);
            i++;
        } else {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    *argc = kept;
}

/*
 * The used ring, as vu_queue_fill() does it, which looks at the descriptor
 */

static void fill(struct queue *queue, uint32_t id, uint32_t written)
{
    VuVirtq *vq = queue->vq;
    struct vring_used *used = vq->vring.used;

    if (queue->view.broken || !used) {
        return;
    }
    used->ring[(vq->used_idx + queue->filled++) % vq->vring.num] =
        (struct vring_used_elem) { htole32(id), htole32(written) };
}

/* One more than there are chains: flushing takes it off what is in use */
static void fill_extra(struct queue *queue, uint32_t id, uint32_t written)
{
    queue->vq->inuse++;
    fill(queue, id, written);
}

/*
 * Requests and responses
 */

/* Copies the start of @iov to @data, or the other way */
static void copy(const struct iovec *iov, unsigned count, void *data,
                 size_t bytes, bool out)
{
    for (unsigned i = 0; i < count && bytes > 0; i++) {
        size_t part = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;

        if (out) {
            memcpy(iov[i].iov_base, data, part);
        } else {
            memcpy(data, iov[i].iov_base, part);
        }
        data = (char *)data + part;
        bytes -= part;
    }
}

static uint32_t total(const struct iovec *iov, unsigned count)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

static void spoil_value(struct liar *liar, bool numbers,
                        struct virtio_cryptodev_response *response)
{
    static const uint32_t values[] = {
        0xffffffff, 0x7fffffff, 0x80000000, 0x100001, 0xfffffff0
    };

    response->value =
        htole32(numbers ? 1 : values[draw(liar, sizeof(values) / 4)]);
}

/* Changes what the core has answered */
static void spoil(struct liar *liar, enum mode lie,
                  const VuVirtqElement *element)
{
    static const uint32_t errors[] = {
        0x7fffffff, 133, 134, 512, 513, 516, 517, 4095, 4096, 0x80000000,
        0xffffffff, 0xfffffff0, 1, 11
    };
    struct virtio_cryptodev_request request = { 0 };
    struct virtio_cryptodev_response response = { 0 };
    uint32_t command;
    bool gsession, opens;

    copy(element->out_sg, element->out_num, &request, sizeof(request), false);
    copy(element->in_sg, element->in_num, &response, sizeof(response), false);
    command = le32toh(request.command);
    opens = request.type == htole32(VIRTIO_CRYPTODEV_OPEN);
    gsession = request.type == htole32(VIRTIO_CRYPTODEV_IOCTL) &&
               command == VIRTIO_CRYPTODEV_GSESSION;

    if (lie == SIZES && gsession) {
        response.iv_bytes = htole32(200);
        response.mac_bytes = htole32(64);
    } else if (lie == VALUE && response.error == 0) {
        spoil_value(liar, opens || gsession, &response);
    } else if (lie == ERROR) {
        response.error =
            htole32(errors[liar->errors++ % (sizeof(errors) / 4)]);
    }
    copy(element->in_sg, element->in_num, &response, sizeof(response), true);
}

/*
 * Answers
 */

static void hold_back(struct queue *queue, uint32_t id, uint32_t written)
{
    struct liar *liar = &liars[queue->index];
    struct held *held = malloc(sizeof(*held));

    if (!held) {
        fill(queue, id, written);
        return;
    }
    *held = (struct held) {
        .next = liar->held,
        .due = now_ms() + draw(liar, LATE_MS),
        .id = id,
        .written = written,
    };
    liar->held = held;
}

void lie_fill_held(struct queue *queue, bool all)
{
    struct held **link = &liars[queue->index].held;
    uint64_t now = *link ? now_ms() : 0;

    while (*link) {
        struct held *held = *link;

        if (!all && held->due > now) {
            link = &held->next;
            continue;
        }
        *link = held->next;
        fill(queue, held->id, held->written);
        free(held);
    }
}

int lie_wait_ms(const struct queue *queue)
{
    const struct held *held = liars[queue->index].held;
    uint64_t now = held ? now_ms() : 0;
    int wait = -1;

    for (; held; held = held->next) {
        int ms = held->due > now ? (int)(held->due - now) : 0;

        wait = wait < 0 || ms < wait ? ms : wait;
    }
    return wait;
}

bool lie_submit(struct queue *queue, VuVirtqElement *element)
{
    struct liar *liar = &liars[queue->index];
    enum mode lie;

    if (mode != NOTHING && mode != SHORT && mode != RANDOM) {
        return false;
    }
    lie = choose(liar);
    if (lie != NOTHING && lie != SHORT) {
        /* What is left of the draw is for the next answer to be had */
        liar->next = lie != HONEST ? lie : liar->next;
        return false;
    }
    fill(queue, element->index,
         lie == SHORT ? total(element->in_sg, element->in_num) : 0);
    free(element);
    return true;
}

/* An id that is out of range, or one that was, or was not, submitted */
static uint32_t bogus_id(struct liar *liar, const VuVirtqElement *element,
                         unsigned num)
{
    switch (draw(liar, 4)) {
    case 0:
        return num + draw(liar, 64);
    case 1:
        return 0xffffffff - draw(liar, 2);
    case 2:
        return (element->index + 1 + draw(liar, 8)) % num;
    default:
        return num - 1 - draw(liar, 8) % num;
    }
}

bool lie_complete(struct queue *queue, VuVirtqElement *element,
                  size_t written)
{
    static const uint32_t more[] = { 1, 16, 4096, 1 << 20, 0x7fffffff };
    struct liar *liar = &liars[queue->index];
    uint32_t id = element->index;
    enum mode lie = liar->next;

    liar->next = HONEST;
    if (mode != NOTHING && mode != SHORT && mode != RANDOM) {
        lie = choose(liar);
    }

    switch (lie) {
    case LONG:
        fill(queue, id, total(element->in_sg, element->in_num) +
             more[draw(liar, sizeof(more) / 4)]);
        break;
    case SIZES:
    case VALUE:
    case ERROR:
        spoil(liar, lie, element);
        fill(queue, id, written);
        break;
    case TWICE:
        fill(queue, id, written);
        fill_extra(queue, id, written);
        break;
    case BOGUS:
        fill_extra(queue, bogus_id(liar, element, queue->vq->vring.num),
                   written);
        fill(queue, id, written);
        break;
    case LATE:
        hold_back(queue, id, written);
        break;
    case NEVER:
        break;
    case NEEDS_RESET:
        instances++;
        return false;
    default:
        return false;
    }
    free(element);
    return true;
}

bool lie_instance(struct virtio_cryptodev_config *config)
{
    unsigned changes = atomic_exchange(&instances, 0);

    config->instance = htole32(le32toh(config->instance) + changes);
    return changes > 0;
}
