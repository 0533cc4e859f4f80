/*
 * virtio cryptodev: AUTHCRYPT and CPHASH, by the specification's requirements
 *
 * Numbers are those of docs/virtio-cryptodev.md, "Device requirements". What
 * is expected is a published vector, or made by OpenSSL from its parts here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "fake-host.h"
#include "harness.h"

#define GCM             50
#define CCM             51
#define DES3_CBC        2
#define CAMELLIA_CBC    101
#define HMAC_SHA1       7
#define HMAC_SHA512     20
#define WITHOUT(bit)    (UINT64_C(1) << (bit))

static struct bed *bed;
static struct bed_queue *queue;
static uint32_t handle;

static const uint8_t key[64] = SECRET "k";
static const uint8_t iv[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static uint8_t pattern[256];

static void begin_with(const struct vcd_backend *backend,
                       const struct vcd_config *config)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i * 7 + 1;
    }
    bed = bed_new(backend, config);
    queue = &bed->queues[0];
    handle = must_open(queue);
}

/* A host's node is played where that is the one under test. */
static bool on_host;

static void begin(void)
{
    if (on_host) {
        bed = bed_new_with(&vcd_backend_cryptodev, fake_host_path,
                           &(struct vcd_config)VCD_CONFIG_DEFAULT);
        queue = &bed->queues[0];
        handle = must_open(queue);
    } else {
        begin_with(&vcd_backend_libcrypto, NULL);
    }
}

static void end(void)
{
    must_close(queue, handle);
    bed_free(bed);
}

static uint32_t session_of(uint32_t cipher, uint32_t key_bytes, uint32_t mac,
                           uint32_t mac_key_bytes)
{
    return must_gsession(queue, handle, cipher, mac, key, key_bytes, key,
                         mac_key_bytes);
}

static struct chain *send_auth(const struct auth *auth)
{
    return send_message(queue, message_authcrypt(handle, auth));
}

static void finish(struct chain *chain)
{
    CHECK_EQUAL(chain_wait(chain), 0);
    chain_free(chain);
}

static void refuse(struct auth auth)
{
    uint64_t before = bed_stat(bed, VCD_STAT_OPERATIONS);

    expect_error(send_auth(&auth), EINVAL);
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_OPERATIONS), before);
}

static void expect_result(const struct auth *auth, const void *data,
                          size_t bytes, uint32_t value)
{
    struct chain *chain = send_auth(auth);

    CHECK_EQUAL(chain_wait(chain), 0);
    CHECK_EQUAL(chain_response(chain).value, value);
    expect_data(chain, data, bytes);
}

/* Only the response, and zeros: and the guest's source is as it was [18] */
static void expect_bad(const struct auth *auth)
{
    struct message message = message_authcrypt(handle, auth);
    struct message copy = message_copy(&message);
    struct chain *chain = send_message(queue, message);
    size_t at = 0;

    CHECK_EQUAL(chain_wait(chain), EBADMSG);
    CHECK_EQUAL(chain_response(chain).value, 0);
    for (unsigned i = 0; i < chain->out_num; i++) {
        CHECK(!memcmp(chain->out[i].iov_base, copy.out + at,
                      chain->out[i].iov_len));
        at += chain->out[i].iov_len;
    }
    message_free(&copy);
    expect_nothing_shown(chain, EBADMSG);
}

/*
 * AEAD
 */

#define K4 "feffe9928665731c6d6a8f9467308308"
#define P4 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" \
           "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
#define A4 "feedfacedeadbeeffeedfacedeadbeefabaddad2"
#define IV4 "cafebabefacedbaddecaf888"

static const struct {
    uint32_t cipher;
    const char *key, *iv, *data, *plain, *sealed;
    uint32_t tag_bytes;
} vectors[] = {
    /* The GCM specification's (McGrew, Viega) test cases 1, 2, 4 and 16 */
    { GCM, "00000000000000000000000000000000", "000000000000000000000000", "",
      "", "58e2fccefa7e3061367f1d57a4e7455a", 16 },
    { GCM, "00000000000000000000000000000000", "000000000000000000000000", "",
      "00000000000000000000000000000000",
      "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf", 16 },
    { GCM, K4, IV4, A4, P4,
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
      "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
      "5bc94fbc3221a5db94fae95ae7121a47", 16 },
    { GCM, K4 K4, IV4, A4, P4,
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
      "76fc6ece0f4e1768cddf8853bb2d551b", 16 },
    /* RFC 3610, packet vector 1 */
    { CCM, "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
      "0100000003020100a0a1a2a3a4a50000", "0001020304050607",
      "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
      "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0", 8 },
};

