/*
 * virtio cryptodev: what the core's tests are made of
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <malloc.h>
#include <sys/mman.h>
#include <time.h>

#include "harness.h"

/* What a chain's in side holds before it is answered, by position */
#define CANARY(at)      (0xa5 ^ (uint8_t)(at))

const struct vcd_config config_default = VCD_CONFIG_DEFAULT;

_Noreturn void fail(void)
{
    fflush(NULL);
#ifdef VCD_TEST_FUZZ
    /* libFuzzer keeps the input. */
    abort();
#else
    _exit(1);
#endif
}

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static _Thread_local uint64_t random_state = 1;

void random_seed(uint64_t seed)
{
    random_state = seed * 2 + 1;
}

uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 16) % limit;
}

static void nap(void)
{
    usleep(500);
}

/*
 * What is freed is looked through for keys. The linker has the core, the
 * backends and the tests call this in place of free().
 */

void __real_free(void *pointer);
void __wrap_free(void *pointer);

void __wrap_free(void *pointer)
{
    if (pointer && memmem(pointer, malloc_usable_size(pointer), SECRET,
                          SECRET_BYTES)) {
        FAIL("memory with a key in it is freed");
    }
    __real_free(pointer);
}

/* For the tests' own memory, which is full of keys */
static void free_own(void *pointer)
{
    __real_free(pointer);
}

/*
 * Threads
 */

unsigned threads_alive(void)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned count = 0;

    CHECK(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        count += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return count;
}

void wait_for_threads(unsigned at_most)
{
    uint64_t end = now_ns() + PATIENCE_MS * UINT64_C(1000000);

    while (threads_alive() > at_most) {
        if (now_ns() > end) {
            FAIL("%u threads are left, not %u", threads_alive(), at_most);
        }
        nap();
    }
}

int run_tests(const struct test *tests, size_t count, int argc, char **argv)
{
    unsigned threads;

    setvbuf(stdout, NULL, _IOLBF, 0);
    /* One of the sanitizer's own may come at the first other one. */
    threads = threads_alive() + UNDER_TSAN;
    for (size_t i = 0; i < count; i++) {
        bool wanted = argc < 2;

        for (int j = 1; j < argc; j++) {
            wanted |= !strcmp(argv[j], tests[i].name);
        }
        if (!wanted) {
            continue;
        }
        random_seed(i + 1);
        alarm(4 * PATIENCE_MS / 1000);
        tests[i].run();
        wait_for_threads(threads);
        printf("ok %s\n", tests[i].name);
    }
    return 0;
}

/*
 * The arena
 */

static struct {
    uint8_t *base;
    size_t bytes, used;
} arena;

