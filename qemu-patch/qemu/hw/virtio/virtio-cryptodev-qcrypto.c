/*
 * virtio cryptodev device: the backend that uses QEMU's crypto library
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"
#include "hw/virtio/virtio-cryptodev.h"
#include "cryptodev/core/vcd.h"

/* The greatest block of a hash, in bytes: that of SHA-384 and SHA-512 */
#define HASH_BLOCK_MAX  128

typedef struct QCryptoSession {
    const struct vcd_algorithm *cipher_algorithm;
    QCryptoCipher *cipher;
    const struct vcd_algorithm *mac_algorithm;
    QCryptoHashAlgo hash;
    /* What has been hashed so far; NULL before the first part */
    QCryptoHash *state;
    /* For an HMAC: its key, padded to the hash's block */
    uint8_t key[HASH_BLOCK_MAX];
    size_t block_bytes;
} QCryptoSession;

static const struct {
    uint32_t id;
    QCryptoCipherMode mode;
} cipher_modes[] = {
    { 1, QCRYPTO_CIPHER_MODE_CBC },
    { 2, QCRYPTO_CIPHER_MODE_CBC },
    { 11, QCRYPTO_CIPHER_MODE_CBC },
    { 21, QCRYPTO_CIPHER_MODE_CTR },
    { 22, QCRYPTO_CIPHER_MODE_XTS },
    { 23, QCRYPTO_CIPHER_MODE_ECB },
};

static const struct {
    uint32_t id;
    QCryptoHashAlgo hash;
} hashes[] = {
    { 6, QCRYPTO_HASH_ALGO_MD5 },
    { 7, QCRYPTO_HASH_ALGO_SHA1 },
    { 8, QCRYPTO_HASH_ALGO_RIPEMD160 },
    { 18, QCRYPTO_HASH_ALGO_SHA256 },
    { 19, QCRYPTO_HASH_ALGO_SHA384 },
    { 20, QCRYPTO_HASH_ALGO_SHA512 },
    { 107, QCRYPTO_HASH_ALGO_SHA224 },
    { 13, QCRYPTO_HASH_ALGO_MD5 },
    { 14, QCRYPTO_HASH_ALGO_SHA1 },
    { 102, QCRYPTO_HASH_ALGO_RIPEMD160 },
    { 103, QCRYPTO_HASH_ALGO_SHA224 },
    { 104, QCRYPTO_HASH_ALGO_SHA256 },
    { 105, QCRYPTO_HASH_ALGO_SHA384 },
    { 106, QCRYPTO_HASH_ALGO_SHA512 },
};

/* Files have no state of their own here; only their number is limited. */
static int backend_open(void *opaque, void **file)
{
    *file = NULL;
    return 0;
}

static void backend_close(void *file)
{
}

static bool find_mode(uint32_t id, QCryptoCipherMode *mode)
{
    for (size_t i = 0; i < ARRAY_SIZE(cipher_modes); i++) {
        if (cipher_modes[i].id == id) {
            *mode = cipher_modes[i].mode;
            return true;
        }
    }
    return false;
}

static bool find_hash(uint32_t id, QCryptoHashAlgo *hash)
{
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        if (hashes[i].id == id) {
            *hash = hashes[i].hash;
            return qcrypto_hash_supports(*hash);
        }
    }
    return false;
}

/* The library's name for a cipher and key size: false where there is none */
static bool find_cipher(uint32_t id, size_t key_bytes, QCryptoCipherAlgo *algo)
{
    /* XTS has two keys. */
    size_t bytes = id == 22 ? key_bytes / 2 : key_bytes;

    if (id == 22 && (key_bytes % 2 || bytes == 24)) {
        return false;
    }
    if (id == 1) {
        *algo = QCRYPTO_CIPHER_ALGO_DES;
        return bytes == 8;
    }
    if (id == 2) {
        *algo = QCRYPTO_CIPHER_ALGO_3DES;
        return bytes == 24;
    }
    *algo = bytes == 16 ? QCRYPTO_CIPHER_ALGO_AES_128 :
            bytes == 24 ? QCRYPTO_CIPHER_ALGO_AES_192 :
                          QCRYPTO_CIPHER_ALGO_AES_256;
    return bytes == 16 || bytes == 24 || bytes == 32;
}