/* A whole chain, cut in two at every place of either side */
static void cut_everywhere(const struct auth *auth, const uint8_t *expected,
                           size_t bytes)
{
    struct message message = message_authcrypt(handle, auth);
    uint8_t got[512];

    bed->whole = true;
    for (int side = 0; side < 2; side++) {
        size_t size = side ? message.in_bytes : message.out_bytes;

        for (size_t at = 0; at <= size; at++) {
            struct chain *chain = chain_new(queue, message_copy(&message));
            struct iovec *iov = side ? chain->in : chain->out;

            iov[0].iov_len = at;
            iov[1].iov_base = (uint8_t *)iov[0].iov_base + at;
            iov[1].iov_len = size - at;
            *(side ? &chain->in_num : &chain->out_num) = 2;
            chain_submit(chain);
            CHECK_EQUAL(chain_wait(chain), 0);
            CHECK_EQUAL(chain->written, RESPONSE_BYTES + bytes);
            chain_read(chain, RESPONSE_BYTES, got, bytes);
            CHECK(!memcmp(got, expected, bytes));
            chain->in_num = chain->out_num = 1;
            iov[0].iov_len = size;
            chain_free(chain);
        }
    }
    bed->whole = false;
    message_free(&message);
}

/* [8] Each chain that is too short: nothing of it is done */
static void short_everywhere(const struct auth *auth)
{
    struct message message = message_authcrypt(handle, auth);
    uint64_t before = bed_stat(bed, VCD_STAT_OPERATIONS);

    for (size_t n = 16; n < message.out_bytes; n++) {
        struct message part = message_copy(&message);

        part.out_bytes = n;
        expect_error(send_message(queue, part), EINVAL);
    }
    for (size_t n = RESPONSE_BYTES; n < message.in_bytes; n++) {
        struct message part = message_copy(&message);

        part.in_bytes = n;
        expect_error(send_message(queue, part), EINVAL);
    }
    CHECK_EQUAL(bed_stat(bed, VCD_STAT_OPERATIONS), before);
    message_free(&message);
}

/* The result goes to where the source is. */
static void in_place(const struct auth *auth, const uint8_t *expected,
                     size_t bytes, int error)
{
    struct message message = message_authcrypt(handle, auth);
    size_t src_at = message.out_bytes - auth->len, room = 128;
    struct iovec own[2];
    struct chain *chain;
    uint8_t *src;

    message.out = realloc(message.out, message.out_bytes + room);
    CHECK(message.out);
    memset(message.out + message.out_bytes, 0, room);
    message.out_bytes += room;
    bed->whole = true;
    chain = chain_new(queue, message);
    bed->whole = false;
    src = (uint8_t *)chain->out[0].iov_base + src_at;
    own[0] = chain->in[0];
    own[1] = chain->out[0];
    chain->in[0].iov_len = RESPONSE_BYTES;
    chain->in[1].iov_base = src;
    chain->in[1].iov_len = auth->result_bytes + auth->back;
    chain->in_num = 2;
    chain->out[0].iov_len -= room;
    chain_submit(chain);
    CHECK_EQUAL(chain_wait(chain), error);
    if (!error) {
        CHECK(!memcmp(src, expected, bytes));
    } else {
        /* The source as it was, or zeros: no plaintext */
        for (size_t i = 0; i < auth->len; i++) {
            CHECK(src[i] == ((const uint8_t *)auth->src)[i] || !src[i]);
        }
    }
    chain->in[0] = own[0];
    chain->out[0] = own[1];
    chain->in_num = 1;
    chain_free(chain);
}