void arena_begin(size_t bytes)
{
    arena.bytes = (bytes + 4095) & ~(size_t)4095;
    arena.used = 0;
    arena.base = mmap(NULL, arena.bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(arena.base != MAP_FAILED);
}

void arena_forbid(void)
{
    CHECK(mprotect(arena.base, arena.bytes, PROT_NONE) == 0);
}

void arena_allow(void)
{
    CHECK(mprotect(arena.base, arena.bytes, PROT_READ | PROT_WRITE) == 0);
}

void arena_end(void)
{
    munmap(arena.base, arena.bytes);
    arena.base = NULL;
    arena.bytes = 0;
}

bool arena_holds(const void *pointer)
{
    return arena.base && (const uint8_t *)pointer >= arena.base &&
           (const uint8_t *)pointer < arena.base + arena.bytes;
}

static void *guest_alloc(size_t bytes)
{
    void *memory;

    if (!arena.base) {
        /* Of exactly that size, so that a byte more is found out */
        memory = malloc(bytes ? bytes : 1);
        CHECK(memory);
        return memory;
    }
    memory = arena.base + arena.used;
    arena.used += (bytes + 15) & ~(size_t)15;
    CHECK(arena.used <= arena.bytes);
    return memory;
}

/*
 * Messages
 */

void message_append(struct message *message, const void *data, size_t bytes)
{
    if (bytes == 0) {
        return;
    }
    message->out = realloc(message->out, message->out_bytes + bytes);
    CHECK(message->out);
    memcpy(message->out + message->out_bytes, data, bytes);
    message->out_bytes += bytes;
}

struct message message_new(uint32_t type, uint32_t handle, uint32_t command,
                           const void *body, size_t body_bytes,
                           size_t in_bytes)
{
    struct virtio_cryptodev_request request = {
        .type = type, .handle = handle, .command = command,
    };
    struct message message = { .in_bytes = RESPONSE_BYTES + in_bytes };

    message_append(&message, &request, sizeof(request));
    message_append(&message, body, body_bytes);
    return message;
}

struct message message_open(void)
{
    return message_new(VIRTIO_CRYPTODEV_OPEN, 0, 0, NULL, 0, 0);
}

struct message message_close(uint32_t handle)
{
    return message_new(VIRTIO_CRYPTODEV_CLOSE, handle, 0, NULL, 0, 0);
}

struct message message_gsession(uint32_t handle, uint32_t cipher, uint32_t mac,
                                const void *key, uint32_t key_bytes,
                                const void *mac_key, uint32_t mac_key_bytes)
{
    struct virtio_cryptodev_gsession body = {
        .cipher = cipher, .mac = mac, .key_bytes = key_bytes,
        .mac_key_bytes = mac_key_bytes,
    };
    struct message message = message_new(VIRTIO_CRYPTODEV_IOCTL, handle,
                                         VIRTIO_CRYPTODEV_GSESSION, &body,
                                         sizeof(body), 0);

    message_append(&message, key, key_bytes);
    message_append(&message, mac_key, mac_key_bytes);
    return message;
}

struct message message_fsession(uint32_t handle, uint32_t session)
{
    return message_new(VIRTIO_CRYPTODEV_IOCTL, handle,
                       VIRTIO_CRYPTODEV_FSESSION, &session, sizeof(session),
                       0);
}

struct message message_gsessinfo(uint32_t handle, uint32_t session)
{
    return message_new(VIRTIO_CRYPTODEV_IOCTL, handle,
                       VIRTIO_CRYPTODEV_GSESSINFO, &session, sizeof(session),
                       sizeof(struct virtio_cryptodev_gsessinfo));
}

struct message message_crypt(uint32_t handle, const struct crypt *crypt)
{
    struct virtio_cryptodev_crypt body = {
        .session = crypt->session, .op = crypt->op, .flags = crypt->flags,
        .len = crypt->len, .iv_bytes = crypt->iv_bytes,
        .result_bytes = crypt->result_bytes, .mac_bytes = crypt->mac_bytes,
    };
    struct message message =
        message_new(VIRTIO_CRYPTODEV_IOCTL, handle, VIRTIO_CRYPTODEV_CRYPT,
                    &body, sizeof(body),
                    (size_t)crypt->result_bytes + crypt->mac_bytes +
                    crypt->iv_back);

    message_append(&message, crypt->iv, crypt->iv_bytes);
    message_append(&message, crypt->src, crypt->len);
    return message;
}

struct message message_authcrypt(uint32_t handle, const struct auth *auth)
{
    struct virtio_cryptodev_authcrypt body = {
        .session = auth->session, .op = auth->op, .flags = auth->flags,
        .len = auth->len, .iv_bytes = auth->iv_bytes,
        .auth_bytes = auth->data_bytes, .auth_before = auth->auth_before,
        .auth_len = auth->auth_len, .tag_bytes = auth->tag_bytes,
        .result_bytes = auth->result_bytes, .reserved = auth->reserved,
    };
    struct message message =
        message_new(VIRTIO_CRYPTODEV_IOCTL, handle, VIRTIO_CRYPTODEV_AUTHCRYPT,
                    &body, sizeof(body),
                    (size_t)auth->result_bytes + auth->back);

    message_append(&message, auth->iv, auth->iv_bytes);
    message_append(&message, auth->data, auth->data_bytes);
    if (auth->tag) {
        message_append(&message, auth->tag, auth->tag_bytes);
    }
    message_append(&message, auth->src, auth->len);
    return message;
}

struct message message_cphash(uint32_t handle, uint32_t to, uint32_t from)
{
    struct virtio_cryptodev_cphash body = {
        .to_session = to, .from_session = from,
    };

    return message_new(VIRTIO_CRYPTODEV_IOCTL, handle, VIRTIO_CRYPTODEV_CPHASH,
                       &body, sizeof(body), 0);
}

struct message message_copy(const struct message *message)
{
    struct message copy = { .in_bytes = message->in_bytes };

    message_append(&copy, message->out, message->out_bytes);
    return copy;
}

void message_free(struct message *message)
{
    free_own(message->out);
    message->out = NULL;
}

/*
 * The transport
 */

static void on_complete(void *queue_opaque, void *cookie, size_t written)
{
    struct bed_queue *queue = queue_opaque;
    struct chain *chain = cookie;

    CHECK(chain->queue == queue);
    CHECK_EQUAL(chain->state, CHAIN_SENT);
    CHECK(written >= RESPONSE_BYTES && written <= chain->in_bytes);
    chain->state = CHAIN_COMPLETED;
    chain->written = written;
    chain->turn = queue->completed++;
    if (queue->on_complete) {
        queue->on_complete(queue, chain);
    }
}

static void free_guest_memory(struct chain *chain)
{
    if (!chain->in_arena && chain->out) {
        for (unsigned i = 0; i < chain->out_num; i++) {
            free_own(chain->out[i].iov_base);
        }
        for (unsigned i = 0; i < chain->in_num; i++) {
            free_own(chain->in[i].iov_base);
        }
        free_own(chain->out);
        free_own(chain->in);
    }
    chain->out = NULL;
}

static void on_drop(void *queue_opaque, void *cookie)
{
    struct bed_queue *queue = queue_opaque;
    struct chain *chain = cookie;

    CHECK(chain->queue == queue);
    CHECK_EQUAL(chain->state, CHAIN_SENT);
    chain->state = CHAIN_DROPPED;
    chain->turn = queue->dropped++;
    /* So that it is found out if it is touched once more */
    free_guest_memory(chain);
}

static void on_wake(void *queue_opaque)
{
    struct bed_queue *queue = queue_opaque;
    struct bed *bed = queue->bed;

    pthread_mutex_lock(&bed->lock);
    queue->woken = true;
    pthread_cond_broadcast(&bed->wakes);
    pthread_mutex_unlock(&bed->lock);
}

static void set_flag(struct bed *bed, bool *flag)
{
    pthread_mutex_lock(&bed->lock);
    *flag = true;
    pthread_cond_broadcast(&bed->wakes);
    pthread_mutex_unlock(&bed->lock);
}

static void on_hold(void *opaque)
{
    struct bed *bed = opaque;

    set_flag(bed, &bed->hold_asked);
}

static void on_release(void *opaque)
{
    struct bed *bed = opaque;

    set_flag(bed, &bed->release_asked);
}

/* The bed that is to be told: one ends at a time. */
static struct bed *ending;

static void on_backend_done(void *backend_opaque)
{
    struct bed *bed = ending;

    CHECK(backend_opaque == bed->backend_opaque);
    set_flag(bed, &bed->gone);
}

static const struct vcd_ops ops = {
    .complete = on_complete,
    .drop = on_drop,
    .wake = on_wake,
};

static const struct vcd_ops holding_ops = {
    .complete = on_complete,
    .drop = on_drop,
    .wake = on_wake,
    .hold = on_hold,
    .release = on_release,
};

static struct bed *make_bed(const struct vcd_backend *backend, void *opaque,
                            const struct vcd_config *config,
                            const struct vcd_ops *bed_ops)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    pthread_condattr_t attributes;

    CHECK(bed);
    bed->config = config ? *config : config_default;
    CHECK(bed->config.num_queues <= BED_QUEUES);
    CHECK(!vcd_config_error(&bed->config));
    pthread_mutex_init(&bed->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&bed->wakes, &attributes);
    pthread_condattr_destroy(&attributes);
    bed->backend_opaque = opaque;
    bed->dev = vcd_device_new(&bed->config, backend, opaque, bed_ops, bed);
    CHECK(bed->dev);
    for (uint32_t i = 0; i < bed->config.num_queues; i++) {
        bed->queues[i].bed = bed;
        bed->queues[i].vcd = vcd_device_queue(bed->dev, i);
        vcd_queue_set_opaque(bed->queues[i].vcd, &bed->queues[i]);
    }
    return bed;
}

