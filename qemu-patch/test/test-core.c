/*
 * virtio cryptodev: the core, by its specification's requirements
 *
 * Numbers are those of docs/virtio-cryptodev.md, "Device requirements".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../core/internal.h"
#include "harness.h"

#define KEY             ((const uint8_t *)SECRET "k")
#define KEY_BYTES       16
/* Its last byte, which the test backend enciphers with */
#define KEY_BYTE        'k'
/* Another one, for sessions that are to be told apart */
#define OTHER_KEY       ((const uint8_t *)SECRET "o")
#define OTHER_BYTE      'o'

static const uint8_t zero_iv[VCD_IV_MAX];

/* Everything in threads, as with a backend whose work is slow */
static struct vcd_config all_in_threads(void)
{
    struct vcd_config config = config_default;

    config.inline_ns = 0;

    config.inline_alone_ns = config.inline_ns;
    return config;
}

static uint32_t cipher_session(struct bed_queue *queue, uint32_t handle,
                               const uint8_t *key)
{
    return must_gsession(queue, handle, AES_CTR, 0, key, KEY_BYTES, NULL, 0);
}

static uint32_t both_session(struct bed_queue *queue, uint32_t handle)
{
    return must_gsession(queue, handle, AES_CBC, SHA256, KEY, KEY_BYTES, NULL,
                         0);
}

static struct message encrypt_message(uint32_t handle, uint32_t session,
                                      const void *src, uint32_t len)
{
    return message_crypt(handle, &(struct crypt) {
        .session = session, .src = src, .len = len, .result_bytes = len,
        .iv = zero_iv, .iv_bytes = 16,
    });
}

static struct chain *send_encrypt(struct bed_queue *queue, uint32_t handle,
                                  uint32_t session, const void *src,
                                  uint32_t len)
{
    return send_message(queue, encrypt_message(handle, session, src, len));
}

/* Sends @number, and whatever else makes @len */
static struct chain *send_number(struct bed_queue *queue, uint32_t handle,
                                 uint32_t session, uint32_t number,
                                 uint32_t len)
{
    uint8_t *src = calloc(1, len);
    struct chain *chain;

    CHECK(src && len >= sizeof(number));
    memcpy(src, &number, sizeof(number));
    chain = send_encrypt(queue, handle, session, src, len);
    free(src);
    return chain;
}

static void expect_encrypted(struct chain *chain, const uint8_t *src,
                             size_t len, uint8_t key)
{
    uint8_t *result = malloc(len + 1);

    CHECK(result);
    for (size_t i = 0; i < len; i++) {
        result[i] = test_cipher(key, 0, src[i]);
    }
    expect_data(chain, result, len);
    free(result);
}

/*
 * [7] Nothing beyond what is described; structures are copied once
 */

static void test_7_longer_chain(void)
{
    struct bed *bed = bed_new(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    struct message message = message_open();
    uint32_t handle, session;
    struct chain *chain;

    message_append(&message, "more", 4);
    message.in_bytes += 100;
    chain = send_message(queue, message);
    CHECK_EQUAL(chain_wait(chain), 0);
    handle = chain_response(chain).value;
    expect_data(chain, NULL, 0);
    session = cipher_session(queue, handle, KEY);
    message = encrypt_message(handle, session, "source", 6);
    message_append(&message, "more", 4);
    message.in_bytes += 100;
    expect_encrypted(send_message(queue, message), (const uint8_t *)"source",
                     6, KEY_BYTE);
    message = message_fsession(handle, session);
    message_append(&message, "more", 4);
    message.in_bytes += 3;
    expect_error(send_message(queue, message), 0);
    message = message_close(handle);
    message_append(&message, "more", 4);
    message.in_bytes += 3;
    expect_error(send_message(queue, message), 0);
    bed_free(bed);
}

static struct chain *scribbled;

/* All that the guest can write but the source: as if it had thought again */
static void scribble(const struct vcd_op *op)
{
    (void)op;
    for (unsigned i = 0; i < scribbled->out_num; i++) {
        memset(scribbled->out[i].iov_base, 0xff, scribbled->out[i].iov_len);
    }
}

static void run_7_changing(const struct vcd_backend *backend, bool whole)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[64] = { 1, 2, 3 };
    struct chain *chain;

    bed->whole = whole;
    call_hook(scribble);
    chain = chain_new(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .src = source, .len = sizeof(source),
        .result_bytes = sizeof(source), .iv = zero_iv, .iv_bytes = 16,
        .mac_bytes = 32, .iv_back = 16, .flags = VCD_WRITE_IV,
    }));
    scribbled = chain;
    chain_submit(chain);
    CHECK_EQUAL(chain_wait(chain), 0);
    CHECK_EQUAL(chain->written, RESPONSE_BYTES + sizeof(source) + 32 + 16);
    chain_free(chain);
    call_hook(NULL);
    bed_free(bed);
}

static void test_7_changing_source(void)
{
    run_7_changing(&test_backend, false);
    run_7_changing(&test_backend, true);
    run_7_changing(&test_backend_blocking, false);
    run_7_changing(&test_backend_blocking, true);
    run_7_changing(&test_backend_crypt, true);
}

#if !UNDER_TSAN

/*
 * The guest's processors write while the device reads: a race that is meant,
 * and that a sanitizer of races would find.
 */
static atomic_bool stop_flipping;

static void *flip(void *opaque)
{
    struct chain *chain = opaque;
    uint32_t n = 0;

    while (!atomic_load(&stop_flipping)) {
        volatile uint8_t *bytes = chain->out[0].iov_base;

        bytes[n % chain->out[0].iov_len] ^= 1 << n % 8;
        n++;
    }
    return NULL;
}

static void test_7_racing_guest(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle, session;
    uint8_t source[64] = { 0 };
    pthread_t thread;
    struct chain *chain;

    config.max_files = 1 << 20;
    config.max_sessions = 1 << 20;
    config.max_device_sessions = 1 << 20;
    bed = bed_new(&test_backend, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    session = both_session(queue, handle);
    bed->whole = true;
    for (int i = 0; i < 20; i++) {
        chain = chain_new(queue, message_crypt(handle, &(struct crypt) {
            .session = session, .src = source, .len = sizeof(source),
            .result_bytes = sizeof(source), .iv = zero_iv, .iv_bytes = 16,
            .mac_bytes = 32,
        }));
        atomic_store(&stop_flipping, false);
        CHECK(pthread_create(&thread, NULL, flip, chain) == 0);
        for (int j = 0; j < 2000; j++) {
            chain_submit(chain);
            chain_wait(chain);
            chain->state = CHAIN_NEW;
        }
        atomic_store(&stop_flipping, true);
        pthread_join(thread, NULL);
        chain_free(chain);
    }
    bed_free(bed);
}

#endif

/*
 * [8] A chain that is cut anywhere is refused, and nothing of it is done
 */

/* What an attempt must not change */
static uint64_t effects(struct bed *bed)
{
    return bed_stat(bed, VCD_STAT_FILES) * 1000003 +
           bed_stat(bed, VCD_STAT_SESSIONS) * 1009 +
           bed_stat(bed, VCD_STAT_OPERATIONS) + call_count(CALL_CIPHER) +
           call_count(CALL_DIGEST) + call_count(CALL_INFO) +
           call_count(CALL_NEW) + call_count(CALL_FREE);
}

static void cut_everywhere(struct bed_queue *queue, struct message message)
{
    uint64_t before = effects(queue->bed);

    for (size_t n = 0; n < message.out_bytes; n++) {
        struct message part = message_copy(&message);
        struct chain *chain;

        part.out_bytes = n;
        chain = send_message(queue, part);
        if (n < sizeof(struct virtio_cryptodev_request)) {
            CHECK_EQUAL(chain->submitted, -1);
            chain_check_untouched(chain, 0);
            chain_free(chain);
        } else {
            expect_error(chain, EINVAL);
        }
    }
    for (size_t n = 0; n < message.in_bytes; n++) {
        struct message part = message_copy(&message);
        struct chain *chain;

        part.in_bytes = n;
        chain = send_message(queue, part);
        if (n < RESPONSE_BYTES) {
            CHECK_EQUAL(chain->submitted, -1);
            chain_check_untouched(chain, 0);
            chain_free(chain);
        } else {
            expect_error(chain, EINVAL);
        }
    }
    CHECK_EQUAL(effects(queue->bed), before);
    message_free(&message);
}

static void run_8(const struct vcd_backend *backend)
{
    struct bed *bed = bed_new(backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[48] = { 0 };

    cut_everywhere(queue, message_open());
    cut_everywhere(queue, message_close(handle));
    cut_everywhere(queue, message_gsession(handle, AES_CBC, HMAC_SHA256, KEY,
                                           16, KEY, 16));
    cut_everywhere(queue, message_fsession(handle, session));
    cut_everywhere(queue, message_gsessinfo(handle, session));
    cut_everywhere(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .src = source, .len = sizeof(source),
        .result_bytes = sizeof(source), .iv = zero_iv, .iv_bytes = 16,
        .mac_bytes = 32, .iv_back = 16, .flags = VCD_WRITE_IV,
    }));
    CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
    must_close(queue, handle);
    bed_free(bed);
}