static void run_vector(size_t n)
{
    uint8_t k[64], nonce[16], data[64], plain[128], sealed[128];
    uint32_t key_bytes = unhex(vectors[n].key, k);
    uint32_t len = unhex(vectors[n].plain, plain);
    uint32_t tag_bytes = vectors[n].tag_bytes;
    struct auth seal = {
        .session = must_gsession(queue, handle, vectors[n].cipher, 0, k,
                                 key_bytes, NULL, 0),
        .iv = nonce, .iv_bytes = unhex(vectors[n].iv, nonce),
        .data = data, .data_bytes = unhex(vectors[n].data, data),
        .src = plain, .len = len, .tag_bytes = tag_bytes,
        .result_bytes = len + tag_bytes,
    };
    struct auth unseal = seal;

    CHECK_EQUAL(unhex(vectors[n].sealed, sealed), len + tag_bytes);
    unseal.op = 1;
    unseal.src = sealed;
    unseal.len = len + tag_bytes;
    unseal.result_bytes = len;
    for (int i = 0; i < 10; i++) {
        expect_result(&seal, sealed, len + tag_bytes, len + tag_bytes);
        expect_result(&unseal, plain, len, len);
    }
    cut_everywhere(&seal, sealed, len + tag_bytes);
    cut_everywhere(&unseal, plain, len);
    in_place(&seal, sealed, len + tag_bytes, 0);
    in_place(&unseal, plain, len, 0);
    short_everywhere(&seal);
    short_everywhere(&unseal);
    /* [18] Every byte of ciphertext, tag and associated data, and the IV */
    for (uint32_t i = 0; i < len + tag_bytes; i++) {
        sealed[i] ^= 1 << i % 8;
        expect_bad(&unseal);
        in_place(&unseal, NULL, 0, EBADMSG);
        sealed[i] ^= 1 << i % 8;
    }
    for (uint32_t i = 0; i < seal.data_bytes; i++) {
        data[i] ^= 0x80;
        expect_bad(&unseal);
        data[i] ^= 0x80;
    }
    nonce[1] ^= 1;
    expect_bad(&unseal);
    nonce[1] ^= 1;
    expect_result(&unseal, plain, len, len);
    /* A GCM tag may be cut. */
    for (uint32_t bytes = 0; bytes <= 17; bytes++) {
        bool good = vectors[n].cipher == CCM ?
            bytes >= 4 && bytes <= 16 && bytes % 2 == 0 :
            bytes == 4 || bytes == 8 || (bytes >= 12 && bytes <= 16);

        seal.tag_bytes = unseal.tag_bytes = bytes;
        seal.result_bytes = len + bytes;
        unseal.len = len + bytes;
        if (!good) {
            refuse(seal);
            refuse(unseal);
        } else if (vectors[n].cipher == GCM) {
            expect_result(&seal, sealed, len + bytes, len + bytes);
            expect_result(&unseal, plain, len, len);
        }
    }
}

static void test_18_aead(void)
{
    for (size_t n = 0; n < ARRAY_SIZE(vectors); n++) {
        begin();
        run_vector(n);
        end();
    }
}

static void test_10_refused(void)
{
    struct auth good, auth;
    uint8_t big[4097] = { 0 };
    struct vcd_config config = config_default;

    config.max_bytes = 4096;
    begin_with(&vcd_backend_libcrypto, &config);
    good = (struct auth) {
        .session = session_of(GCM, 16, 0, 0), .src = pattern, .len = 20,
        .iv = iv, .iv_bytes = 12, .data = big, .data_bytes = 4096,
        .tag_bytes = 16, .result_bytes = 36, .back = 100,
    };
#define REFUSE(field, bad) (auth = good, auth.field = (bad), refuse(auth))
    finish(send_auth(&good));
    REFUSE(iv_bytes, 0);
    REFUSE(iv_bytes, 11);
    REFUSE(iv_bytes, 16);
    REFUSE(reserved, 1);
    REFUSE(data_bytes, 4097);
    REFUSE(result_bytes, 35);
    REFUSE(result_bytes, 37);
    REFUSE(op, 2);
    REFUSE(flags, 1);
    REFUSE(flags, 64);
    REFUSE(flags, 0x8000);
    REFUSE(flags, VCD_FORM_TLS);
    REFUSE(flags, VCD_FORM_SRTP);
    REFUSE(flags, VCD_FORM_TLS | VCD_FORM_SRTP);
    REFUSE(auth_before, 1);
    REFUSE(auth_len, 1);
    REFUSE(tag_bytes, 0);
    REFUSE(tag_bytes, UINT32_MAX);
    REFUSE(session, 99);
    auth = good;
    auth.src = big;
    auth.len = 4096;
    auth.result_bytes = 4096 + 16;
    expect_error(send_auth(&(struct auth) { .session = 0 }), EINVAL);
    finish(send_auth(&auth));
    auth.len++;
    auth.result_bytes++;
    refuse(auth);
    auth = good;
    auth.op = 1;
    auth.len = 15;      /* less than a tag */
    auth.result_bytes = 0;
    refuse(auth);
    /* Sessions of other forms */
    REFUSE(session, session_of(AES_CBC, 16, HMAC_SHA1, 20));
    REFUSE(session, session_of(AES_CTR, 16, HMAC_SHA1, 20));
    REFUSE(session, session_of(0, 0, HMAC_SHA1, 20));
    expect_error(send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = good.session, .src = pattern, .len = 16,
        .result_bytes = 16, .iv = iv, .iv_bytes = 12,
    })), EINVAL);
    end();
}