struct bed *bed_new(const struct vcd_backend *backend,
                    const struct vcd_config *config)
{
    return make_bed(backend, &ending, config, &ops);
}

struct bed *bed_new_with(const struct vcd_backend *backend, void *opaque,
                         const struct vcd_config *config)
{
    return make_bed(backend, opaque, config, &ops);
}

struct bed *bed_new_holding(const struct vcd_backend *backend,
                            const struct vcd_config *config)
{
    return make_bed(backend, &ending, config, &holding_ops);
}

void bed_release_device(struct bed *bed)
{
    for (uint32_t i = 0; i < bed->config.num_queues; i++) {
        vcd_queue_reset(bed->queues[i].vcd);
        CHECK_EQUAL(vcd_queue_in_flight(bed->queues[i].vcd), 0);
    }
    ending = bed;
    vcd_device_free(bed->dev, on_backend_done);
}

void bed_wait_gone(struct bed *bed)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&bed->lock);
    while (!bed->gone) {
        if (pthread_cond_timedwait(&bed->wakes, &bed->lock, &end)) {
            FAIL("a device does not end: %u files, %u sessions are alive",
                 alive_files(), alive_sessions());
        }
    }
    pthread_mutex_unlock(&bed->lock);
    test_backend_reset();
    pthread_cond_destroy(&bed->wakes);
    pthread_mutex_destroy(&bed->lock);
    free(bed);
}

