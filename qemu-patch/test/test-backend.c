/*
 * virtio cryptodev: the backends, by the standards' known answers
 *
 * All through chains of a device, with libcrypto and with a host's node.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake-host.h"
#include "harness.h"
#include "vectors.h"

static uint64_t lacking;

/* The device under test, its backend, and one file of it */
static struct bed *bed;
static struct bed_queue *queue;
static uint32_t handle;

static bool is_lacking(uint32_t id)
{
    return lacking >> (vcd_algorithm(id) - vcd_algorithms) & 1;
}

/*
 * Ciphers
 */

struct unhexed {
    uint8_t key[VCD_KEY_MAX], iv[VCD_IV_MAX], plain[256], secret[256];
    size_t key_bytes, iv_bytes, bytes;
};

static struct unhexed unhex_vector(const struct cipher_vector *vector)
{
    struct unhexed v;

    v.key_bytes = unhex(vector->key, v.key);
    v.iv_bytes = unhex(vector->iv, v.iv);
    v.bytes = unhex(vector->plain, v.plain);
    CHECK_EQUAL(unhex(vector->secret, v.secret), v.bytes);
    CHECK_EQUAL(v.iv_bytes, vcd_algorithm(vector->cipher)->iv_bytes);
    return v;
}

/* @from to @to of it; from 0 on it brings its IV, else goes on */
static void run_part(uint32_t session, const struct unhexed *v, bool decrypt,
                     size_t from, size_t to)
{
    const uint8_t *src = decrypt ? v->secret : v->plain;
    const uint8_t *dst = decrypt ? v->plain : v->secret;
    struct crypt crypt = {
        .session = session, .op = decrypt, .src = src + from,
        .len = to - from, .result_bytes = to - from,
        .iv = v->iv, .iv_bytes = from == 0 ? v->iv_bytes : 0,
    };

    expect_data(send_message(queue, message_crypt(handle, &crypt)),
                dst + from, to - from);
}

/* In each direction in turn, as the two must not disturb each other */
static void run_cipher(const struct cipher_vector *vector)
{
    const struct vcd_algorithm *cipher = vcd_algorithm(vector->cipher);
    struct unhexed v = unhex_vector(vector);
    uint32_t session = must_gsession(queue, handle, vector->cipher, 0,
                                     v.key, v.key_bytes, NULL, 0);
    /* A stream goes on where a whole block ended. */
    size_t step = cipher->block_bytes > 1 ? cipher->block_bytes : 16;

    for (int i = 0; i < 6; i++) {
        bool decrypt = i % 2;

        run_part(session, &v, decrypt, 0, v.bytes);
        run_part(session, &v, decrypt, 0, 0);
        for (size_t at = step; cipher->id != 22 && at <= v.bytes; at += step) {
            run_part(session, &v, decrypt, 0, at);
            run_part(session, &v, decrypt, at, v.bytes);
        }
    }
    /* What a stream's last block is cut to */
    for (size_t at = 1; cipher->block_bytes == 1 && at < v.bytes; at += 5) {
        run_part(session, &v, false, 0, at);
        run_part(session, &v, true, 0, at);
    }
    expect_error(send_message(queue, message_fsession(handle, session)), 0);
}

static void run_ciphers(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(cipher_vectors); i++) {
        if (!is_lacking(cipher_vectors[i].cipher)) {
            run_cipher(&cipher_vectors[i]);
        }
    }
}

/* The IV that is written back is that with which the whole goes on. */
static void run_written_iv(const struct cipher_vector *vector)
{
    struct unhexed v = unhex_vector(vector);
    uint32_t session = must_gsession(queue, handle, vector->cipher, 0,
                                     v.key, v.key_bytes, NULL, 0);
    uint8_t iv[VCD_IV_MAX];
    struct crypt crypt = {
        .session = session, .flags = VCD_WRITE_IV, .src = v.plain, .len = 16,
        .result_bytes = 16, .iv = v.iv, .iv_bytes = v.iv_bytes,
        .iv_back = v.iv_bytes,
    };
    struct chain *chain = send_message(queue, message_crypt(handle, &crypt));

    CHECK_EQUAL(chain_wait(chain), 0);
    CHECK_EQUAL(chain->written, RESPONSE_BYTES + 16 + v.iv_bytes);
    chain_read(chain, RESPONSE_BYTES + 16, iv, v.iv_bytes);
    chain_free(chain);
    /* With something else in between, so that it is not the session's own */
    run_part(session, &v, false, 0, v.bytes);
    crypt.flags = 0;
    crypt.iv = iv;
    crypt.iv_back = 0;
    crypt.src = v.plain + 16;
    crypt.len = crypt.result_bytes = v.bytes - 16;
    expect_data(send_message(queue, message_crypt(handle, &crypt)),
                v.secret + 16, v.bytes - 16);
    expect_error(send_message(queue, message_fsession(handle, session)), 0);
}