/* GSESSION may refuse it; if it does not, AUTHCRYPT does. */
static void test_10_gcm_with_mac(void)
{
    struct chain *chain;

    begin();
    chain = send_message(queue, message_gsession(handle, GCM, HMAC_SHA1, key,
                                                 16, key, 20));
    if (chain_wait(chain) == 0) {
        refuse((struct auth) {
            .session = chain_response(chain).value, .iv = iv, .iv_bytes = 12,
            .tag_bytes = 16, .result_bytes = 16,
        });
    }
    chain_free(chain);
    end();
}

static void test_10_without(void)
{
    struct vcd_config config = config_default;
    uint32_t session;

    config.without = WITHOUT(VIRTIO_CRYPTODEV_F_AEAD) |
                     WITHOUT(VIRTIO_CRYPTODEV_F_CPHASH);
    begin_with(&vcd_backend_libcrypto, &config);
    CHECK(!(vcd_device_features(bed->dev) & config.without));
    session = session_of(AES_CBC, 16, HMAC_SHA1, 20);
    expect_error(send_message(queue, message_gsession(handle, GCM, 0, key, 16,
                                                      NULL, 0)), EINVAL);
    refuse((struct auth) {
        .session = session, .iv = iv, .iv_bytes = 16, .tag_bytes = 20,
        .flags = VCD_FORM_TLS, .src = pattern, .len = 4, .result_bytes = 32,
    });
    expect_error(send_message(queue, message_cphash(handle, session,
                                                    session)), EINVAL);
    end();
}

/*
 * TLS and SRTP
 */

static void evp(const EVP_CIPHER *cipher, const uint8_t *with, const void *src,
                size_t len, uint8_t *dst)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int bytes;

    CHECK(context && EVP_EncryptInit_ex(context, cipher, NULL, key, with) &&
          EVP_CIPHER_CTX_set_padding(context, 0) &&
          EVP_EncryptUpdate(context, dst, &bytes, src, len));
    CHECK_EQUAL(bytes, len);
    EVP_CIPHER_CTX_free(context);
}

static const struct pair {
    uint32_t cipher, key_bytes, mac;
    const EVP_CIPHER *(*evp)(void);
    const EVP_MD *(*md)(void);
} pairs[] = {
    { AES_CBC, 16, HMAC_SHA1, EVP_aes_128_cbc, EVP_sha1 },
    { AES_CBC, 32, HMAC_SHA256, EVP_aes_256_cbc, EVP_sha256 },
    { DES3_CBC, 24, HMAC_SHA1, EVP_des_ede3_cbc, EVP_sha1 },
    { CAMELLIA_CBC, 16, HMAC_SHA512, EVP_camellia_128_cbc, EVP_sha512 },
};