void bed_free(struct bed *bed)
{
    gate_open_all();
    bed_release_device(bed);
    bed_wait_gone(bed);
}

uint64_t bed_stat(struct bed *bed, enum vcd_stat stat)
{
    return vcd_device_stat(bed->dev, stat);
}

void bed_wait_stat(struct bed *bed, enum vcd_stat stat, uint64_t value)
{
    uint64_t end = now_ns() + PATIENCE_MS * UINT64_C(1000000);

    while (bed_stat(bed, stat) != value) {
        if (now_ns() > end) {
            FAIL("%s is %llu, not %llu", vcd_stat_name(stat),
                 (unsigned long long)bed_stat(bed, stat),
                 (unsigned long long)value);
        }
        for (uint32_t i = 0; i < bed->config.num_queues; i++) {
            queue_pump(&bed->queues[i], 0);
        }
        nap();
    }
}

/*
 * Chains
 */

/* Cuts @bytes into parts, some of them empty; returns how many */
static unsigned cut(struct iovec *parts, size_t bytes, bool whole)
{
    unsigned count = whole ? 1 : 1 + random_below(CHAIN_PARTS);

    for (unsigned i = 0; i < count; i++) {
        size_t part = bytes;

        if (i + 1 < count) {
            /* Often within the structures, at the beginning */
            part = random_below(2) ? random_below(bytes + 1) :
                                     random_below(24);
            part = part < bytes ? part : bytes;
        }
        parts[i].iov_base = guest_alloc(part);
        parts[i].iov_len = part;
        bytes -= part;
    }
    return count;
}

struct chain *chain_new(struct bed_queue *queue, struct message message)
{
    struct chain *chain = calloc(1, sizeof(*chain));
    size_t at = 0;

    CHECK(chain);
    chain->queue = queue;
    chain->in_arena = arena.base;
    chain->in_bytes = message.in_bytes;
    chain->out = guest_alloc(CHAIN_PARTS * sizeof(struct iovec));
    chain->in = guest_alloc(CHAIN_PARTS * sizeof(struct iovec));
    chain->out_num = cut(chain->out, message.out_bytes, queue->bed->whole);
    chain->in_num = cut(chain->in, message.in_bytes, queue->bed->whole);
    for (unsigned i = 0; i < chain->out_num; i++) {
        uint8_t *bytes = chain->out[i].iov_base;

        for (size_t j = 0; j < chain->out[i].iov_len; j++) {
            bytes[j] = message.out[at++];
        }
    }
    at = 0;
    for (unsigned i = 0; i < chain->in_num; i++) {
        uint8_t *bytes = chain->in[i].iov_base;

        for (size_t j = 0; j < chain->in[i].iov_len; j++) {
            bytes[j] = CANARY(at);
            at++;
        }
    }
    message_free(&message);
    return chain;
}

void chain_submit(struct chain *chain)
{
    struct bed_queue *queue = chain->queue;

    chain->state = CHAIN_SENT;
    chain->submitted = vcd_submit(queue->vcd, chain->out, chain->out_num,
                                  chain->in, chain->in_num, chain);
    if (chain->submitted < 0) {
        CHECK_EQUAL(chain->submitted, -1);
        chain->state = CHAIN_NEW;
        return;
    }
    /* What was done at once is to be completed without a wake. */
    set_flag(queue->bed, &queue->woken);
}

struct chain *send_message(struct bed_queue *queue, struct message message)
{
    struct chain *chain = chain_new(queue, message);

    chain_submit(chain);
    return chain;
}

/* Does for the device what it has asked for */
static void serve(struct bed *bed)
{
    bool hold, release;

    pthread_mutex_lock(&bed->lock);
    hold = bed->hold_asked && !bed->keep_hold;
    release = bed->release_asked && !bed->keep_hold;
    if (hold) {
        bed->hold_asked = false;
    }
    if (release) {
        bed->release_asked = false;
    }
    pthread_mutex_unlock(&bed->lock);
    if (release && vcd_device_release(bed->dev)) {
        CHECK(bed->held);
        bed->held = false;
    }
    if (hold) {
        CHECK(!bed->held);
        bed->held = true;
        vcd_device_held(bed->dev, 0);
    }
}