static void test_8_cut_chains(void)
{
    run_8(&test_backend);
    run_8(&test_backend_blocking);
    run_8(&test_backend_crypt);
}

/*
 * [9] Numbers are the device's, and good in their own place only
 */

static void test_9_handles_and_sessions(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *first, *second;
    uint32_t a, b, session, other;

    config.num_queues = 2;
    bed = bed_new(&test_backend, &config);
    first = &bed->queues[0];
    second = &bed->queues[1];
    a = must_open(first);
    b = must_open(first);
    CHECK(a != b && a && b);
    session = cipher_session(first, a, KEY);
    other = cipher_session(first, a, KEY);
    CHECK(session && other && session != other);
    /* A handle of another queue is none. */
    expect_error(send_message(second, message_close(a)), EBADF);
    expect_error(send_encrypt(second, a, session, "x", 1), EBADF);
    expect_error(send_message(second, message_gsessinfo(a, session)), EBADF);
    expect_error(send_message(second, message_fsession(a, session)), EBADF);
    expect_error(send_message(second,
        message_gsession(a, AES_CBC, 0, KEY, 16, NULL, 0)), EBADF);
    /* A session is one of its own file only. */
    expect_error(send_encrypt(first, b, session, "x", 1), EINVAL);
    expect_error(send_message(first, message_gsessinfo(b, session)), EINVAL);
    expect_error(send_message(first, message_fsession(b, session)), EINVAL);
    /* Numbers that were never given */
    expect_error(send_message(first, message_close(0)), EBADF);
    expect_error(send_message(first, message_close(b + 1)), EBADF);
    expect_error(send_message(first, message_close(UINT32_MAX)), EBADF);
    expect_error(send_encrypt(first, a, 0, "x", 1), EINVAL);
    expect_error(send_encrypt(first, a, UINT32_MAX, "x", 1), EINVAL);
    /* What has ended is not there any more. */
    expect_error(send_message(first, message_fsession(a, session)), 0);
    expect_error(send_message(first, message_fsession(a, session)), EINVAL);
    expect_error(send_encrypt(first, a, session, "x", 1), EINVAL);
    expect_encrypted(send_encrypt(first, a, other, "x", 1),
                     (const uint8_t *)"x", 1, KEY_BYTE);
    must_close(first, a);
    expect_error(send_message(first, message_close(a)), EBADF);
    expect_error(send_encrypt(first, a, other, "x", 1), EBADF);
    bed_free(bed);
}

/* After 2^32 numbers those that are taken are passed over. */
static void test_9_numbers_wrap(void)
{
    struct bed *bed = bed_new(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t first = must_open(queue), second = must_open(queue), third;
    struct vcd_file *file;

    CHECK_EQUAL(first, 1);
    CHECK_EQUAL(second, 2);
    queue->vcd->files.last = UINT32_MAX - 1;
    CHECK_EQUAL(must_open(queue), UINT32_MAX);
    /* 0 is no handle, 1 and 2 are taken. */
    third = must_open(queue);
    CHECK_EQUAL(third, 3);
    file = (struct vcd_file *)vcd_table_find(&queue->vcd->files, third);
    CHECK_EQUAL(cipher_session(queue, third, KEY), 1);
    file->sessions.last = UINT32_MAX;
    CHECK_EQUAL(cipher_session(queue, third, OTHER_KEY), 2);
    expect_encrypted(send_encrypt(queue, third, 1, "x", 1),
                     (const uint8_t *)"x", 1, KEY_BYTE);
    expect_encrypted(send_encrypt(queue, third, 2, "x", 1),
                     (const uint8_t *)"x", 1, OTHER_BYTE);
    must_close(queue, first);
    must_close(queue, UINT32_MAX);
    bed_free(bed);
}

/*
 * [10] Every field out of its range
 */

struct mutation {
    size_t at, bytes;
    uint64_t value;
    int error;
};

static void mutate(struct bed_queue *queue, struct message message,
                   const struct mutation *mutations, size_t count)
{
    uint64_t before = effects(queue->bed);

    for (size_t i = 0; i < count; i++) {
        struct message bad = message_copy(&message);
        struct chain *chain;
        int error;

        /* Room for whatever it may describe now */
        bad.in_bytes += 512;
        memcpy(bad.out + mutations[i].at, &mutations[i].value,
               mutations[i].bytes);
        chain = send_message(queue, bad);
        error = chain_wait(chain);
        if (error != mutations[i].error) {
            FAIL("%zu bytes at %zu made %#llx: error %d, not %d",
                 mutations[i].bytes, mutations[i].at,
                 (unsigned long long)mutations[i].value, error,
                 mutations[i].error);
        }
        expect_error(chain, mutations[i].error);
    }
    CHECK_EQUAL(effects(queue->bed), before);
    message_free(&message);
}

static void run_10(const struct vcd_backend *backend)
{
    static const struct mutation heads[] = {
        { 0, 4, 0, EINVAL }, { 0, 4, 4, EINVAL }, { 0, 4, 0x100, EINVAL },
        { 0, 4, 0x80000001, EINVAL }, { 0, 4, UINT32_MAX, EINVAL },
        { 4, 4, 0, EBADF }, { 4, 4, 2, EBADF }, { 4, 4, UINT32_MAX, EBADF },
        { 8, 4, 0, EINVAL }, { 8, 4, 101, EINVAL }, { 8, 4, 105, EINVAL },
        { 8, 4, 106, EINVAL }, { 8, 4, 109, EINVAL }, { 8, 4, 110, EINVAL },
        { 8, 4, 111, EINVAL }, { 8, 4, 112, EINVAL },
        { 8, 4, 0xc0306368, EINVAL }, { 8, 4, UINT32_MAX, EINVAL },
    };
    static const struct mutation gsessions[] = {
        { 16, 4, 4, EINVAL }, { 16, 4, 50, EINVAL }, { 16, 4, 6, EINVAL },
        { 16, 4, 104, EINVAL }, { 16, 4, UINT32_MAX, EINVAL },
        { 20, 4, 11, EINVAL }, { 20, 4, 9, EINVAL }, { 20, 4, 101, EINVAL },
        { 20, 4, UINT32_MAX, EINVAL },
        { 16, 8, 0, EINVAL },
        { 24, 4, 0, EINVAL }, { 24, 4, 65, EINVAL },
        { 24, 4, UINT32_MAX, EINVAL }, { 24, 4, 0x80000010, EINVAL },
        { 28, 4, 513, EINVAL }, { 28, 4, UINT32_MAX, EINVAL },
        { 28, 4, 0x10000003, EINVAL }, { 24, 8, UINT64_MAX, EINVAL },
        /* Sums that wrap in 32 bits */
        { 24, 8, 0xfffffff300000010, EINVAL },
        { 24, 8, 0x00000013fffffff0, EINVAL },
    };
    static const struct mutation crypts[] = {
        { 16, 4, 0, EINVAL }, { 16, 4, 2, EINVAL },
        { 16, 4, UINT32_MAX, EINVAL },
        { 20, 2, 2, EINVAL }, { 20, 2, 0x100, EINVAL },
        { 20, 2, 0xffff, EINVAL },
        { 22, 2, 8, EINVAL }, { 22, 2, 16, EINVAL }, { 22, 2, 32, EINVAL },
        { 22, 2, 128, EINVAL }, { 22, 2, 0x8000, EINVAL },
        { 22, 2, 0xffff, EINVAL },
        /* With UPDATE no digest is due. */
        { 22, 2, 1, EINVAL },
        { 24, 4, 0, EINVAL }, { 24, 4, 31, EINVAL }, { 24, 4, 33, EINVAL },
        { 24, 4, 16, EINVAL }, { 24, 4, 48, EINVAL },
        { 24, 4, 0x100001, EINVAL }, { 24, 4, 0x100010, EINVAL },
        { 24, 4, 0x80000020, EINVAL }, { 24, 4, UINT32_MAX, EINVAL },
        { 24, 4, 0xfffffff0, EINVAL },
        { 28, 4, 1, EINVAL }, { 28, 4, 8, EINVAL }, { 28, 4, 17, EINVAL },
        { 28, 4, 32, EINVAL }, { 28, 4, UINT32_MAX, EINVAL },
        { 28, 4, 0xfffffff0, EINVAL },
        { 32, 4, 0, EINVAL }, { 32, 4, 16, EINVAL }, { 32, 4, 33, EINVAL },
        { 32, 4, UINT32_MAX, EINVAL },
        { 36, 4, 0, EINVAL }, { 36, 4, 31, EINVAL }, { 36, 4, 33, EINVAL },
        { 36, 4, UINT32_MAX, EINVAL },
        /* Length and result agree, and there are not so many bytes. */
        { 24, 4, 48, EINVAL },
    };
    static const struct mutation sessions[] = {
        { 16, 4, 0, EINVAL }, { 16, 4, 2, EINVAL },
        { 16, 4, UINT32_MAX, EINVAL },
    };
    struct bed *bed = bed_new(backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[32] = { 0 };

    mutate(queue, message_gsessinfo(handle, session), heads,
           ARRAY_SIZE(heads));
    mutate(queue, message_gsession(handle, AES_CBC, HMAC_SHA256, KEY, 16, KEY,
                                   3), gsessions, ARRAY_SIZE(gsessions));
    mutate(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .src = source, .len = sizeof(source),
        .result_bytes = sizeof(source), .iv = zero_iv, .iv_bytes = 16,
        .mac_bytes = 32,
    }), crypts, ARRAY_SIZE(crypts));
    mutate(queue, message_fsession(handle, session), sessions,
           ARRAY_SIZE(sessions));
    mutate(queue, message_gsessinfo(handle, session), sessions,
           ARRAY_SIZE(sessions));
    bed_free(bed);
}