static void run_written_ivs(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(cipher_vectors); i++) {
        const struct cipher_vector *vector = &cipher_vectors[i];

        if (!is_lacking(vector->cipher) && vector->cipher != 22 &&
            strlen(vector->plain) > 32) {
            run_written_iv(vector);
        }
    }
}

static void run_key_sizes(void)
{
    static const struct {
        uint32_t cipher;
        uint64_t good;      /* bit n: a key of n bytes is one, 1 to 63 */
        bool of_64;
    } sizes[] = {
        { 1, 1ull << 8, false },
        { 2, 1ull << 24, false },
        { 3, ~1ull, true },
        { 11, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
        { 16, 1, false },
        { 21, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
        { 22, 1ull << 32, true },
        { 23, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
        { 24, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
        { 25, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
        { 101, 1ull << 16 | 1ull << 24 | 1ull << 32, false },
    };
    uint8_t key[VCD_KEY_MAX];

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = i;
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (unsigned n = 0; n <= VCD_KEY_MAX; n++) {
            bool good = n < 64 ? sizes[i].good >> n & 1 : sizes[i].of_64;
            struct chain *chain;
            int error;

            if (is_lacking(sizes[i].cipher)) {
                continue;
            }
            chain = send_message(queue,
                message_gsession(handle, sizes[i].cipher, 0, key, n, NULL,
                                 0));
            error = chain_wait(chain);
            if (error != (good ? 0 : EINVAL)) {
                FAIL("cipher %u with a key of %u bytes: %d",
                     sizes[i].cipher, n, error);
            }
            if (good) {
                expect_error(send_message(queue,
                    message_fsession(handle, chain_response(chain).value)),
                    0);
            }
            chain_free(chain);
        }
    }
}

/* As libcrypto says: EINVAL, or none of its business */
static void run_xts_of_equal_halves(void)
{
    uint8_t key[32] = { 0 };
    struct chain *chain = send_message(queue,
        message_gsession(handle, 22, 0, key, sizeof(key), NULL, 0));
    int error = chain_wait(chain);

    CHECK(error == 0 || error == EINVAL);
    chain_free(chain);
}

/*
 * Hashes
 */

static void hash_part(uint32_t session, uint16_t flags, const uint8_t *data,
                      size_t len, const uint8_t *digest, size_t digest_bytes)
{
    struct crypt crypt = {
        .session = session, .flags = flags, .src = data, .len = len,
        .mac_bytes = digest ? digest_bytes : 0,
    };

    expect_data(send_message(queue, message_crypt(handle, &crypt)), digest,
                digest ? digest_bytes : 0);
}

static void run_hash(const struct hash_vector *vector)
{
    uint8_t key[VCD_MAC_KEY_MAX], digest[VCD_DIGEST_MAX];
    size_t key_bytes = vector->key ? unhex(vector->key, key) : 0;
    size_t digest_bytes = unhex(vector->digest, digest);
    size_t text = strlen(vector->text), bytes = text * vector->times;
    uint8_t *data = malloc(bytes + 1);
    uint32_t session = must_gsession(queue, handle, 0, vector->mac, NULL, 0,
                                     key, key_bytes);

    CHECK(data);
    CHECK_EQUAL(digest_bytes, vcd_algorithm(vector->mac)->digest_bytes);
    for (unsigned i = 0; i < vector->times; i++) {
        memcpy(data + i * text, vector->text, text);
    }
    /* Twice, as the first must leave nothing behind but the key */
    hash_part(session, 0, data, bytes, digest, digest_bytes);
    hash_part(session, 0, data, bytes, digest, digest_bytes);
    for (int i = 0; i < 8; i++) {
        size_t first = random_below(bytes + 1);
        size_t second = first + random_below(bytes - first + 1);

        /* UPDATE of no bytes finishes; it is another case. */
        if (first == 0 || second == first) {
            continue;
        }
        hash_part(session, VCD_UPDATE | VCD_RESET, data, first, NULL, 0);
        hash_part(session, VCD_UPDATE, data + first, second - first, NULL, 0);
        hash_part(session, VCD_FINAL, data + second, bytes - second, digest,
                  digest_bytes);
        /* After FINAL it begins anew without RESET. */
        hash_part(session, VCD_UPDATE, data, first, NULL, 0);
        hash_part(session, VCD_UPDATE | VCD_FINAL, data + first,
                  bytes - first, digest, digest_bytes);
        /* What was begun is forgotten: by RESET, and by a whole one */
        hash_part(session, VCD_UPDATE, data, second, NULL, 0);
        hash_part(session, VCD_UPDATE | VCD_RESET, data, first, NULL, 0);
        hash_part(session, VCD_FINAL, data + first, bytes - first, digest,
                  digest_bytes);
        hash_part(session, VCD_UPDATE, data, first, NULL, 0);
        hash_part(session, 0, data, bytes, digest, digest_bytes);
    }
    /* UPDATE of no bytes finishes too. */
    if (bytes > 0) {
        hash_part(session, VCD_UPDATE | VCD_RESET, data, bytes, NULL, 0);
    }
    hash_part(session, VCD_UPDATE, data, 0, digest, digest_bytes);
    expect_error(send_message(queue, message_fsession(handle, session)), 0);
    free(data);
}

static void run_hashes(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(hash_vectors); i++) {
        if (!is_lacking(hash_vectors[i].mac)) {
            run_hash(&hash_vectors[i]);
        }
    }
}

/* The MAC is over the plaintext in both directions. */
static void run_cipher_and_mac(void)
{
    struct unhexed v = unhex_vector(&cipher_vectors[8]);
    uint8_t digest[VCD_DIGEST_MAX], both[96];
    uint32_t session, mac;
    struct crypt crypt = {
        .len = v.bytes, .result_bytes = v.bytes, .mac_bytes = 32,
        .iv = v.iv, .iv_bytes = v.iv_bytes,
    };
    struct chain *chain;

    CHECK_EQUAL(v.bytes, 64);
    mac = must_gsession(queue, handle, 0, HMAC_SHA256, NULL, 0, "key", 3);
    session = must_gsession(queue, handle, AES_CBC, HMAC_SHA256, v.key,
                            v.key_bytes, "key", 3);
    chain = send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = mac, .src = v.plain, .len = v.bytes, .mac_bytes = 32,
    }));
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_read(chain, RESPONSE_BYTES, digest, 32);
    chain_free(chain);
    crypt.session = session;
    for (int decrypt = 0; decrypt < 2; decrypt++) {
        crypt.op = decrypt;
        crypt.src = decrypt ? v.secret : v.plain;
        memcpy(both, decrypt ? v.plain : v.secret, v.bytes);
        memcpy(both + v.bytes, digest, 32);
        expect_data(send_message(queue, message_crypt(handle, &crypt)), both,
                    v.bytes + 32);
    }
}