void queue_pump(struct bed_queue *queue, int ms)
{
    struct bed *bed = queue->bed;
    uint64_t end = now_ns() + ms * UINT64_C(1000000);
    struct timespec until = {
        .tv_sec = end / 1000000000, .tv_nsec = end % 1000000000,
    };
    bool woken;

    pthread_mutex_lock(&bed->lock);
    while (!queue->woken && !bed->hold_asked && !bed->release_asked &&
           pthread_cond_timedwait(&bed->wakes, &bed->lock, &until) == 0) {
    }
    woken = queue->woken;
    queue->woken = false;
    pthread_mutex_unlock(&bed->lock);
    serve(bed);
    if (woken) {
        vcd_queue_complete(queue->vcd);
    }
}

int chain_wait(struct chain *chain)
{
    uint64_t end = now_ns() + PATIENCE_MS * UINT64_C(1000000);

    while (chain->state == CHAIN_SENT) {
        if (now_ns() > end) {
            FAIL("a chain does not come back");
        }
        queue_pump(chain->queue, 100);
    }
    CHECK_EQUAL(chain->state, CHAIN_COMPLETED);
    return chain_response(chain).error;
}

bool chain_pending(struct chain *chain)
{
    uint64_t end = now_ns() + GRACE_MS * UINT64_C(1000000);

    while (chain->state == CHAIN_SENT && now_ns() < end) {
        queue_pump(chain->queue, 5);
    }
    return chain->state == CHAIN_SENT;
}

void chain_free(struct chain *chain)
{
    CHECK(chain->state != CHAIN_SENT);
    free_guest_memory(chain);
    free(chain);
}

void chain_read(const struct chain *chain, size_t at, void *to, size_t bytes)
{
    uint8_t *next = to;

    CHECK(chain->state != CHAIN_DROPPED);
    for (unsigned i = 0; i < chain->in_num && bytes > 0; i++) {
        size_t part = chain->in[i].iov_len;

        if (at >= part) {
            at -= part;
            continue;
        }
        part -= at;
        part = part < bytes ? part : bytes;
        memcpy(next, (uint8_t *)chain->in[i].iov_base + at, part);
        next += part;
        bytes -= part;
        at = 0;
    }
    CHECK_EQUAL(bytes, 0);
}

struct virtio_cryptodev_response chain_response(const struct chain *chain)
{
    struct virtio_cryptodev_response response;

    chain_read(chain, 0, &response, sizeof(response));
    return response;
}

static void check_rest(const struct chain *chain, size_t at, bool may_be_zero)
{
    size_t here = 0;

    for (unsigned i = 0; i < chain->in_num; i++) {
        const uint8_t *bytes = chain->in[i].iov_base;

        for (size_t j = 0; j < chain->in[i].iov_len; j++, here++) {
            if (here >= at && bytes[j] != CANARY(here) &&
                !(may_be_zero && bytes[j] == 0)) {
                FAIL("byte %zu of an answer of %zu is written", here, at);
            }
        }
    }
}

void chain_check_untouched(const struct chain *chain, size_t at)
{
    check_rest(chain, at, false);
}

void expect_nothing_shown(struct chain *chain, int error)
{
    CHECK_EQUAL(chain_wait(chain), error);
    CHECK_EQUAL(chain->written, RESPONSE_BYTES);
    check_rest(chain, RESPONSE_BYTES, true);
    chain_free(chain);
}

void expect_error(struct chain *chain, int error)
{
    struct virtio_cryptodev_response response;

    CHECK(chain->submitted >= 0);
    CHECK_EQUAL(chain_wait(chain), error);
    response = chain_response(chain);
    if (error) {
        CHECK_EQUAL(response.value, 0);
        CHECK_EQUAL(response.iv_bytes, 0);
        CHECK_EQUAL(response.mac_bytes, 0);
        CHECK_EQUAL(chain->written, RESPONSE_BYTES);
    }
    chain_check_untouched(chain, chain->written);
    chain_free(chain);
}

void expect_data(struct chain *chain, const void *data, size_t bytes)
{
    uint8_t *got = malloc(bytes + 1);

    CHECK(got);
    CHECK(chain->submitted >= 0);
    CHECK_EQUAL(chain_wait(chain), 0);
    CHECK_EQUAL(chain->written, RESPONSE_BYTES + bytes);
    chain_read(chain, RESPONSE_BYTES, got, bytes);
    for (size_t i = 0; i < bytes; i++) {
        if (got[i] != ((const uint8_t *)data)[i]) {
            FAIL("byte %zu of %zu is %02x, not %02x", i, bytes, got[i],
                 ((const uint8_t *)data)[i]);
        }
    }
    free(got);
    chain_check_untouched(chain, chain->written);
    chain_free(chain);
}