/* With so many whole blocks of padding more; returns the record's bytes */
static size_t record(const struct pair *pair, const uint8_t *with, size_t len,
                     size_t more, uint8_t *to)
{
    uint8_t clear[13 + 1024];
    size_t block = vcd_algorithm(pair->cipher)->block_bytes;
    unsigned tag;
    size_t bytes;

    memcpy(clear, pattern, 13 + len);
    HMAC(pair->md(), key, 20, clear, 13 + len, clear + 13 + len, &tag);
    bytes = (len + tag + 1 + block - 1) / block * block + more * block;
    memset(clear + 13 + len + tag, bytes - len - tag - 1, bytes - len - tag);
    evp(pair->evp(), with, clear + 13, bytes, to);
    return bytes;
}

static void run_tls(const struct pair *pair)
{
    uint32_t n = vcd_algorithm(pair->cipher)->iv_bytes;
    uint32_t tag = vcd_algorithm(pair->mac)->digest_bytes;
    uint32_t session = session_of(pair->cipher, pair->key_bytes, pair->mac,
                                  20);
    uint8_t wire[1024], clear[1024], next[1024];
    const uint8_t *last;

    for (uint32_t len = 0; len <= 70; len++) {
        uint32_t bytes = record(pair, iv, len, 0, wire);
        struct auth seal = {
            .session = session, .flags = VCD_FORM_TLS, .iv = iv,
            .iv_bytes = n, .data = pattern, .data_bytes = 13,
            .src = pattern + 13, .len = len, .tag_bytes = tag,
            .result_bytes = bytes,
        };
        struct auth unseal = seal;

        expect_result(&seal, wire, bytes, bytes);
        memset(clear, 0, sizeof(clear));
        memcpy(clear, pattern + 13, len);
        unseal.op = 1;
        unseal.src = wire;
        unseal.len = unseal.result_bytes = bytes;
        expect_result(&unseal, clear, bytes, len);
        if (len % 23 == 0) {
            in_place(&seal, wire, bytes, 0);
            in_place(&unseal, clear, bytes, 0);
            cut_everywhere(&unseal, clear, bytes);
            short_everywhere(&seal);
            short_everywhere(&unseal);
            /* [18] MAC, padding and plaintext, wherever they lie */
            for (uint32_t i = 0; i < bytes; i++) {
                wire[i] ^= 1 << i % 8;
                expect_bad(&unseal);
                wire[i] ^= 1 << i % 8;
            }
            in_place(&unseal, clear, bytes, 0);
            wire[bytes - 1] ^= 1;
            in_place(&unseal, NULL, 0, EBADMSG);
            bytes = record(pair, iv, len, 3, wire);
            unseal.len = unseal.result_bytes = bytes;
            expect_result(&unseal, clear, bytes, len);
        }
        refuse((unseal.len--, unseal));
        unseal.len++;
        refuse((unseal.result_bytes--, unseal));
        refuse((seal.auth_len = 1, seal));
    }
    /* What WRITE_IV gives is what an operation goes on from without one. */
    for (int op = 0; op < 2; op++) {
        uint32_t bytes = record(pair, iv, 30, 0, wire);
        uint32_t second;
        struct auth auth = {
            .session = session, .op = op, .data = pattern, .data_bytes = 13,
            .flags = VCD_FORM_TLS | VCD_WRITE_IV, .iv = iv, .iv_bytes = n,
            .src = op ? wire : pattern + 13, .len = op ? bytes : 30,
            .tag_bytes = tag, .result_bytes = bytes, .back = n,
        };

        last = wire + bytes - n;
        second = record(pair, last, 30, 0, next);
        CHECK_EQUAL(second, bytes);
        memset(clear, 0, sizeof(clear));
        memcpy(clear, pattern + 13, 30);
        memcpy(clear + bytes, last, n);
        memcpy(wire + bytes, last, n);
        expect_result(&auth, op ? clear : wire, bytes + n, op ? 30 : bytes);
        auth.iv_bytes = 0;
        auth.back = 0;
        auth.flags = VCD_FORM_TLS;
        auth.src = op ? next : pattern + 13;
        expect_result(&auth, op ? clear : next, bytes, op ? 30 : bytes);
    }
}

static void test_18_tls(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        begin();
        run_tls(&pairs[i]);
        end();
    }
}