static void run_all(void)
{
    run_ciphers();
    run_written_ivs();
    run_key_sizes();
    run_xts_of_equal_halves();
    run_hashes();
    run_cipher_and_mac();
}

/* With chains of one piece and of many, at once and in threads */
static void run_with(const struct vcd_backend *backend, void *opaque,
                     void (*run)(void))
{
    for (int i = 0; i < 4; i++) {
        struct vcd_config config = config_default;

        config.inline_ns = i & 1 ? 0 : UINT32_MAX;

        config.inline_alone_ns = config.inline_ns;
        bed = bed_new_with(backend, opaque, &config);
        bed->whole = i & 2;
        queue = &bed->queues[0];
        handle = must_open(queue);
        run();
        bed_free(bed);
    }
}

static void test_libcrypto(void)
{
    run_with(&vcd_backend_libcrypto, NULL, run_all);
}

static void test_libcrypto_has_all(void)
{
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        if (lacking >> i & 1) {
            FAIL("libcrypto lacks %s", vcd_algorithms[i].name);
        }
    }
}

static void test_cryptodev(void)
{
    fake_host_start(FAKE_HOST_GOOD);
    run_with(&vcd_backend_cryptodev, fake_host_path, run_all);
    fake_host_stop();
}

static void expect_info(uint32_t session, const char *cipher,
                        const char *cipher_driver, const char *hash,
                        const char *hash_driver, uint32_t alignmask,
                        uint32_t flags)
{
    struct virtio_cryptodev_gsessinfo info = {
        .alignmask = alignmask, .flags = flags,
    };

    strcpy((char *)info.cipher_name, cipher);
    strcpy((char *)info.cipher_driver, cipher_driver);
    strcpy((char *)info.hash_name, hash);
    strcpy((char *)info.hash_driver, hash_driver);
    expect_data(send_message(queue, message_gsessinfo(handle, session)),
                &info, sizeof(info));
}