uint32_t must_open(struct bed_queue *queue)
{
    struct chain *chain = send_message(queue, message_open());
    uint32_t handle;

    CHECK_EQUAL(chain_wait(chain), 0);
    handle = chain_response(chain).value;
    chain_check_untouched(chain, RESPONSE_BYTES);
    chain_free(chain);
    return handle;
}

uint32_t must_gsession(struct bed_queue *queue, uint32_t handle,
                       uint32_t cipher, uint32_t mac, const void *key,
                       uint32_t key_bytes, const void *mac_key,
                       uint32_t mac_key_bytes)
{
    const struct vcd_algorithm *c = cipher ? vcd_algorithm(cipher) : NULL;
    const struct vcd_algorithm *m = mac ? vcd_algorithm(mac) : NULL;
    struct chain *chain = send_message(queue,
        message_gsession(handle, cipher, mac, key, key_bytes, mac_key,
                         mac_key_bytes));
    struct virtio_cryptodev_response response;

    CHECK_EQUAL(chain_wait(chain), 0);
    response = chain_response(chain);
    CHECK_EQUAL(response.iv_bytes, c ? c->iv_bytes : 0);
    CHECK_EQUAL(response.mac_bytes, m ? m->digest_bytes : 0);
    chain_check_untouched(chain, RESPONSE_BYTES);
    chain_free(chain);
    return response.value;
}

void must_close(struct bed_queue *queue, uint32_t handle)
{
    expect_error(send_message(queue, message_close(handle)), 0);
}

/*
 * The test backend
 */

struct test_session {
    const struct vcd_algorithm *cipher, *mac;
    uint8_t key;
    uint64_t hash;
    atomic_bool busy;
};

#define JOURNAL 65536

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut[CALLS];
    uint8_t shut_key[CALLS];
    unsigned waiting[CALLS];
    unsigned calls[CALLS];
    int error[CALLS];
    void (*hook)(const struct vcd_op *op);
    unsigned files, sessions;
    uint32_t journal[JOURNAL];
    unsigned journal_length;
} tb = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
};

void test_backend_reset(void)
{
    pthread_mutex_lock(&tb.lock);
    CHECK_EQUAL(tb.files, 0);
    CHECK_EQUAL(tb.sessions, 0);
    memset(tb.shut, 0, sizeof(tb.shut));
    memset(tb.calls, 0, sizeof(tb.calls));
    memset(tb.error, 0, sizeof(tb.error));
    tb.hook = NULL;
    tb.journal_length = 0;
    pthread_mutex_unlock(&tb.lock);
}

void gate_shut(enum test_call call, uint8_t key)
{
    pthread_mutex_lock(&tb.lock);
    tb.shut[call] = true;
    tb.shut_key[call] = key;
    pthread_mutex_unlock(&tb.lock);
}

void gate_open(enum test_call call)
{
    pthread_mutex_lock(&tb.lock);
    tb.shut[call] = false;
    pthread_cond_broadcast(&tb.changed);
    pthread_mutex_unlock(&tb.lock);
}

void gate_open_all(void)
{
    for (int call = 0; call < CALLS; call++) {
        gate_open(call);
    }
}

unsigned gate_waiting(enum test_call call)
{
    unsigned waiting;

    pthread_mutex_lock(&tb.lock);
    waiting = tb.waiting[call];
    pthread_mutex_unlock(&tb.lock);
    return waiting;
}

void gate_wait(enum test_call call, unsigned waiting)
{
    uint64_t end = now_ns() + PATIENCE_MS * UINT64_C(1000000);

    while (gate_waiting(call) < waiting) {
        if (now_ns() > end) {
            FAIL("%u calls have begun, not %u", gate_waiting(call), waiting);
        }
        nap();
    }
}

void call_fails(enum test_call call, int error)
{
    pthread_mutex_lock(&tb.lock);
    tb.error[call] = error;
    pthread_mutex_unlock(&tb.lock);
}

unsigned call_count(enum test_call call)
{
    unsigned count;

    pthread_mutex_lock(&tb.lock);
    count = tb.calls[call];
    pthread_mutex_unlock(&tb.lock);
    return count;
}

void call_hook(void (*hook)(const struct vcd_op *op))
{
    pthread_mutex_lock(&tb.lock);
    tb.hook = hook;
    pthread_mutex_unlock(&tb.lock);
}

unsigned alive_files(void)
{
    unsigned count;

    pthread_mutex_lock(&tb.lock);
    count = tb.files;
    pthread_mutex_unlock(&tb.lock);
    return count;
}

unsigned alive_sessions(void)
{
    unsigned count;

    pthread_mutex_lock(&tb.lock);
    count = tb.sessions;
    pthread_mutex_unlock(&tb.lock);
    return count;
}