/* As of RFC 3711: AES-CTR, and 10 bytes of an HMAC-SHA-1 */
static void run_srtp(uint32_t session, uint32_t before, uint32_t after,
                     uint32_t covered, uint32_t len)
{
    uint8_t wire[256], all[512], mac[20], sealed[512];
    unsigned unused;
    struct auth seal = {
        .session = session, .flags = VCD_FORM_SRTP | VCD_WRITE_IV, .iv = iv,
        .iv_bytes = 16, .data = pattern + 100, .data_bytes = before + after,
        .auth_before = before, .auth_len = before + covered + after,
        .src = pattern, .len = len, .tag_bytes = 10, .result_bytes = len,
        .back = 10 + 16,
    };
    struct auth unseal;
    uint8_t next_iv[16];

    evp(EVP_aes_128_ctr(), iv, pattern, len, wire);
    memcpy(all, pattern + 100, before);
    memcpy(all + before, wire, covered);
    memcpy(all + before + covered, pattern + 100 + before, after);
    HMAC(EVP_sha1(), key, 20, all, before + covered + after, mac, &unused);
    memcpy(next_iv, iv, 16);
    next_iv[15] += len / 16;
    memcpy(sealed, wire, len);
    memcpy(sealed + len, mac, 10);
    memcpy(sealed + len + 10, next_iv, 16);
    unseal = seal;
    unseal.op = 1;
    unseal.tag = mac;
    unseal.src = wire;
    unseal.back = 16;
    expect_result(&seal, sealed, len + 26, len);
    memcpy(all, pattern, len);
    memcpy(all + len, next_iv, 16);
    expect_result(&unseal, all, len + 16, len);
    cut_everywhere(&seal, sealed, len + 26);
    cut_everywhere(&unseal, all, len + 16);
    in_place(&seal, sealed, len + 26, 0);
    in_place(&unseal, all, len, 0);
    short_everywhere(&seal);
    short_everywhere(&unseal);
    for (uint32_t i = 0; i < 10; i++) {
        mac[i] ^= 1;
        expect_bad(&unseal);
        in_place(&unseal, NULL, 0, EBADMSG);
        mac[i] ^= 1;
    }
    for (uint32_t i = 0; i < covered; i++) {
        wire[i] ^= 1;
        expect_bad(&unseal);
        wire[i] ^= 1;
    }
    /* It goes on where it was. */
    expect_result(&seal, sealed, len + 26, len);
    seal.iv_bytes = 0;
    seal.flags = VCD_FORM_SRTP;
    seal.back = 10;
    evp(EVP_aes_128_ctr(), next_iv, pattern, len, wire);
    memcpy(all, pattern + 100, before);
    memcpy(all + before, wire, covered);
    memcpy(all + before + covered, pattern + 100 + before, after);
    HMAC(EVP_sha1(), key, 20, all, before + covered + after, mac, &unused);
    memcpy(sealed, wire, len);
    memcpy(sealed + len, mac, 10);
    expect_result(&seal, sealed, len + 10, len);
    seal.iv_bytes = 16;
    refuse((seal.auth_len += 500, seal));
    seal.auth_len -= 500;
    refuse((seal.auth_before = before + after + 1, seal));
    seal.auth_before = before;
    refuse((seal.tag_bytes = 21, seal));
    seal.tag_bytes = 10;
    refuse((seal.auth_len = before - 1, seal));
}

static void test_18_srtp(void)
{
    uint32_t session;

    begin();
    session = session_of(AES_CTR, 16, HMAC_SHA1, 20);
    run_srtp(session, 12, 0, 20, 48);   /* ends within */
    run_srtp(session, 12, 0, 48, 48);   /* at the end */
    run_srtp(session, 12, 4, 48, 48);   /* behind it */
    run_srtp(session, 12, 0, 0, 48);    /* before it */
    end();
}

/*
 * CPHASH
 */

static struct chain *send_hash(uint32_t session, uint16_t flags,
                               const char *text, bool digest)
{
    return send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .flags = flags, .src = text, .len = strlen(text),
        .mac_bytes = digest ? 32 : 0,
    }));
}

static void expect_hash(uint32_t session, const char *text, const char *whole)
{
    uint8_t digest[32];

    EVP_Digest(whole, strlen(whole), digest, NULL, EVP_sha256(), NULL);
    expect_data(send_hash(session, VCD_FINAL, text, true), digest, 32);
}