static void test_10_fields(void)
{
    run_10(&test_backend);
    run_10(&test_backend_blocking);
    run_10(&test_backend_crypt);
}

/* As much as max_bytes says, and not a byte more */
static void test_10_greatest_length(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle, session;
    uint8_t *source = calloc(1, 70001);

    config.max_bytes = 70000;
    CHECK(source);
    bed = bed_new(&test_backend, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    session = cipher_session(queue, handle, KEY);
    expect_encrypted(send_encrypt(queue, handle, session, source, 70000),
                     source, 70000, KEY_BYTE);
    expect_error(send_encrypt(queue, handle, session, source, 70001), EINVAL);
    free(source);
    bed_free(bed);
}

/*
 * [11] The requests of a session are done in their order
 */

static void run_11(const struct vcd_backend *backend, bool mixed)
{
    struct bed *bed = bed_new(backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *chains[128];
    unsigned first = queue->completed;

    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        /* Some would be done at once, were it not for those before them. */
        chains[i] = send_number(queue, handle, session, i,
                                mixed && i % 3 == 0 ? 60000 : 16);
        if (i % 20 == 19) {
            queue_pump(queue, 0);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chain_wait(chains[i]), 0);
        CHECK_EQUAL(chains[i]->turn, first + i);
        chain_free(chains[i]);
    }
    CHECK_EQUAL(journal_length(), ARRAY_SIZE(chains));
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(journal_at(i), i);
    }
    bed_free(bed);
}

static void test_11_order(void)
{
    run_11(&test_backend, false);
    run_11(&test_backend, true);
    run_11(&test_backend_blocking, true);
    run_11(&test_backend_crypt, true);
}

/* Without an IV a request goes on from the one before, also in threads. */
static void test_11_iv_goes_on(void)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(&vcd_backend_libcrypto, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t whole = must_gsession(queue, handle, AES_CBC, 0, KEY, 16, NULL,
                                   0);
    uint32_t parts = must_gsession(queue, handle, AES_CBC, 0, KEY, 16, NULL,
                                   0);
    uint8_t source[256], result[256], iv[16];
    struct chain *chain, *chains[16];

    for (size_t i = 0; i < sizeof(source); i++) {
        source[i] = i * 7;
    }
    chain = send_encrypt(queue, handle, whole, source, sizeof(source));
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_read(chain, RESPONSE_BYTES, result, sizeof(result));
    chain_free(chain);
    for (size_t i = 0; i < 16; i++) {
        chains[i] = send_message(queue, message_crypt(handle,
            &(struct crypt) {
                .session = parts, .src = source + 16 * i, .len = 16,
                .result_bytes = 16, .iv = zero_iv,
                .iv_bytes = i == 0 ? 16 : 0, .iv_back = 16,
                .flags = VCD_WRITE_IV,
            }));
    }
    for (size_t i = 0; i < 16; i++) {
        uint8_t answer[32];

        memcpy(answer, result + 16 * i, 16);
        memcpy(answer + 16, result + 16 * i, 16);
        expect_data(chains[i], answer, sizeof(answer));
    }
    /* With nothing at all to do the IV is that of before. */
    chain = send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = parts, .iv_back = 16, .flags = VCD_WRITE_IV,
    }));
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_read(chain, RESPONSE_BYTES, iv, sizeof(iv));
    CHECK(!memcmp(iv, result + 240, 16));
    chain_free(chain);
    bed_free(bed);
}

/* FSESSION waits for what came before it, and nothing comes after it. */
static void run_11_fsession(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *before, *end;

    gate_shut(CALL_CIPHER, 0);
    before = send_number(queue, handle, session, 1, 16);
    gate_wait(CALL_CIPHER, 1);
    end = send_message(queue, message_fsession(handle, session));
    expect_error(send_encrypt(queue, handle, session, "late", 4), EINVAL);
    CHECK(chain_pending(end));
    CHECK_EQUAL(call_count(CALL_FREE), 0);
    gate_open(CALL_CIPHER);
    expect_error(end, 0);
    CHECK_EQUAL(before->state, CHAIN_COMPLETED);
    CHECK_EQUAL(alive_sessions(), 0);
    chain_free(before);
    bed_free(bed);
}

static void test_11_fsession(void)
{
    run_11_fsession(&test_backend);
    run_11_fsession(&test_backend_blocking);
    run_11_fsession(&test_backend_crypt);
}

/*
 * [12] CLOSE
 */

static void run_12(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *requests[3], *end;

    cipher_session(queue, handle, KEY);
    gate_shut(CALL_CIPHER, 0);
    for (int i = 0; i < 3; i++) {
        requests[i] = send_number(queue, handle, session, i, 16);
    }
    gate_wait(CALL_CIPHER, 1);
    end = send_message(queue, message_close(handle));
    expect_error(send_encrypt(queue, handle, session, "late", 4), EBADF);
    expect_error(send_message(queue, message_close(handle)), EBADF);
    CHECK(chain_pending(end));
    CHECK_EQUAL(alive_sessions(), 2);
    gate_open(CALL_CIPHER);
    expect_error(end, 0);
    CHECK_EQUAL(alive_sessions(), 0);
    CHECK_EQUAL(alive_files(), 0);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 0);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_SESSIONS), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(requests[i]->state, CHAIN_COMPLETED);
        CHECK_EQUAL(chain_response(requests[i]).error, 0);
        chain_free(requests[i]);
    }
    bed_free(bed);
}

static void test_12_close(void)
{
    run_12(&test_backend);
    run_12(&test_backend_blocking);
    run_12(&test_backend_crypt);
}