static void session_free(void *file, void *opaque)
{
    QCryptoSession *session = opaque;

    qcrypto_cipher_free(session->cipher);
    qcrypto_hash_free(session->state);
    explicit_bzero(session, sizeof(*session));
    g_free(session);
}

static int hash_once(QCryptoHashAlgo hash, const void *data, size_t len,
                     uint8_t *digest, size_t digest_bytes)
{
    /* The library takes no null pointer, not even for no bytes. */
    return qcrypto_hash_bytes(hash, data ?: "", len, &digest, &digest_bytes,
                              NULL) < 0 ? -EIO : 0;
}

/* RFC 2104, section 2: a key longer than the block is hashed first. */
static int set_mac_key(QCryptoSession *session,
                       const struct vcd_session_spec *spec)
{
    session->block_bytes = spec->mac->digest_bytes > 32 ? 128 : 64;
    if (spec->mac_key_bytes > session->block_bytes) {
        return hash_once(session->hash, spec->mac_key, spec->mac_key_bytes,
                         session->key, spec->mac->digest_bytes);
    }
    memcpy(session->key, spec->mac_key, spec->mac_key_bytes);
    return 0;
}

/* The null cipher needs nothing of the library, and has no key. */
static int set_cipher(QCryptoSession *session,
                      const struct vcd_session_spec *spec)
{
    QCryptoCipherMode mode;
    QCryptoCipherAlgo algo;

    if (!spec->cipher->keyed) {
        return spec->key_bytes ? -EINVAL : 0;
    }
    if (!find_mode(spec->cipher->id, &mode) ||
        !find_cipher(spec->cipher->id, spec->key_bytes, &algo) ||
        !qcrypto_cipher_supports(algo, mode)) {
        return -EINVAL;
    }
    session->cipher = qcrypto_cipher_new(algo, mode, spec->key,
                                         spec->key_bytes, NULL);
    return session->cipher ? 0 : -EINVAL;
}

static int session_new(void *file, const struct vcd_session_spec *spec,
                       void **out)
{
    QCryptoSession *session = g_new0(QCryptoSession, 1);

    session->cipher_algorithm = spec->cipher;
    session->mac_algorithm = spec->mac;
    if (spec->cipher && set_cipher(session, spec) < 0) {
        goto fail;
    }
    if (spec->mac && (!find_hash(spec->mac->id, &session->hash) ||
                      (spec->mac->keyed && set_mac_key(session, spec) < 0))) {
        goto fail;
    }
    *out = session;
    return 0;

fail:
    session_free(file, session);
    return -EINVAL;
}

static int encrypt_or_decrypt(QCryptoCipher *cipher, bool decrypt,
                              const uint8_t *src, uint8_t *dst, size_t len)
{
    return decrypt ? qcrypto_cipher_decrypt(cipher, src, dst, len, NULL) :
                     qcrypto_cipher_encrypt(cipher, src, dst, len, NULL);
}

/* The library takes whole blocks only; a stream cipher's last may be cut. */
static int run_blocks(QCryptoCipher *cipher, const struct vcd_op *op,
                      size_t block_bytes)
{
    size_t rest = block_bytes == 1 ? op->len % 16 : 0;
    size_t whole = op->len - rest;
    uint8_t block[16] = { 0 };
    int ret = 0;

    if (whole > 0) {
        ret = encrypt_or_decrypt(cipher, op->decrypt, op->src, op->dst, whole);
    }
    if (ret == 0 && rest > 0) {
        memcpy(block, op->src + whole, rest);
        ret = encrypt_or_decrypt(cipher, op->decrypt, block, block,
                                 sizeof(block));
        memcpy(op->dst + whole, block, rest);
    }
    return ret;
}