static void expect_copy(uint32_t to, uint32_t from, int error)
{
    expect_error(send_message(queue, message_cphash(handle, to, from)), error);
}

static void test_19_copies(void)
{
    uint32_t a, b, other, keyed, keyed2, alike;

    begin();
    a = session_of(0, 0, SHA256, 0);
    b = session_of(0, 0, SHA256, 0);
    /* Before anything */
    expect_copy(b, a, 0);
    expect_hash(b, "abc", "abc");
    /* In the midst; and each goes on by itself */
    expect_data(send_hash(a, VCD_UPDATE | VCD_RESET, "abc", false), NULL, 0);
    expect_data(send_hash(b, VCD_UPDATE | VCD_RESET, "lost", false), NULL, 0);
    expect_copy(b, a, 0);
    expect_data(send_hash(a, VCD_UPDATE, "xyz", false), NULL, 0);
    expect_hash(b, "def", "abcdef");
    expect_copy(a, a, 0);
    expect_hash(a, "!", "abcxyz!");
    /* What has not begun is copied too. */
    expect_data(send_hash(b, VCD_UPDATE | VCD_RESET, "lost", false), NULL, 0);
    expect_copy(b, a, 0);
    expect_hash(b, "new", "new");
    other = session_of(0, 0, 103, 0);
    keyed = session_of(0, 0, HMAC_SHA256, 20);
    keyed2 = session_of(0, 0, HMAC_SHA256, 21);
    alike = session_of(0, 0, HMAC_SHA256, 20);
    expect_copy(a, other, EINVAL);
    expect_copy(a, keyed, EINVAL);
    expect_copy(keyed, keyed2, EINVAL);
    expect_copy(keyed, alike, 0);
    expect_copy(keyed, must_gsession(queue, handle, 0, HMAC_SHA256, NULL, 0,
                                     pattern, 20), EINVAL);
    expect_copy(a, 0, EINVAL);
    expect_copy(99, a, EINVAL);
    expect_copy(session_of(AES_CTR, 16, 0, 0), a, EINVAL);
    end();
}

#define A 'a'
#define B 'b'

static uint32_t gated_session(uint8_t last)
{
    uint8_t own[16];

    memcpy(own, key, 16);
    own[15] = last;
    return must_gsession(queue, handle, AES_CTR, SHA256, own, 16, NULL, 0);
}

static struct chain *send_work(uint32_t session)
{
    return send_message(queue, message_crypt(handle, &(struct crypt) {
        .session = session, .src = pattern, .len = 16, .result_bytes = 16,
        .iv = iv, .iv_bytes = 16, .mac_bytes = 32,
    }));
}

/* Both sessions: what comes before it, and what comes after it */
static void run_order(const struct vcd_backend *backend, uint8_t slow)
{
    struct vcd_config config = config_default;
    uint32_t a, b, c;
    struct chain *chains[6];

    config.inline_ns = config.inline_alone_ns = 0;
    config.max_threads = 4;
    begin_with(backend, &config);
    a = gated_session(A);
    b = gated_session(B);
    c = gated_session('c');
    gate_shut(CALL_CIPHER, slow);
    chains[0] = send_work(slow == A ? a : b);
    gate_wait(CALL_CIPHER, 1);
    chains[1] = send_message(queue, message_cphash(handle, a, b));
    chains[2] = send_work(slow == A ? b : a);
    /* Crossing ones */
    chains[3] = send_message(queue, message_cphash(handle, b, a));
    chains[4] = send_message(queue, message_cphash(handle, a, b));
    chains[5] = send_work(a);
    finish(send_work(c));
    CHECK(chain_pending(chains[1]));
    for (int i = 2; i < 6; i++) {
        CHECK(chains[i]->state == CHAIN_SENT);
    }
    CHECK_EQUAL(call_count(CALL_COPY), 0);
    gate_open(CALL_CIPHER);
    for (int i = 0; i < 6; i++) {
        finish(chains[i]);
    }
    CHECK_EQUAL(call_count(CALL_COPY), 3);
    /* A copy that takes its time: later ones of both wait for it. */
    gate_shut(CALL_COPY, 0);
    chains[0] = send_message(queue, message_cphash(handle, a, b));
    gate_wait(CALL_COPY, 1);
    chains[1] = send_work(a);
    chains[2] = send_work(b);
    finish(send_work(c));
    CHECK(chain_pending(chains[1]) && chain_pending(chains[2]));
    gate_open(CALL_COPY);
    for (int i = 0; i < 3; i++) {
        finish(chains[i]);
    }
    end();
}