/* A session that is being made is waited for, and ended too. */
static void test_12_close_while_gsession(void)
{
    struct bed *bed = bed_new(&test_backend_blocking, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    struct chain *session, *end;

    gate_shut(CALL_NEW, 0);
    session = send_message(queue, message_gsession(handle, AES_CBC, 0, KEY,
                                                   16, NULL, 0));
    gate_wait(CALL_NEW, 1);
    end = send_message(queue, message_close(handle));
    CHECK(chain_pending(end));
    gate_open(CALL_NEW);
    expect_error(end, 0);
    CHECK_EQUAL(chain_wait(session), 0);
    CHECK_EQUAL(alive_sessions(), 0);
    chain_free(session);
    bed_free(bed);
}

/*
 * [13] Reset
 */

static void test_13_reset_ends_everything(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;

    config.num_queues = 2;
    bed = bed_new(&test_backend, &config);
    for (uint32_t i = 0; i < 2; i++) {
        for (int files = 0; files < 5; files++) {
            uint32_t handle = must_open(&bed->queues[i]);

            for (int j = 0; j < 10; j++) {
                cipher_session(&bed->queues[i], handle, KEY);
            }
        }
    }
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 10);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_SESSIONS), 100);
    /* One queue's end is none of another's business. */
    vcd_queue_reset(bed->queues[0].vcd);
    bed_wait_stat(bed, VCD_STAT_FILES, 5);
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 50);
    expect_error(send_message(&bed->queues[0], message_close(1)), EBADF);
    expect_error(send_message(&bed->queues[1], message_close(1)), 0);
    vcd_queue_reset(bed->queues[1].vcd);
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 0);
    CHECK_EQUAL(alive_sessions(), 0);
    /* And it works as before. */
    must_close(&bed->queues[0], must_open(&bed->queues[0]));
    bed_free(bed);
}

/*
 * Every free() is looked through for keys: here GSESSIONs are ended in each
 * state that they can be in.
 */
static void test_13_keys_are_zeroed(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle;
    struct chain *chains[8];

    config.max_threads = 1;
    config.max_device_sessions = 3;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    must_gsession(queue, handle, AES_CBC, HMAC_SHA256, KEY, 16, KEY, 16);
    call_fails(CALL_NEW, ENOMEM);
    expect_error(send_message(queue, message_gsession(handle, AES_CBC,
        HMAC_SHA256, KEY, 16, KEY, 16)), ENOMEM);
    call_fails(CALL_NEW, 0);
    /* Of these one is begun, some stand in line, and some are refused. */
    gate_shut(CALL_NEW, 0);
    for (int i = 0; i < 8; i++) {
        chains[i] = send_message(queue, message_gsession(handle, AES_CBC,
            HMAC_SHA256, KEY, 16, KEY, 16));
    }
    gate_wait(CALL_NEW, 1);
    vcd_queue_reset(queue->vcd);
    gate_open(CALL_NEW);
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 0);
    for (int i = 0; i < 8; i++) {
        chain_free(chains[i]);
    }
    bed_free(bed);
}

/* Workers that hang hold up no reset, and touch nothing of the guest's. */
static void run_13_hung(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint32_t other = both_session(queue, handle);
    uint8_t source[4096] = { 0 };
    struct chain *chains[24];
    unsigned count = 0;

    arena_begin(1 << 20);
    gate_shut(CALL_DIGEST, 0);
    for (int i = 0; i < 4; i++) {
        chains[count++] = send_message(queue, message_crypt(handle,
            &(struct crypt) {
                .session = i % 2 ? session : other, .src = source,
                .len = sizeof(source), .result_bytes = sizeof(source),
                .mac_bytes = 32, .op = 1,
                .flags = VCD_WRITE_IV, .iv_back = 16,
            }));
    }
    gate_wait(CALL_DIGEST, 2);
    gate_shut(CALL_INFO, 0);
    gate_shut(CALL_NEW, 0);
    gate_shut(CALL_OPEN, 0);
    chains[count++] = send_message(queue, message_gsession(handle, AES_CBC, 0,
                                                           KEY, 16, NULL, 0));
    chains[count++] = send_message(queue, message_open());
    if (backend->may_block) {
        gate_wait(CALL_NEW, 1);
        gate_wait(CALL_OPEN, 1);
    }
    chains[count++] = send_message(queue, message_gsessinfo(handle, session));
    chains[count++] = send_message(queue, message_fsession(handle, session));
    chains[count++] = send_message(queue, message_close(handle));
    vcd_queue_reset(queue->vcd);
    CHECK_EQUAL(queue->dropped, count);
    CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
    arena_forbid();
    /* While they hang the device is there for who comes next. */
    CHECK(gate_waiting(CALL_DIGEST) == 2);
    gate_open_all();
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 0);
    bed_wait_stat(bed, VCD_STAT_BUFFERED, 0);
    CHECK_EQUAL(alive_files(), 0);
    CHECK_EQUAL(alive_sessions(), 0);
    arena_allow();
    arena_end();
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQUAL(chains[i]->state, CHAIN_DROPPED);
        chain_free(chains[i]);
    }
    must_close(queue, must_open(queue));
    bed_free(bed);
}

static void test_13_reset_while_hung(void)
{
    /* Decrypting with a MAC is done on a copy by every backend. */
    run_13_hung(&test_backend_blocking);
    run_13_hung(&test_backend_crypt);
}

static void test_13_hung_work_that_is_not_to_block(void)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(&test_backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[4096] = { 0 };
    struct chain *chain;

    arena_begin(1 << 20);
    gate_shut(CALL_DIGEST, 0);
    chain = send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .src = source, .len = sizeof(source),
        .result_bytes = sizeof(source), .mac_bytes = 32, .op = 1,
    }));
    gate_wait(CALL_DIGEST, 1);
    vcd_queue_reset(queue->vcd);
    arena_forbid();
    gate_open_all();
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    arena_allow();
    arena_end();
    chain_free(chain);
    bed_free(bed);
}

/* Threads come and go all the time; nothing old is touched after any reset. */
static void test_13_resets_at_any_time(void)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed;
    struct bed_queue *queue;
    uint8_t source[20000] = { 0 };

    config.max_threads = 3;
    bed = bed_new(&test_backend, &config);
    queue = &bed->queues[0];
    for (int round = 0; round < 200; round++) {
        struct chain *chains[64];
        uint32_t handle = must_open(queue);
        uint32_t session = both_session(queue, handle);
        uint32_t other = cipher_session(queue, handle, OTHER_KEY);
        unsigned count = 1 + random_below(ARRAY_SIZE(chains));

        arena_begin(4 << 20);
        for (unsigned i = 0; i < count; i++) {
            uint32_t len = random_below(sizeof(source) / 16) * 16;
            struct crypt crypt = {
                .session = session, .src = source, .len = len,
                .result_bytes = len, .mac_bytes = 32,
                .op = random_below(2),
            };

            switch (random_below(8)) {
            case 0:
                chains[i] = send_message(queue, message_open());
                break;
            case 1:
                chains[i] = send_message(queue, message_gsession(handle,
                    AES_CBC, SHA256, KEY, 16, NULL, 0));
                break;
            case 2:
                chains[i] = send_message(queue, message_gsessinfo(handle,
                                                                  session));
                break;
            case 3:
                chains[i] = send_encrypt(queue, handle, other, source,
                                         sizeof(source));
                break;
            default:
                chains[i] = send_message(queue, message_crypt(handle,
                                                              &crypt));
            }
            if (random_below(8) == 0) {
                queue_pump(queue, 0);
            }
        }
        if (random_below(2)) {
            usleep(random_below(300));
        }
        if (random_below(2)) {
            vcd_queue_settle(queue->vcd, random_below(2));
            CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
            arena_forbid();
            sched_yield();
            arena_allow();
        }
        vcd_queue_reset(queue->vcd);
        arena_forbid();
        bed_wait_stat(bed, VCD_STAT_FILES, 0);
        arena_allow();
        for (unsigned i = 0; i < count; i++) {
            chain_free(chains[i]);
        }
        arena_end();
    }
    CHECK_EQUAL(alive_sessions(), 0);
    bed_free(bed);
}

static void reset_inside(struct bed_queue *queue, struct chain *chain)
{
    (void)chain;
    queue->on_complete = NULL;
    vcd_queue_reset(queue->vcd);
    CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
}

static void run_13_inside(bool settle)
{
    struct bed *bed = bed_new(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *chains[10];

    /* All are done when the first is completed. */
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_number(queue, handle, session, i, 16);
    }
    queue->completed = 0;
    queue->on_complete = reset_inside;
    if (settle) {
        vcd_queue_settle(queue->vcd, 1000);
    } else {
        queue_pump(queue, 1000);
    }
    CHECK_EQUAL(queue->completed, 1);
    CHECK_EQUAL(queue->dropped, ARRAY_SIZE(chains) - 1);
    CHECK_EQUAL(chains[0]->state, CHAIN_COMPLETED);
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chain_free(chains[i]);
    }
    bed_free(bed);
}

static void test_13_reset_inside_complete(void)
{
    run_13_inside(false);
    run_13_inside(true);
}

