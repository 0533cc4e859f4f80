/*
 * virtio cryptodev: what the core's tests are made of
 *
 * A bed is a device with a transport that a test plays: messages are what a
 * driver would send, chains are messages in memory that is cut at random
 * places. The test backend waits, fails and counts as it is told.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_TEST_HARNESS_H
#define VCD_TEST_HARNESS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/vcd.h"
#include "../backends/backends.h"
#include "virtio_cryptodev.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

/* Ends the program, without any clearing up that might hang. */
#define FAIL(...)                                                       \
do {                                                                    \
    fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, __func__);       \
    fprintf(stderr, __VA_ARGS__);                                       \
    fputc('\n', stderr);                                                \
    fail();                                                             \
} while (0)

#define CHECK(condition)                                                \
do {                                                                    \
    if (!(condition)) {                                                 \
        FAIL("not so: %s", #condition);                                 \
    }                                                                   \
} while (0)

#define CHECK_EQUAL(a, b)                                               \
do {                                                                    \
    long long a_ = (a), b_ = (b);                                       \
    if (a_ != b_) {                                                     \
        FAIL("%s is %lld, not %lld", #a, a_, b_);                       \
    }                                                                   \
} while (0)

_Noreturn void fail(void);

/* How long anything may take that is going to happen */
#define PATIENCE_MS     60000
/* How long is waited for what must not happen */
#define GRACE_MS        50

#define RESPONSE_BYTES  sizeof(struct virtio_cryptodev_response)

/* ABI numbers that tests use often */
#define AES_CBC         11
#define NULL_CIPHER     16
#define AES_CTR         21
#define HMAC_SHA256     18
#define SHA256          104

/* The tests of a program: prints "ok NAME" for each that has run */
struct test {
    const char *name;
    void (*run)(void);
};

int run_tests(const struct test *tests, size_t count, int argc, char **argv);

uint64_t now_ns(void);
/* The same numbers in each run */
uint32_t random_below(uint32_t limit);
void random_seed(uint64_t seed);

/* Keys made by a test begin with this; free() must not meet it in the core. */
#define SECRET          "\xd5\x5d" "a-secret!-key"
#define SECRET_BYTES    15

/*
 * Messages
 */

struct message {
    uint8_t *out;
    size_t out_bytes;
    size_t in_bytes;
};

struct crypt {
    uint32_t session;
    uint16_t op;
    uint16_t flags;
    const void *src;
    uint32_t len;
    const void *iv;
    uint32_t iv_bytes;
    uint32_t result_bytes;
    uint32_t mac_bytes;
    uint32_t iv_back;       /* room for it */
};

struct auth {
    uint32_t session;
    uint16_t op;
    uint16_t flags;
    const void *src;
    uint32_t len;
    const void *iv;
    uint32_t iv_bytes;
    const void *data;       /* associated */
    uint32_t data_bytes;
    uint32_t auth_before, auth_len;
    const void *tag;        /* that SRTP is to find, or NULL */
    uint32_t tag_bytes;
    uint32_t result_bytes;
    uint32_t reserved;
    uint32_t back;          /* room behind the result */
};

struct message message_new(uint32_t type, uint32_t handle, uint32_t command,
                           const void *body, size_t body_bytes,
                           size_t in_bytes);
void message_append(struct message *message, const void *data, size_t bytes);
struct message message_open(void);
struct message message_close(uint32_t handle);
struct message message_gsession(uint32_t handle, uint32_t cipher, uint32_t mac,
                                const void *key, uint32_t key_bytes,
                                const void *mac_key, uint32_t mac_key_bytes);
struct message message_fsession(uint32_t handle, uint32_t session);
struct message message_gsessinfo(uint32_t handle, uint32_t session);
struct message message_crypt(uint32_t handle, const struct crypt *crypt);
struct message message_authcrypt(uint32_t handle, const struct auth *auth);
struct message message_cphash(uint32_t handle, uint32_t to, uint32_t from);
struct message message_copy(const struct message *message);
void message_free(struct message *message);

/*
 * Beds and chains
 */

#define BED_QUEUES      4
#define CHAIN_PARTS     8

enum chain_state { CHAIN_NEW, CHAIN_SENT, CHAIN_COMPLETED, CHAIN_DROPPED };

struct bed;
struct bed_queue;

struct chain {
    struct bed_queue *queue;
    /* Of the guest's memory too */
    struct iovec *out, *in;
    unsigned out_num, in_num;
    size_t in_bytes;
    bool in_arena;
    enum chain_state state;
    size_t written;
    int64_t submitted;      /* what vcd_submit() said */
    unsigned turn;          /* which of its queue's to come back it was */
};

struct bed_queue {
    struct bed *bed;
    struct vcd_queue *vcd;
    bool woken;
    unsigned completed, dropped;
    void (*on_complete)(struct bed_queue *queue, struct chain *chain);
};

struct bed {
    struct vcd_device *dev;
    struct vcd_config config;
    void *backend_opaque;
    struct bed_queue queues[BED_QUEUES];
    pthread_mutex_t lock;
    pthread_cond_t wakes;
    bool whole;             /* chains are not cut */
    bool hold_asked, release_asked;
    bool keep_hold;         /* a test answers itself */
    bool held;
    bool gone;              /* the backend's opaque has come back */
};

extern const struct vcd_config config_default;

struct bed *bed_new(const struct vcd_backend *backend,
                    const struct vcd_config *config);
/* With what the backend is to get, in place of the bed */
struct bed *bed_new_with(const struct vcd_backend *backend, void *opaque,
                         const struct vcd_config *config);
/* One whose device asks before it opens a file */
struct bed *bed_new_holding(const struct vcd_backend *backend,
                            const struct vcd_config *config);
/* Resets, frees, and finds that nothing is left */
void bed_free(struct bed *bed);
/* The same in steps, for tests that look in between */
void bed_release_device(struct bed *bed);
void bed_wait_gone(struct bed *bed);

uint64_t bed_stat(struct bed *bed, enum vcd_stat stat);
void bed_wait_stat(struct bed *bed, enum vcd_stat stat, uint64_t value);

/* Takes the message, and gives it to the device */
struct chain *send_message(struct bed_queue *queue, struct message message);
/* The same in two steps */
struct chain *chain_new(struct bed_queue *queue, struct message message);
void chain_submit(struct chain *chain);
/* Completes what the queue has been woken for, or is within @ms */
void queue_pump(struct bed_queue *queue, int ms);
/* Waits until it has come back, completed; returns the answer's error */
int chain_wait(struct chain *chain);
/* It has been completed by now / it is not within the grace */
bool chain_pending(struct chain *chain);
void chain_free(struct chain *chain);
void chain_read(const struct chain *chain, size_t at, void *to, size_t bytes);
struct virtio_cryptodev_response chain_response(const struct chain *chain);
/* Nothing is written from @at on */
void chain_check_untouched(const struct chain *chain, size_t at);
/* Waits for it, and for @error and nothing but the response; frees it */
void expect_error(struct chain *chain, int error);
/* The same, but a cipher that worked in place may have had its work wiped */
void expect_nothing_shown(struct chain *chain, int error);
/* Waits for it, for error 0 and @bytes of @data behind the response */
void expect_data(struct chain *chain, const void *data, size_t bytes);

/* Whole calls; errors end the test */
uint32_t must_open(struct bed_queue *queue);
uint32_t must_gsession(struct bed_queue *queue, uint32_t handle,
                       uint32_t cipher, uint32_t mac, const void *key,
                       uint32_t key_bytes, const void *mac_key,
                       uint32_t mac_key_bytes);
void must_close(struct bed_queue *queue, uint32_t handle);

/*
 * Memory that is the guest's, for all chains from here on until it ends. The
 * device must not touch it while it is forbidden, nor a backend that may block
 * at any time.
 */
void arena_begin(size_t bytes);
void arena_forbid(void);
void arena_allow(void);
void arena_end(void);
bool arena_holds(const void *pointer);

/*
 * The test backend: a cipher that is XOR with the first bytes of key and IV,
 * and a hash that is FNV-1a, in a digest's first 8 bytes, 0 behind
 */

enum test_call {
    CALL_OPEN, CALL_CLOSE, CALL_NEW, CALL_FREE, CALL_CIPHER, CALL_DIGEST,
    CALL_INFO, CALL_AUTHCRYPT, CALL_COPY, CALLS
};

extern const struct vcd_backend test_backend;           /* does not block */
extern const struct vcd_backend test_backend_blocking;  /* may */
extern const struct vcd_backend test_backend_crypt;     /* may, in one call */

/* As it was at the start; nothing may be alive */
void test_backend_reset(void);
/* Calls of that kind wait, of sessions whose key begins so unless 0 */
void gate_shut(enum test_call call, uint8_t key);
void gate_open(enum test_call call);
void gate_open_all(void);
/* Waits until so many stand before it */
void gate_wait(enum test_call call, unsigned waiting);
unsigned gate_waiting(enum test_call call);
/* Calls of that kind fail, after they have scribbled over their results */
void call_fails(enum test_call call, int error);
unsigned call_count(enum test_call call);
/* Called in the midst of a cipher's work */
void call_hook(void (*hook)(const struct vcd_op *op));
unsigned alive_files(void);
unsigned alive_sessions(void);
/* The first 4 bytes of each source that was worked on, in that order */
unsigned journal_length(void);
uint32_t journal_at(unsigned index);

uint8_t test_cipher(uint8_t key, uint8_t iv, uint8_t source);
uint64_t test_hash(const void *data, size_t bytes);

/* Threads of this process that a test has not started itself */
unsigned threads_alive(void);
void wait_for_threads(unsigned at_most);

/* The bytes that @hex stands for; returns how many */
size_t unhex(const char *hex, uint8_t *to);

#endif /* VCD_TEST_HARNESS_H */