unsigned journal_length(void)
{
    unsigned length;

    pthread_mutex_lock(&tb.lock);
    length = tb.journal_length;
    pthread_mutex_unlock(&tb.lock);
    return length;
}

uint32_t journal_at(unsigned index)
{
    uint32_t entry;

    pthread_mutex_lock(&tb.lock);
    CHECK(index < tb.journal_length);
    entry = tb.journal[index];
    pthread_mutex_unlock(&tb.lock);
    return entry;
}

/* Every call comes by here; what it is to fail with */
static int pass(enum test_call call, const struct test_session *session)
{
    int error;

    pthread_mutex_lock(&tb.lock);
    tb.calls[call]++;
    tb.waiting[call]++;
    while (tb.shut[call] &&
           (!tb.shut_key[call] ||
            (session && session->key == tb.shut_key[call]))) {
        pthread_cond_wait(&tb.changed, &tb.lock);
    }
    tb.waiting[call]--;
    error = tb.error[call];
    pthread_mutex_unlock(&tb.lock);
    return error ? -error : 0;
}

static void count_alive(unsigned *count, int change)
{
    pthread_mutex_lock(&tb.lock);
    *count += change;
    pthread_mutex_unlock(&tb.lock);
}

static int test_open(void *opaque, void **file)
{
    int error = pass(CALL_OPEN, NULL);

    CHECK(opaque);
    if (error) {
        return error;
    }
    *file = malloc(1);
    CHECK(*file);
    count_alive(&tb.files, 1);
    return 0;
}

static void test_close(void *file)
{
    pass(CALL_CLOSE, NULL);
    free(file);
    count_alive(&tb.files, -1);
}

static int test_session_new(void *file, const struct vcd_session_spec *spec,
                            void **out)
{
    struct test_session *session;
    int error = pass(CALL_NEW, NULL);

    CHECK(file);
    CHECK(spec->cipher || spec->mac);
    CHECK(!arena_holds(spec->key) && !arena_holds(spec->mac_key));
    if (error) {
        return error;
    }
    session = calloc(1, sizeof(*session));
    CHECK(session);
    session->cipher = spec->cipher;
    session->mac = spec->mac;
    session->key = spec->key_bytes ? spec->key[spec->key_bytes - 1] :
                   spec->mac_key_bytes ? spec->mac_key[spec->mac_key_bytes - 1]
                                       : 0;
    *out = session;
    count_alive(&tb.sessions, 1);
    return 0;
}

static void test_session_free(void *file, void *opaque)
{
    struct test_session *session = opaque;

    CHECK(file);
    pass(CALL_FREE, session);
    CHECK(!atomic_exchange(&session->busy, true));
    free(session);
    count_alive(&tb.sessions, -1);
}

uint8_t test_cipher(uint8_t key, uint8_t iv, uint8_t source)
{
    return source ^ key ^ iv;
}