/* The same, from the answer of EIO that settle gives */
static void test_13_reset_inside_settle(void)
{
    struct bed *bed = bed_new(&test_backend_blocking, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *chains[10];

    gate_shut(CALL_CIPHER, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_number(queue, handle, session, i, 16);
    }
    gate_wait(CALL_CIPHER, 1);
    queue->completed = 0;
    queue->on_complete = reset_inside;
    vcd_queue_settle(queue->vcd, 1);
    CHECK_EQUAL(queue->completed, 1);
    CHECK_EQUAL(queue->dropped, ARRAY_SIZE(chains) - 1);
    gate_open_all();
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chain_free(chains[i]);
    }
    bed_free(bed);
}

/* A reset does not wait for the end of a million sessions. */
static void test_13_million_sessions(void)
{
    /* The sanitizers' memory is several times what it is otherwise. */
    const uint32_t files = UNDER_ASAN || UNDER_TSAN ? 64 : 1024;
    const uint32_t sessions = files * 1024;
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint64_t start, end;

    config.max_device_sessions = sessions;
    bed = bed_new(&test_backend, &config);
    bed->whole = true;
    queue = &bed->queues[0];
    for (uint32_t i = 0; i < files; i++) {
        uint32_t handle = must_open(queue);

        for (uint32_t j = 0; j < 1024; j++) {
            cipher_session(queue, handle, KEY);
        }
    }
    CHECK_EQUAL(alive_sessions(), sessions);
    gate_shut(CALL_FREE, 0);
    start = now_ns();
    vcd_queue_reset(queue->vcd);
    end = now_ns();
    CHECK_EQUAL(alive_sessions(), sessions);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_SESSIONS), sessions);
    printf("# reset of %u sessions returned after %.3f ms\n", sessions,
           (end - start) / 1e6);
    gate_open(CALL_FREE);
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 0);
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    printf("# and they were gone after %.0f ms\n", (now_ns() - end) / 1e6);
    bed_free(bed);
}

/*
 * [14] Error 0 for what has been done only, and nothing but the response else
 */

static void run_14(const struct vcd_backend *backend, uint32_t inline_ns)
{
    static const int errors[] = { EIO, ENOMEM, EINVAL, ENODEV, 133 };
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle, session, cipher, after;
    uint8_t source[64] = { 9 };

    config.inline_ns = inline_ns;

    config.inline_alone_ns = config.inline_ns;
    bed = bed_new(backend, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    session = both_session(queue, handle);
    cipher = cipher_session(queue, handle, KEY);
    for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
        struct crypt crypt = {
            .session = session, .src = source, .len = sizeof(source),
            .result_bytes = sizeof(source), .mac_bytes = 32, .op = 1,
            .iv_back = 16, .flags = VCD_WRITE_IV,
        };

        call_fails(CALL_OPEN, errors[i]);
        expect_error(send_message(queue, message_open()), errors[i]);
        call_fails(CALL_OPEN, 0);
        call_fails(CALL_NEW, errors[i]);
        expect_error(send_message(queue, message_gsession(handle, AES_CBC, 0,
            KEY, 16, NULL, 0)), errors[i]);
        call_fails(CALL_NEW, 0);
        call_fails(CALL_INFO, errors[i]);
        expect_error(send_message(queue, message_gsessinfo(handle, session)),
                     errors[i]);
        call_fails(CALL_INFO, 0);
        /* Decrypted, but not hashed: nothing of the plaintext is given. */
        call_fails(CALL_DIGEST, errors[i]);
        expect_error(send_message(queue, message_crypt(handle, &crypt)),
                     errors[i]);
        call_fails(CALL_DIGEST, 0);
        call_fails(CALL_CIPHER, errors[i]);
        expect_error(send_message(queue, message_crypt(handle, &crypt)),
                     errors[i]);
        crypt.op = 0;
        expect_nothing_shown(send_message(queue,
                                          message_crypt(handle, &crypt)),
                             errors[i]);
        expect_nothing_shown(send_encrypt(queue, handle, cipher, source,
                                          sizeof(source)), errors[i]);
        call_fails(CALL_CIPHER, 0);
    }
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 1);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_SESSIONS), 2);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_OPERATIONS), 0);
    /* And it goes on working. */
    expect_encrypted(send_encrypt(queue, handle, cipher, source, 64), source,
                     64, KEY_BYTE);
    after = must_open(queue);
    must_close(queue, after);
    bed_free(bed);
}

static void test_14_failures(void)
{
    run_14(&test_backend, UINT32_MAX);
    run_14(&test_backend, 0);
    run_14(&test_backend_blocking, 0);
    run_14(&test_backend_crypt, 0);
}

/*
 * [15] Who is slow holds up nobody else
 */

static void run_15(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle, other_file, slow, other;
    struct chain *chains[128];

    config.num_queues = 2;
    config.max_threads = 4;
    bed = bed_new(backend, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    other_file = must_open(queue);
    slow = cipher_session(queue, handle, KEY);
    other = cipher_session(queue, handle, OTHER_KEY);
    gate_shut(CALL_CIPHER, KEY_BYTE);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_number(queue, handle, slow, i, 16);
    }
    gate_wait(CALL_CIPHER, 1);
    for (int i = 0; i < 10; i++) {
        expect_encrypted(send_encrypt(queue, handle, other, "fast", 4),
                         (const uint8_t *)"fast", 4, OTHER_BYTE);
        expect_error(send_message(queue, message_fsession(other_file,
            cipher_session(queue, other_file, OTHER_KEY))), 0);
        must_close(&bed->queues[1], must_open(&bed->queues[1]));
    }
    must_close(queue, other_file);
    /* One of its requests is in a thread; the others wait for none. */
    CHECK_EQUAL(gate_waiting(CALL_CIPHER), 1);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chains[i]->state, CHAIN_SENT);
    }
    gate_open(CALL_CIPHER);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chain_wait(chains[i]), 0);
        chain_free(chains[i]);
    }
    bed_free(bed);
}

static void test_15_slow_session(void)
{
    run_15(&test_backend);
    run_15(&test_backend_blocking);
    run_15(&test_backend_crypt);
}

/* A backend that may block is called by threads only. */
static pthread_t main_thread;

static void not_here(const struct vcd_op *op)
{
    (void)op;
    CHECK(!pthread_equal(pthread_self(), main_thread));
}

static void test_15_never_here(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t handle, session;

    config.inline_ns = UINT32_MAX;

    config.inline_alone_ns = config.inline_ns;
    main_thread = pthread_self();
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    session = cipher_session(queue, handle, KEY);
    call_hook(not_here);
    for (int i = 0; i < 20; i++) {
        expect_encrypted(send_encrypt(queue, handle, session, "x", 1),
                         (const uint8_t *)"x", 1, KEY_BYTE);
    }
    CHECK(bed_stat(bed, VCD_STAT_IN_THREADS) >= 20);
    call_hook(NULL);
    bed_free(bed);
}

/* What is long is not done by who submits it. */
static void test_15_long_work_in_threads(void)
{
    struct bed *bed = bed_new(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    uint8_t *source = calloc(1, 1 << 20);
    struct chain *chain;

    CHECK(source);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_IN_THREADS), 0);
    chain = send_encrypt(queue, handle, session, source, 64);
    CHECK(chain->submitted > 0);
    expect_encrypted(chain, source, 64, KEY_BYTE);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_IN_THREADS), 0);
    gate_shut(CALL_CIPHER, 0);
    chain = send_encrypt(queue, handle, session, source, 1 << 20);
    gate_wait(CALL_CIPHER, 1);
    gate_open(CALL_CIPHER);
    expect_encrypted(chain, source, 1 << 20, KEY_BYTE);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_IN_THREADS), 1);
    free(source);
    bed_free(bed);
}

/*
 * Limits
 */