static void test_19_order(void)
{
    run_order(&test_backend, A);
    run_order(&test_backend, B);
    run_order(&test_backend_blocking, A);
    run_order(&test_backend_blocking, B);
    run_order(&test_backend_crypt, B);
}

enum meanwhile { FREE_TO, FREE_FROM, CLOSING, RESETTING, MEANWHILES };

/* @hang: the copy itself, or what stands before it in the one or the other */
static void run_meanwhile(enum meanwhile what, enum test_call hang,
                          uint8_t slow)
{
    struct chain *chains[3] = { NULL };
    uint32_t a, b;

    begin_with(&test_backend_blocking, NULL);
    a = gated_session(A);
    b = gated_session(B);
    gate_shut(hang, slow);
    if (hang == CALL_CIPHER) {
        chains[0] = send_work(slow == A ? a : b);
    }
    chains[1] = send_message(queue, message_cphash(handle, a, b));
    gate_wait(hang, 1);
    if (what == RESETTING) {
        vcd_queue_reset(queue->vcd);
        CHECK_EQUAL(vcd_queue_in_flight(queue->vcd), 0);
        for (int i = 0; i < 2; i++) {
            if (chains[i]) {
                CHECK_EQUAL(chains[i]->state, CHAIN_DROPPED);
                chain_free(chains[i]);
            }
        }
        gate_open(hang);
        bed_wait_stat(bed, VCD_STAT_FILES, 0);
        CHECK_EQUAL(alive_sessions(), 0);
        CHECK_EQUAL(call_count(CALL_COPY), hang == CALL_COPY);
        bed_free(bed);
        return;
    }
    chains[2] = send_message(queue, what == CLOSING ? message_close(handle) :
                             message_fsession(handle,
                                              what == FREE_TO ? a : b));
    if (what == CLOSING) {
        CHECK(chain_pending(chains[2]));
    } else {
        expect_copy(a, b, EINVAL);
    }
    CHECK(chain_pending(chains[1]));
    CHECK(alive_sessions() == 2);
    gate_open(hang);
    for (int i = 0; i < 3; i++) {
        if (chains[i]) {
            finish(chains[i]);
        }
    }
    CHECK_EQUAL(call_count(CALL_COPY), 1);
    if (what != CLOSING) {
        must_close(queue, handle);
    }
    CHECK_EQUAL(alive_sessions(), 0);
    bed_free(bed);
}

static void test_19_meanwhile(void)
{
    for (int what = 0; what < MEANWHILES; what++) {
        run_meanwhile(what, CALL_CIPHER, A);
        run_meanwhile(what, CALL_CIPHER, B);
        run_meanwhile(what, CALL_COPY, 0);
    }
}

static void with_host(void (*test)(void))
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i * 7 + 1;
    }
    fake_host_start(FAKE_HOST_GOOD);
    on_host = true;
    test();
    on_host = false;
    fake_host_stop();
}

static void test_18_host_aead(void)
{
    with_host(test_18_aead);
}

static void test_18_host_tls(void)
{
    with_host(test_18_tls);
}

static void test_19_host_copies(void)
{
    with_host(test_19_copies);
}

static const struct test tests[] = {
    { "10-authcrypt-refused", test_10_refused },
    { "10-gcm-with-mac", test_10_gcm_with_mac },
    { "10-without-features", test_10_without },
    { "18-aead", test_18_aead },
    { "18-tls", test_18_tls },
    { "18-srtp", test_18_srtp },
    { "18-host-aead", test_18_host_aead },
    { "18-host-tls", test_18_host_tls },
    { "19-host-copies", test_19_host_copies },
    { "19-copies", test_19_copies },
    { "19-order", test_19_order },
    { "19-meanwhile", test_19_meanwhile },
};

int main(int argc, char **argv)
{
    vcd_libcrypto_init();
    return run_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