static uint64_t hash_on(uint64_t hash, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

uint64_t test_hash(const void *data, size_t bytes)
{
    return hash_on(HASH_START, data, bytes);
}

static void note(const uint8_t *src, size_t len)
{
    pthread_mutex_lock(&tb.lock);
    if (len >= 4 && tb.journal_length < JOURNAL) {
        memcpy(&tb.journal[tb.journal_length++], src, 4);
    }
    pthread_mutex_unlock(&tb.lock);
}

static int do_cipher(void *opaque, const struct vcd_op *op)
{
    struct test_session *session = opaque;
    uint8_t iv = op->iv ? op->iv[0] : 0;
    int error;

    CHECK(!atomic_exchange(&session->busy, true));
    CHECK(!!op->iv == !!session->cipher->iv_bytes);
    CHECK(op->dst && op->src);
    note(op->src, op->len);
    error = pass(CALL_CIPHER, session);
    if (tb.hook) {
        tb.hook(op);
    }
    for (size_t i = 0; i < op->len; i++) {
        op->dst[i] = test_cipher(session->key, iv, op->src[i]);
    }
    CHECK(atomic_exchange(&session->busy, false));
    return error;
}

static int do_digest(void *opaque, const struct vcd_op *op,
                     const uint8_t *data, size_t len)
{
    struct test_session *session = opaque;
    int error;

    CHECK(!atomic_exchange(&session->busy, true));
    CHECK(session->mac && data);
    if (!session->cipher) {
        note(data, len);
    }
    error = pass(CALL_DIGEST, session);
    if (op->start || session->hash == 0) {
        session->hash = HASH_START;
    }
    session->hash = hash_on(session->hash, data, len);
    if (op->finish) {
        memset(op->mac, 0, VCD_DIGEST_MAX);
        memcpy(op->mac, &session->hash, sizeof(session->hash));
        session->hash = 0;
    }
    CHECK(atomic_exchange(&session->busy, false));
    return error;
}

static void check_no_guest_memory(const struct vcd_op *op)
{
    CHECK(!arena_holds(op->src) && !arena_holds(op->dst) &&
          !arena_holds(op->iv) && !arena_holds(op->mac));
}

static int blocking_cipher(void *opaque, const struct vcd_op *op)
{
    check_no_guest_memory(op);
    return do_cipher(opaque, op);
}

static int blocking_digest(void *opaque, const struct vcd_op *op,
                           const uint8_t *data, size_t len)
{
    check_no_guest_memory(op);
    CHECK(!arena_holds(data));
    return do_digest(opaque, op, data, len);
}

static int test_crypt(void *file, void *opaque, const struct vcd_op *op)
{
    struct test_session *session = opaque;
    int error = 0;

    CHECK(file);
    check_no_guest_memory(op);
    if (session->mac && !(session->cipher && op->decrypt)) {
        error = do_digest(session, op, op->src, op->len);
    }
    if (!error && session->cipher) {
        error = do_cipher(session, op);
    }
    if (!error && session->mac && session->cipher && op->decrypt) {
        error = do_digest(session, op, op->dst, op->len);
    }
    return error;
}

static int test_info(void *file, void *opaque, struct vcd_info *info)
{
    struct test_session *session = opaque;
    int error = pass(CALL_INFO, session);

    CHECK(file);
    memset(info, 0x77, sizeof(*info));
    return error;
}

/* XOR as the cipher is, and a tag of zeros that nobody looks at */
static int test_authcrypt(void *file, void *opaque, struct vcd_auth_op *op)
{
    struct test_session *session = opaque;
    uint8_t iv = op->iv ? op->iv[0] : 0;
    int error;

    CHECK(file);
    CHECK(!atomic_exchange(&session->busy, true));
    error = pass(CALL_AUTHCRYPT, session);
    for (size_t i = 0; i < op->result_bytes; i++) {
        uint8_t byte = i < op->len ? op->src[i] : 0;

        op->dst[i] = test_cipher(session->key, iv, byte);
    }
    if (!op->decrypt && op->form != VCD_FORM_TLS) {
        memset(op->tag, 0, op->tag_bytes);
    }
    op->value = op->form == VCD_FORM_TLS && op->decrypt ? 0 : op->result_bytes;
    CHECK(atomic_exchange(&session->busy, false));
    return error;
}

static int blocking_authcrypt(void *file, void *opaque,
                              struct vcd_auth_op *op)
{
    CHECK(!arena_holds(op->src) && !arena_holds(op->dst) &&
          !arena_holds(op->before) && !arena_holds(op->after) &&
          !arena_holds(op->iv) && !arena_holds(op->tag));
    return test_authcrypt(file, opaque, op);
}

static int test_hash_copy(void *file, void *to_opaque, void *from_opaque)
{
    struct test_session *to = to_opaque, *from = from_opaque;
    int error;

    CHECK(file && to != from && to->mac == from->mac);
    CHECK(!atomic_exchange(&to->busy, true));
    CHECK(!atomic_exchange(&from->busy, true));
    error = pass(CALL_COPY, to);
    to->hash = from->hash;
    CHECK(atomic_exchange(&to->busy, false));
    CHECK(atomic_exchange(&from->busy, false));
    return error;
}

#define CALLS_FOR_ALL                   \
    .open = test_open,                  \
    .close = test_close,                \
    .session_new = test_session_new,    \
    .session_free = test_session_free,  \
    .info = test_info,                  \
    .hash_copy = test_hash_copy

const struct vcd_backend test_backend = {
    .name = "test",
    .cipher = do_cipher,
    .digest = do_digest,
    .authcrypt = test_authcrypt,
    CALLS_FOR_ALL,
};

const struct vcd_backend test_backend_blocking = {
    .name = "test-blocking",
    .may_block = true,
    .cipher = blocking_cipher,
    .digest = blocking_digest,
    .authcrypt = blocking_authcrypt,
    CALLS_FOR_ALL,
};

const struct vcd_backend test_backend_crypt = {
    .name = "test-crypt",
    .may_block = true,
    .crypt = test_crypt,
    .authcrypt = blocking_authcrypt,
    CALLS_FOR_ALL,
};

size_t unhex(const char *hex, uint8_t *to)
{
    size_t bytes = strlen(hex) / 2;

    for (size_t i = 0; i < bytes; i++) {
        unsigned byte;

        CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        to[i] = byte;
    }
    return bytes;
}