static void run_limits(const struct vcd_backend *backend)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    uint32_t files[4];

    config.num_queues = 2;
    config.max_files = 4;
    config.max_sessions = 3;
    config.max_device_sessions = 8;
    bed = bed_new(backend, &config);
    queue = &bed->queues[0];
    for (int i = 0; i < 4; i++) {
        files[i] = must_open(queue);
    }
    expect_error(send_message(queue, message_open()), EMFILE);
    /* The limit is the device's, not the queue's. */
    expect_error(send_message(&bed->queues[1], message_open()), EMFILE);
    for (int i = 0; i < 3; i++) {
        cipher_session(queue, files[0], KEY);
        cipher_session(queue, files[1], KEY);
    }
    expect_error(send_message(queue, message_gsession(files[0], AES_CBC, 0,
        KEY, 16, NULL, 0)), ENOMEM);
    cipher_session(queue, files[2], KEY);
    cipher_session(queue, files[2], KEY);
    expect_error(send_message(queue, message_gsession(files[2], AES_CBC, 0,
        KEY, 16, NULL, 0)), ENOMEM);
    expect_error(send_message(queue, message_gsession(files[3], AES_CBC, 0,
        KEY, 16, NULL, 0)), ENOMEM);
    CHECK_EQUAL(alive_sessions(), 8);
    expect_error(send_message(queue, message_fsession(files[2], 1)), 0);
    cipher_session(queue, files[3], KEY);
    must_close(queue, files[0]);
    files[0] = must_open(queue);
    expect_error(send_message(queue, message_open()), EMFILE);
    /* What failed counts for nothing. */
    must_close(queue, files[1]);
    call_fails(CALL_OPEN, EIO);
    for (int i = 0; i < 10; i++) {
        expect_error(send_message(queue, message_open()), EIO);
    }
    call_fails(CALL_OPEN, 0);
    must_open(queue);
    call_fails(CALL_NEW, EIO);
    for (int i = 0; i < 10; i++) {
        expect_error(send_message(queue, message_gsession(files[0], AES_CBC,
            0, KEY, 16, NULL, 0)), EIO);
    }
    call_fails(CALL_NEW, 0);
    for (int i = 0; i < 3; i++) {
        cipher_session(queue, files[0], KEY);
    }
    bed_free(bed);
}

static void test_limits(void)
{
    run_limits(&test_backend);
    run_limits(&test_backend_blocking);
}

/* Those that are being opened, or made, count. */
static void test_limits_of_what_is_coming(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *coming[3];
    uint32_t handle;

    config.max_files = 4;
    config.max_sessions = 3;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    gate_shut(CALL_OPEN, 0);
    for (int i = 0; i < 3; i++) {
        coming[i] = send_message(queue, message_open());
    }
    expect_error(send_message(queue, message_open()), EMFILE);
    gate_open(CALL_OPEN);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(chain_wait(coming[i]), 0);
        chain_free(coming[i]);
    }
    gate_shut(CALL_NEW, 0);
    for (int i = 0; i < 3; i++) {
        coming[i] = send_message(queue, message_gsession(handle, AES_CBC, 0,
                                                         KEY, 16, NULL, 0));
    }
    expect_error(send_message(queue, message_gsession(handle, AES_CBC, 0, KEY,
                                                      16, NULL, 0)), ENOMEM);
    gate_open(CALL_NEW);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(chain_wait(coming[i]), 0);
        chain_free(coming[i]);
    }
    bed_free(bed);
}

static void test_limit_of_threads(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *chains[6];
    uint32_t handle, sessions[ARRAY_SIZE(chains)];

    config.max_threads = 3;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        sessions[i] = cipher_session(queue, handle, KEY);
    }
    gate_shut(CALL_CIPHER, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_number(queue, handle, sessions[i], i, 16);
    }
    gate_wait(CALL_CIPHER, 3);
    CHECK(chain_pending(chains[0]));
    CHECK_EQUAL(gate_waiting(CALL_CIPHER), 3);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_THREADS), 3);
    gate_open(CALL_CIPHER);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chain_wait(chains[i]), 0);
        chain_free(chains[i]);
    }
    bed_free(bed);
}

/* What threads hold copies of is bounded; more of it waits. */
static void test_limit_of_buffers(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *chains[8];
    uint32_t handle, sessions[8];
    uint8_t *source = calloc(1, 100000);

    CHECK(source);
    config.max_bytes = 100000;
    config.max_buffered = 250000;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    for (int i = 0; i < 8; i++) {
        sessions[i] = cipher_session(queue, handle, KEY);
    }
    gate_shut(CALL_CIPHER, 0);
    for (int i = 0; i < 8; i++) {
        chains[i] = send_encrypt(queue, handle, sessions[i], source, 100000);
    }
    gate_wait(CALL_CIPHER, 2);
    CHECK(chain_pending(chains[7]));
    CHECK_EQUAL(gate_waiting(CALL_CIPHER), 2);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_BUFFERED), 200000);
    /* What needs no copy does not wait for those that do. */
    expect_error(send_message(queue, message_fsession(handle,
        cipher_session(queue, handle, KEY))), 0);
    must_close(queue, must_open(queue));
    gate_open(CALL_CIPHER);
    for (int i = 0; i < 8; i++) {
        expect_encrypted(chains[i], source, 100000, KEY_BYTE);
    }
    bed_wait_stat(bed, VCD_STAT_BUFFERED, 0);
    free(source);
    bed_free(bed);
}

/* At the limit, while a reset's files are still ending: it waits its turn. */
/*
 * Who waits for room in a file that is to be closed must not wait for the room
 * that the same file's end will give.
 */
static void test_gsession_of_ending_file(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *other, *own, *close_first, *close_own;
    uint32_t first, second, third;

    config.max_device_sessions = 3;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    first = must_open(queue);
    second = must_open(queue);
    third = must_open(queue);
    cipher_session(queue, first, KEY);
    cipher_session(queue, second, KEY);
    cipher_session(queue, second, KEY);
    gate_shut(CALL_FREE, 0);
    close_first = send_message(queue, message_close(first));
    gate_wait(CALL_FREE, 1);
    other = send_message(queue, message_gsession(third, AES_CBC, 0, KEY, 16,
                                                 NULL, 0));
    own = send_message(queue, message_gsession(second, AES_CBC, 0, KEY, 16,
                                               NULL, 0));
    CHECK(chain_pending(own));
    close_own = send_message(queue, message_close(second));
    gate_open(CALL_FREE);
    CHECK_EQUAL(chain_wait(close_first), 0);
    CHECK_EQUAL(chain_wait(other), 0);
    /* It may have had room, or been refused; it has ended in any case. */
    chain_wait(own);
    CHECK_EQUAL(chain_wait(close_own), 0);
    chain_free(close_first);
    chain_free(other);
    chain_free(own);
    chain_free(close_own);
    bed_free(bed);
}

/* Jobs that wait for buffers don't keep idle threads from other work. */
static void test_idle_beside_buffers(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *chains[6];
    uint32_t handle, sessions[6];
    uint8_t *source = calloc(1, 100000);
    uint64_t before;

    CHECK(source);
    config.max_threads = 4;
    config.max_bytes = 100000;
    config.max_buffered = 100000;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    for (int i = 0; i < 6; i++) {
        sessions[i] = cipher_session(queue, handle, KEY);
    }
    gate_shut(CALL_CIPHER, 0);
    for (int i = 0; i < 6; i++) {
        chains[i] = send_encrypt(queue, handle, sessions[i], source, 100000);
    }
    gate_wait(CALL_CIPHER, 1);
    before = now_ns();
    for (int i = 0; i < 20; i++) {
        must_close(queue, must_open(queue));
    }
    /* An idle thread looks by itself after 10 seconds. */
    CHECK(now_ns() - before < 5000000000ull);
    gate_open(CALL_CIPHER);
    for (int i = 0; i < 6; i++) {
        expect_encrypted(chains[i], source, 100000, KEY_BYTE);
    }
    free(source);
    bed_free(bed);
}

static void run_open_while_ending(const struct vcd_backend *backend)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *open, *dropped;

    config.max_files = 4;
    bed = bed_new(backend, &config);
    queue = &bed->queues[0];
    for (int i = 0; i < 4; i++) {
        must_open(queue);
    }
    gate_shut(CALL_CLOSE, 0);
    vcd_queue_reset(queue->vcd);
    dropped = send_message(queue, message_open());
    CHECK(chain_pending(dropped));
    /* Who waits can be reset too. */
    vcd_queue_reset(queue->vcd);
    CHECK_EQUAL(dropped->state, CHAIN_DROPPED);
    open = send_message(queue, message_open());
    CHECK(chain_pending(open));
    gate_open(CALL_CLOSE);
    expect_error(send_message(queue, message_close(must_open(queue))), 0);
    CHECK_EQUAL(chain_wait(open), 0);
    chain_free(open);
    chain_free(dropped);
    bed_free(bed);
}

static void test_open_while_ending(void)
{
    run_open_while_ending(&test_backend);
    run_open_while_ending(&test_backend_blocking);
}