static void run_libcrypto_info(void)
{
    expect_info(must_gsession(queue, handle, AES_CBC, 0, SECRET "12",
                              16, NULL, 0),
                "aes-cbc", "aes-cbc-openssl", "", "", 0, 0);
    expect_info(must_gsession(queue, handle, 0, HMAC_SHA256, NULL, 0,
                              SECRET, SECRET_BYTES),
                "", "", "hmac-sha256", "hmac-sha256-openssl", 0, 0);
}

static void test_libcrypto_info(void)
{
    run_with(&vcd_backend_libcrypto, NULL, run_libcrypto_info);
}

/* A host's names have an end, whether it gives them one or not. */
static void run_cryptodev_info(void)
{
    char cipher[64], hash[64];

    memset(cipher, 'c', 63);
    memset(hash, 'h', 63);
    cipher[63] = hash[63] = 0;
    expect_info(must_gsession(queue, handle, AES_CBC, SHA256, SECRET "12",
                              16, NULL, 0),
                cipher, cipher, hash, hash, 15, 1);
}

static void test_cryptodev_info(void)
{
    fake_host_start(FAKE_HOST_GOOD);
    run_with(&vcd_backend_cryptodev, fake_host_path, run_cryptodev_info);
    fake_host_stop();
}

static void test_probe(void)
{
    static const struct {
        enum fake_host_kind kind;
        int error;
        uint64_t without;
    } hosts[] = {
        { FAKE_HOST_GOOD, 0, 0 },
        { FAKE_HOST_LIES, -EIO, 0 },
        { FAKE_HOST_HASHES_ONLY, 0,
          UINT64_C(1) << VIRTIO_CRYPTODEV_F_AEAD },
        { FAKE_HOST_REFUSES, -EINVAL, 0 },
        { FAKE_HOST_ODD_ERRNO, -EIO, 0 },
    };
    int fds = dup(0);
    uint64_t without;

    close(fds);
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        fake_host_start(hosts[i].kind);
        CHECK_EQUAL(vcd_cryptodev_probe(fake_host_path, &without),
                    hosts[i].error);
        CHECK_EQUAL(without, hosts[i].without);
        fake_host_stop();
    }
    CHECK_EQUAL(vcd_cryptodev_probe("/nonexistent", &without), -ENOENT);
    CHECK_EQUAL(vcd_cryptodev_probe("/dev/null", &without), -ENOTTY);
    CHECK_EQUAL(vcd_cryptodev_probe("/tmp", &without), -EISDIR);
    fake_host_start(FAKE_HOST_GOOD);
    fake_host_stop();
    /* No descriptor is left open. */
    CHECK_EQUAL(dup(0), fds);
    close(fds);
}

static void test_plain_file_is_no_node(void)
{
    char path[] = "/tmp/vcd-no-node-XXXXXX";
    int fd = mkstemp(path);
    uint64_t without;

    CHECK(fd >= 0);
    CHECK_EQUAL(vcd_cryptodev_probe(path, &without), -ENOTTY);
    close(fd);
    unlink(path);
}

static void run_refused(void)
{
    expect_error(send_message(queue,
        message_gsession(handle, AES_CBC, 0, SECRET "12", 16, NULL, 0)), EIO);
}

/* An errno that no guest knows is EIO to it. */
static void test_odd_errno(void)
{
    fake_host_start(FAKE_HOST_ODD_ERRNO);
    run_with(&vcd_backend_cryptodev, fake_host_path, run_refused);
    fake_host_stop();
}

static void run_null(void)
{
    uint8_t digest[32] = { 0 };

    expect_data(send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = must_gsession(queue, handle, AES_CTR, 0, SECRET "12",
                                 16, NULL, 0),
        .src = "copied", .len = 6, .result_bytes = 6,
    })), "copied", 6);
    hash_part(must_gsession(queue, handle, 0, SHA256, NULL, 0, NULL, 0), 0,
              (const uint8_t *)"abc", 3, digest, 32);
}

static void test_null(void)
{
    run_with(&vcd_backend_null, NULL, run_null);
}

static const struct test tests[] = {
    { "libcrypto-has-all", test_libcrypto_has_all },
    { "libcrypto-known-answers", test_libcrypto },
    { "libcrypto-info", test_libcrypto_info },
    { "cryptodev-known-answers", test_cryptodev },
    { "cryptodev-info", test_cryptodev_info },
    { "cryptodev-probe", test_probe },
    { "cryptodev-plain-file", test_plain_file_is_no_node },
    { "cryptodev-odd-errno", test_odd_errno },
    { "null", test_null },
};

int main(int argc, char **argv)
{
    lacking = vcd_libcrypto_init();
    return run_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