static int backend_cipher(void *opaque, const struct vcd_op *op)
{
    QCryptoSession *session = opaque;
    const struct vcd_algorithm *algorithm = session->cipher_algorithm;

    if (!session->cipher) {
        memmove(op->dst, op->src, op->len);
        return 0;
    }
    if (op->iv && qcrypto_cipher_setiv(session->cipher, op->iv,
                                       algorithm->iv_bytes, NULL) < 0) {
        return -EIO;
    }
    return run_blocks(session->cipher, op, algorithm->block_bytes) < 0 ?
        -EIO : 0;
}

static int hash_update(QCryptoHash *state, const void *data, size_t len)
{
    return qcrypto_hash_update(state, data ?: "", len, NULL) < 0 ? -EIO : 0;
}

/* RFC 2104: each of the two hashes begins with the key xor its pad. */
static QCryptoHash *hmac_begin(QCryptoSession *session, uint8_t pad)
{
    QCryptoHash *state = qcrypto_hash_new(session->hash, NULL);
    uint8_t block[HASH_BLOCK_MAX];

    for (size_t i = 0; i < session->block_bytes; i++) {
        block[i] = session->key[i] ^ pad;
    }
    if (state && hash_update(state, block, session->block_bytes) < 0) {
        qcrypto_hash_free(state);
        state = NULL;
    }
    explicit_bzero(block, sizeof(block));
    return state;
}

static int digest_begin(QCryptoSession *session)
{
    session->state = session->mac_algorithm->keyed ?
        hmac_begin(session, 0x36) : qcrypto_hash_new(session->hash, NULL);
    return session->state ? 0 : -EIO;
}

static int hash_finish(QCryptoHash *state, uint8_t *digest, size_t bytes)
{
    return qcrypto_hash_finalize_bytes(state, &digest, &bytes, NULL) < 0 ?
        -EIO : 0;
}

static int hmac_finish(QCryptoSession *session, uint8_t *mac)
{
    size_t bytes = session->mac_algorithm->digest_bytes;
    QCryptoHash *outer = hmac_begin(session, 0x5c);
    int error = -EIO;

    if (outer) {
        error = hash_update(outer, mac, bytes) ?:
                hash_finish(outer, mac, bytes);
        qcrypto_hash_free(outer);
    }
    return error;
}

static void forget(QCryptoSession *session)
{
    qcrypto_hash_free(session->state);
    session->state = NULL;
}

static int backend_digest(void *opaque, const struct vcd_op *op,
                          const uint8_t *data, size_t len)
{
    QCryptoSession *session = opaque;
    const struct vcd_algorithm *algorithm = session->mac_algorithm;
    int error = 0;

    if (op->start) {
        forget(session);
    }
    if (!session->state) {
        error = digest_begin(session);
    }
    if (!error) {
        error = hash_update(session->state, data, len);
    }
    if (!error && op->finish) {
        error = hash_finish(session->state, op->mac, algorithm->digest_bytes);
        if (!error && algorithm->keyed) {
            error = hmac_finish(session, op->mac);
        }
    }
    if (error || op->finish) {
        forget(session);
    }
    return error;
}

static void name_algorithm(const struct vcd_algorithm *algorithm, char *name,
                           char *driver)
{
    if (algorithm) {
        pstrcpy(name, 64, algorithm->name);
        snprintf(driver, 64, "%s-qemu", algorithm->name);
    }
}

static int backend_info(void *file, void *opaque, struct vcd_info *info)
{
    QCryptoSession *session = opaque;

    name_algorithm(session->cipher_algorithm, info->cipher_name,
                   info->cipher_driver);
    name_algorithm(session->mac_algorithm, info->hash_name,
                   info->hash_driver);
    return 0;
}

const struct vcd_backend cryptodev_backend_qcrypto = {
    .name = "builtin",
    .id = VIRTIO_CRYPTODEV_BACKEND_BUILTIN,
    .open = backend_open,
    .close = backend_close,
    .session_new = session_new,
    .session_free = session_free,
    .cipher = backend_cipher,
    .digest = backend_digest,
    .info = backend_info,
};