/* The same of sessions */
static void test_gsession_while_ending(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *chain;

    config.max_device_sessions = 4;
    bed = bed_new(&test_backend_blocking, &config);
    queue = &bed->queues[0];
    for (int i = 0; i < 4; i++) {
        cipher_session(queue, must_open(queue), KEY);
    }
    gate_shut(CALL_FREE, 0);
    vcd_queue_reset(queue->vcd);
    chain = send_message(queue, message_gsession(must_open(queue), AES_CBC, 0,
                                                 KEY, 16, NULL, 0));
    CHECK(chain_pending(chain));
    gate_open(CALL_FREE);
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_free(chain);
    bed_free(bed);
}

/*
 * Settling
 */

static void run_settle(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t hung = both_session(queue, handle);
    struct chain *chains[3], *chain;
    unsigned count = 0;
    uint8_t source[64] = { 1 };
    struct crypt crypt = {
        .session = hung, .src = source, .len = sizeof(source),
        .result_bytes = sizeof(source), .mac_bytes = 32, .op = 1,
    };

    arena_begin(1 << 20);
    gate_shut(CALL_DIGEST, 0);
    for (int i = 0; i < 3; i++) {
        chains[count++] = send_message(queue, message_crypt(handle, &crypt));
    }
    gate_wait(CALL_DIGEST, 1);
    vcd_queue_settle(queue->vcd, 20);
    CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
    for (unsigned i = 0; i < count; i++) {
        expect_error(chains[i], EIO);
    }
    arena_forbid();
    gate_open_all();
    bed_wait_stat(bed, VCD_STAT_BUFFERED, 0);
    arena_allow();
    arena_end();
    CHECK_EQUAL(queue->dropped, 0);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 1);
    CHECK_EQUAL(alive_sessions(), 1);
    /* Files and sessions are there as before. */
    crypt.op = 0;
    chain = send_message(queue, message_crypt(handle, &crypt));
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_free(chain);
    must_close(queue, handle);
    bed_free(bed);
}

static void test_settle(void)
{
    run_settle(&test_backend_blocking);
    run_settle(&test_backend_crypt);
}

/* A session that was made in vain, as nobody has its number, is ended. */
static void test_settle_gsession(void)
{
    struct bed *bed = bed_new(&test_backend_blocking, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    struct chain *chain;

    gate_shut(CALL_NEW, 0);
    chain = send_message(queue, message_gsession(handle, AES_CBC, 0, KEY, 16,
                                                 NULL, 0));
    gate_wait(CALL_NEW, 1);
    vcd_queue_settle(queue->vcd, 1);
    expect_error(chain, EIO);
    gate_open_all();
    bed_wait_stat(bed, VCD_STAT_SESSIONS, 0);
    CHECK_EQUAL(alive_sessions(), 0);
    must_close(queue, handle);
    bed_free(bed);
}

/* What can be done in time is done. */
static void test_settle_waits(void)
{
    struct bed *bed = bed_new(&test_backend_blocking, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = cipher_session(queue, handle, KEY);
    struct chain *chains[40];

    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_number(queue, handle, session, i, 64);
    }
    vcd_queue_settle(queue->vcd, PATIENCE_MS);
    CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chains[i]->state, CHAIN_COMPLETED);
        CHECK_EQUAL(chain_response(chains[i]).error, 0);
        chain_free(chains[i]);
    }
    vcd_queue_settle(queue->vcd, PATIENCE_MS);
    bed_free(bed);
}

/* An OPEN and a CLOSE that hang are given up too. */
static void test_settle_open_and_close(void)
{
    struct bed *bed = bed_new(&test_backend_blocking, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue), next;
    struct chain *open, *end;

    gate_shut(CALL_OPEN, 0);
    gate_shut(CALL_CLOSE, 0);
    open = send_message(queue, message_open());
    end = send_message(queue, message_close(handle));
    gate_wait(CALL_OPEN, 1);
    gate_wait(CALL_CLOSE, 1);
    vcd_queue_settle(queue->vcd, 5);
    expect_error(open, EIO);
    expect_error(end, EIO);
    gate_open_all();
    /* The file that was opened in vain has no handle, and is closed. */
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    CHECK_EQUAL(alive_files(), 0);
    expect_error(send_message(queue, message_close(handle)), EBADF);
    next = must_open(queue);
    must_close(queue, next);
    bed_free(bed);
}

/*
 * Hold and release
 */

static void wait_asked(struct bed *bed, bool *flag)
{
    uint64_t end = now_ns() + PATIENCE_MS * UINT64_C(1000000);
    bool asked = false;

    while (!asked) {
        CHECK(now_ns() < end);
        pthread_mutex_lock(&bed->lock);
        asked = *flag;
        *flag = false;
        pthread_mutex_unlock(&bed->lock);
        usleep(100);
    }
}

static void run_hold(const struct vcd_backend *backend)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    struct bed_queue *queue, *second;
    struct chain *a, *b;
    uint32_t handle;

    config.num_queues = 2;
    bed = bed_new_holding(backend, &config);
    queue = &bed->queues[0];
    second = &bed->queues[1];
    bed->keep_hold = true;
    CHECK(!vcd_device_release(bed->dev));
    a = send_message(queue, message_open());
    b = send_message(second, message_open());
    wait_asked(bed, &bed->hold_asked);
    /* Asked once; until it is answered they wait, and can be reset. */
    CHECK(chain_pending(a) && chain_pending(b));
    CHECK(!bed->hold_asked);
    CHECK_EQUAL(call_count(CALL_OPEN), 0);
    CHECK(!vcd_device_release(bed->dev));
    vcd_queue_reset(queue->vcd);
    CHECK_EQUAL(a->state, CHAIN_DROPPED);
    chain_free(a);
    a = send_message(queue, message_open());
    vcd_device_held(bed->dev, 0);
    CHECK_EQUAL(chain_wait(a), 0);
    CHECK_EQUAL(chain_wait(b), 0);
    CHECK(!vcd_device_release(bed->dev));
    must_close(queue, chain_response(a).value);
    CHECK(!vcd_device_release(bed->dev));
    CHECK(!bed->release_asked);
    must_close(second, chain_response(b).value);
    chain_free(a);
    chain_free(b);
    wait_asked(bed, &bed->release_asked);
    CHECK(vcd_device_release(bed->dev));
    CHECK(!vcd_device_release(bed->dev));
    /* Asked anew, and refused */
    a = send_message(queue, message_open());
    wait_asked(bed, &bed->hold_asked);
    b = send_message(second, message_open());
    vcd_device_held(bed->dev, -EBUSY);
    expect_error(a, EBUSY);
    expect_error(b, EBUSY);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 0);
    /* And asked once more */
    a = send_message(queue, message_open());
    wait_asked(bed, &bed->hold_asked);
    vcd_device_held(bed->dev, 0);
    CHECK_EQUAL(chain_wait(a), 0);
    handle = chain_response(a).value;
    chain_free(a);
    /* A backend that opens nothing gives it back too. */
    must_close(queue, handle);
    wait_asked(bed, &bed->release_asked);
    /* Somebody was quicker: it is not given back. */
    handle = must_open(queue);
    CHECK(!vcd_device_release(bed->dev));
    vcd_queue_reset(queue->vcd);
    wait_asked(bed, &bed->release_asked);
    CHECK(vcd_device_release(bed->dev));
    /* An OPEN that fails leaves no hold behind. */
    call_fails(CALL_OPEN, EIO);
    a = send_message(queue, message_open());
    wait_asked(bed, &bed->hold_asked);
    vcd_device_held(bed->dev, 0);
    expect_error(a, EIO);
    wait_asked(bed, &bed->release_asked);
    CHECK(vcd_device_release(bed->dev));
    call_fails(CALL_OPEN, 0);
    bed_free(bed);
}

static void test_hold_and_release(void)
{
    run_hold(&test_backend);
    run_hold(&test_backend_blocking);
}

/* An answer to a question whose asker is gone keeps the device held no more
 * than a file would. */
static void test_hold_of_nobody(void)
{
    struct bed *bed = bed_new_holding(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    struct chain *chain;

    bed->keep_hold = true;
    chain = send_message(queue, message_open());
    wait_asked(bed, &bed->hold_asked);
    vcd_queue_reset(queue->vcd);
    chain_free(chain);
    vcd_device_held(bed->dev, 0);
    /* Nobody else will have it given back. */
    wait_asked(bed, &bed->release_asked);
    CHECK(vcd_device_release(bed->dev));
    bed_free(bed);
}

/*
 * The device's end
 */

static void run_free_while_hung(const struct vcd_backend *backend)
{
    struct vcd_config config = all_in_threads();
    struct bed *bed = bed_new(backend, &config);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[64] = { 0 };
    struct chain *chains[4];

    gate_shut(CALL_DIGEST, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        chains[i] = send_message(queue, message_crypt(handle,
            &(struct crypt) {
                .session = session, .src = source, .len = sizeof(source),
                .result_bytes = sizeof(source), .mac_bytes = 32, .op = 1,
            }));
    }
    gate_wait(CALL_DIGEST, 1);
    bed_release_device(bed);
    for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
        CHECK_EQUAL(chains[i]->state, CHAIN_DROPPED);
        chain_free(chains[i]);
    }
    usleep(GRACE_MS * 1000);
    CHECK(!bed->gone);
    CHECK_EQUAL(alive_files(), 1);
    gate_open_all();
    bed_wait_gone(bed);
}

static void test_free_while_hung(void)
{
    run_free_while_hung(&test_backend);
    run_free_while_hung(&test_backend_blocking);
    run_free_while_hung(&test_backend_crypt);
}

/* While a file's end hangs, and others wait for a thread */
static void test_free_while_closes_hang(void)
{
    struct vcd_config config = config_default;
    struct bed *bed;

    config.max_threads = 2;
    bed = bed_new(&test_backend_blocking, &config);
    for (int i = 0; i < 8; i++) {
        cipher_session(&bed->queues[0], must_open(&bed->queues[0]), KEY);
    }
    gate_shut(CALL_CLOSE, 0);
    bed_release_device(bed);
    gate_wait(CALL_CLOSE, 2);
    CHECK(!bed->gone);
    gate_open_all();
    bed_wait_gone(bed);
}

static void test_free_at_once(void)
{
    for (int i = 0; i < 100; i++) {
        bed_free(bed_new(&test_backend, NULL));
    }
}

/*
 * Two queues at full speed
 */

#define SPEED_ROUNDS    (UNDER_TSAN || UNDER_ASAN ? 40 : 200)

static void *full_speed(void *opaque)
{
    struct bed_queue *queue = opaque;
    uint8_t source[40000] = { 0 };

    random_seed((uintptr_t)queue->vcd);
    for (int round = 0; round < SPEED_ROUNDS; round++) {
        uint32_t handle = must_open(queue);
        uint32_t sessions[3];
        struct chain *chains[60];

        for (int i = 0; i < 3; i++) {
            sessions[i] = cipher_session(queue, handle, KEY);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
            chains[i] = send_encrypt(queue, handle, sessions[i % 3], source,
                                     random_below(4) ? random_below(2000) :
                                     random_below(sizeof(source)));
            if (i % 16 == 0) {
                queue_pump(queue, 0);
            }
        }
        if (round % 5 == 4) {
            vcd_queue_reset(queue->vcd);
            for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
                chain_free(chains[i]);
            }
            continue;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
            CHECK_EQUAL(chain_wait(chains[i]), 0);
            chain_free(chains[i]);
        }
        must_close(queue, handle);
    }
    return NULL;
}

static void run_full_speed(const struct vcd_backend *backend)
{
    struct vcd_config config = config_default;
    struct bed *bed;
    pthread_t threads[2];
    uint64_t sum = 0;

    config.num_queues = 2;
    bed = bed_new(backend, &config);
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, full_speed,
                             &bed->queues[i]) == 0);
    }
    for (int i = 0; i < 100; i++) {
        for (int stat = 0; stat < VCD_STATS; stat++) {
            sum += bed_stat(bed, stat);
        }
        usleep(500);
    }
    CHECK(sum > 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    bed_wait_stat(bed, VCD_STAT_FILES, 0);
    bed_free(bed);
}

static void test_full_speed(void)
{
    run_full_speed(&test_backend);
    run_full_speed(&test_backend_blocking);
}

/*
 * Statistics
 */

static void test_statistics(void)
{
    struct bed *bed = bed_new(&test_backend, NULL);
    struct bed_queue *queue = &bed->queues[0];
    uint32_t handle = must_open(queue);
    uint32_t session = both_session(queue, handle);
    uint8_t source[48] = { 0 };
    struct chain *chain = send_message(queue, message_crypt(handle,
        &(struct crypt) {
            .session = session, .src = source, .len = sizeof(source),
            .result_bytes = sizeof(source), .mac_bytes = 32,
        }));

    CHECK_EQUAL(chain_wait(chain), 0);
    chain_free(chain);
    expect_error(send_message(queue, message_close(77)), EBADF);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_OPENS), 1);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_FILES), 1);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_SESSIONS), 1);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_OPERATIONS), 1);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_BYTES), 48);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_ERRORS), 1);
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        uint32_t id = vcd_algorithms[i].id;

        CHECK_EQUAL(vcd_device_stat_algorithm(bed->dev, i),
                    id == AES_CBC || id == SHA256);
    }
    for (int stat = 0; stat < VCD_STATS; stat++) {
        CHECK(vcd_stat_name(stat) && !strchr(vcd_stat_name(stat), '_'));
    }
    bed_free(bed);
}

static void test_configurations(void)
{
    struct vcd_config config = config_default;

    CHECK(!vcd_config_error(&config));
    config.num_queues = 0;
    CHECK(vcd_config_error(&config));
    config.num_queues = VIRTIO_CRYPTODEV_MAX_QUEUES + 1;
    CHECK(vcd_config_error(&config));
    config = config_default;
    config.max_files = 0;
    CHECK(vcd_config_error(&config));
    config = config_default;
    config.max_sessions = 0;
    CHECK(vcd_config_error(&config));
    config = config_default;
    config.max_bytes = 0;
    CHECK(vcd_config_error(&config));
    config.max_bytes = VIRTIO_CRYPTODEV_MAX_BYTES + 1;
    CHECK(vcd_config_error(&config));
    config = config_default;
    config.max_buffered = config.max_bytes - 1;
    CHECK(vcd_config_error(&config));
}

static const struct test tests[] = {
    { "7-longer-chain", test_7_longer_chain },
    { "7-changing-source", test_7_changing_source },
#if !UNDER_TSAN
    { "7-racing-guest", test_7_racing_guest },
#endif
    { "8-cut-chains", test_8_cut_chains },
    { "9-handles-and-sessions", test_9_handles_and_sessions },
    { "9-numbers-wrap", test_9_numbers_wrap },
    { "10-fields", test_10_fields },
    { "10-greatest-length", test_10_greatest_length },
    { "11-order", test_11_order },
    { "11-iv-goes-on", test_11_iv_goes_on },
    { "11-fsession", test_11_fsession },
    { "12-close", test_12_close },
    { "12-close-while-gsession", test_12_close_while_gsession },
    { "13-reset-ends-everything", test_13_reset_ends_everything },
    { "13-keys-are-zeroed", test_13_keys_are_zeroed },
    { "13-reset-while-hung", test_13_reset_while_hung },
    { "13-hung-work-on-copy", test_13_hung_work_that_is_not_to_block },
    { "13-resets-at-any-time", test_13_resets_at_any_time },
    { "13-reset-inside-complete", test_13_reset_inside_complete },
    { "13-reset-inside-settle", test_13_reset_inside_settle },
    { "13-million-sessions", test_13_million_sessions },
    { "14-failures", test_14_failures },
    { "15-slow-session", test_15_slow_session },
    { "15-never-here", test_15_never_here },
    { "15-long-work-in-threads", test_15_long_work_in_threads },
    { "limits", test_limits },
    { "limits-of-what-is-coming", test_limits_of_what_is_coming },
    { "limit-of-threads", test_limit_of_threads },
    { "limit-of-buffers", test_limit_of_buffers },
    { "open-while-ending", test_open_while_ending },
    { "gsession-while-ending", test_gsession_while_ending },
    { "gsession-of-ending-file", test_gsession_of_ending_file },
    { "idle-beside-buffers", test_idle_beside_buffers },
    { "settle", test_settle },
    { "settle-waits", test_settle_waits },
    { "settle-open-and-close", test_settle_open_and_close },
    { "hold-and-release", test_hold_and_release },
    { "hold-of-nobody", test_hold_of_nobody },
    { "free-while-hung", test_free_while_hung },
    { "free-while-closes-hang", test_free_while_closes_hang },
    { "free-at-once", test_free_at_once },
    { "full-speed", test_full_speed },
    { "statistics", test_statistics },
    { "configurations", test_configurations },
    { "settle-gsession", test_settle_gsession },
};

int main(int argc, char **argv)
{
    vcd_libcrypto_init();
    return run_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
