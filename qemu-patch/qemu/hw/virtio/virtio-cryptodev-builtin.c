/*
 * virtio cryptodev device: the backend that uses QEMU's crypto library
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"
#include "crypto/hmac.h"
#include "hw/virtio/virtio-cryptodev.h"

/* What is hashed under a key in parts is kept until its end, up to this */
#define MAX_PARTS_BYTES (16 * MiB)

typedef struct BuiltinSession {
    const CryptodevAlgorithm *cipher_algorithm;
    QCryptoCipher *cipher;
    /* What the next operation without an IV of its own uses */
    uint8_t iv[CRYPTODEV_IV_MAX];
    const CryptodevAlgorithm *mac_algorithm;
    QCryptoHashAlgo hash;
    QCryptoHmac *hmac;          /* for a keyed MAC */
    QCryptoHash *hash_state;    /* a plain hash in parts */
    GByteArray *parts;          /* a keyed MAC in parts */
} BuiltinSession;

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
static int builtin_open(const char *path, void **file)
{
    *file = NULL;
    return 0;
}

static void builtin_close(void *file)
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

static void builtin_session_free(void *file, void *opaque)
{
    BuiltinSession *session = opaque;

    qcrypto_cipher_free(session->cipher);
    qcrypto_hmac_free(session->hmac);
    qcrypto_hash_free(session->hash_state);
    if (session->parts) {
        explicit_bzero(session->parts->data, session->parts->len);
        g_byte_array_free(session->parts, true);
    }
    explicit_bzero(session, sizeof(*session));
    g_free(session);
}

static int builtin_session_new(void *file, const CryptodevSessionSpec *spec,
                               void **out)
{
    BuiltinSession *session = g_new0(BuiltinSession, 1);
    QCryptoCipherMode mode;
    QCryptoCipherAlgo algo;

    session->cipher_algorithm = spec->cipher;
    session->mac_algorithm = spec->mac;
    if (spec->cipher) {
        if (!find_mode(spec->cipher->id, &mode) ||
            !find_cipher(spec->cipher->id, spec->key_bytes, &algo) ||
            !qcrypto_cipher_supports(algo, mode)) {
            goto fail;
        }
        session->cipher = qcrypto_cipher_new(algo, mode, spec->key,
                                             spec->key_bytes, NULL);
        if (!session->cipher) {
            goto fail;
        }
    }
    if (spec->mac) {
        if (!find_hash(spec->mac->id, &session->hash)) {
            goto fail;
        }
        if (spec->mac->keyed) {
            session->hmac = qcrypto_hmac_new(session->hash, spec->mac_key,
                                             spec->mac_key_bytes, NULL);
            if (!session->hmac) {
                goto fail;
            }
        }
    }
    *out = session;
    return 0;

fail:
    builtin_session_free(file, session);
    return -EINVAL;
}

/* Adds @blocks to a big-endian counter of 16 bytes */
static void counter_add(uint8_t *counter, uint64_t blocks)
{
    uint64_t low = ldq_be_p(counter + 8) + blocks;

    stq_be_p(counter + 8, low);
    if (low < blocks) {
        stq_be_p(counter, ldq_be_p(counter) + 1);
    }
}

/* Leaves the IV with which the stream would go on in session->iv */
static void advance_iv(BuiltinSession *session, const CryptodevOp *op,
                       const uint8_t *last_block)
{
    size_t iv_bytes = session->cipher_algorithm->iv_bytes;

    switch (session->cipher_algorithm->id) {
    case 1:
    case 2:
    case 11:
        if (op->len > 0) {
            memcpy(session->iv, last_block, iv_bytes);
        }
        break;
    case 21:
        counter_add(session->iv, DIV_ROUND_UP(op->len, 16));
        break;
    default:
        break;
    }
}

static int encrypt_or_decrypt(QCryptoCipher *cipher, uint16_t op,
                              const uint8_t *src, uint8_t *dst, size_t len)
{
    return op == COP_ENCRYPT ?
        qcrypto_cipher_encrypt(cipher, src, dst, len, NULL) :
        qcrypto_cipher_decrypt(cipher, src, dst, len, NULL);
}

/* The library takes whole blocks only; a stream cipher's last may be cut. */
static int run_blocks(QCryptoCipher *cipher, const CryptodevOp *op,
                      size_t block_bytes)
{
    size_t rest = block_bytes == 1 ? op->len % 16 : 0;
    size_t whole = op->len - rest;
    uint8_t block[16] = { 0 };
    int ret = 0;

    if (whole > 0) {
        ret = encrypt_or_decrypt(cipher, op->op, op->src, op->dst, whole);
    }
    if (ret == 0 && rest > 0) {
        memcpy(block, op->src + whole, rest);
        ret = encrypt_or_decrypt(cipher, op->op, block, block, sizeof(block));
        memcpy(op->dst + whole, block, rest);
    }
    return ret;
}

static int run_cipher(BuiltinSession *session, CryptodevOp *op)
{
    size_t iv_bytes = session->cipher_algorithm->iv_bytes;
    bool encrypt = op->op == COP_ENCRYPT;
    uint8_t last_source[CRYPTODEV_IV_MAX];
    int ret = 0;

    if (op->iv) {
        memcpy(session->iv, op->iv, iv_bytes);
    }
    if (op->len >= iv_bytes) {
        memcpy(last_source, op->src + op->len - iv_bytes, iv_bytes);
    }
    if (iv_bytes > 0) {
        ret = qcrypto_cipher_setiv(session->cipher, session->iv, iv_bytes,
                                   NULL);
    }
    if (ret == 0) {
        ret = run_blocks(session->cipher, op,
                         session->cipher_algorithm->block_bytes);
    }
    if (ret < 0) {
        return -EIO;
    }
    advance_iv(session, op, encrypt ? op->dst + op->len - iv_bytes :
                                      last_source);
    memcpy(op->next_iv, session->iv, iv_bytes);
    return 0;
}

static void forget_parts(BuiltinSession *session)
{
    qcrypto_hash_free(session->hash_state);
    session->hash_state = NULL;
    if (session->parts) {
        explicit_bzero(session->parts->data, session->parts->len);
        g_byte_array_set_size(session->parts, 0);
    }
}

static int digest_whole(BuiltinSession *session, const uint8_t *data,
                        size_t len, uint8_t *mac)
{
    size_t bytes = session->mac_algorithm->digest_bytes;
    /* The library takes no null pointer, not even for no bytes. */
    struct iovec iov = { .iov_base = (void *)(data ?: (uint8_t *)""),
                         .iov_len = len };
    int ret;

    ret = session->hmac ?
        qcrypto_hmac_bytesv(session->hmac, &iov, 1, &mac, &bytes, NULL) :
        qcrypto_hash_bytesv(session->hash, &iov, 1, &mac, &bytes, NULL);
    return ret < 0 ? -EIO : 0;
}

static int digest_part(BuiltinSession *session, const uint8_t *data, size_t len)
{
    if (session->hmac) {
        if (!session->parts) {
            session->parts = g_byte_array_new();
        }
        if (len > MAX_PARTS_BYTES - session->parts->len) {
            return -ENOMEM;
        }
        g_byte_array_append(session->parts, data, len);
        return 0;
    }
    if (!session->hash_state) {
        session->hash_state = qcrypto_hash_new(session->hash, NULL);
        if (!session->hash_state) {
            return -EIO;
        }
    }
    return qcrypto_hash_update(session->hash_state, (const char *)data, len,
                               NULL) < 0 ? -EIO : 0;
}

static int digest_last(BuiltinSession *session, uint8_t *mac)
{
    size_t bytes = session->mac_algorithm->digest_bytes;
    int error;

    if (session->hmac) {
        error = digest_whole(session, session->parts->data,
                             session->parts->len, mac);
    } else {
        error = qcrypto_hash_finalize_bytes(session->hash_state, &mac, &bytes,
                                            NULL) < 0 ? -EIO : 0;
    }
    forget_parts(session);
    return error;
}

static int run_mac(BuiltinSession *session, CryptodevOp *op,
                   const uint8_t *plaintext)
{
    int error;

    if (!(op->flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL))) {
        return digest_whole(session, plaintext, op->len, op->mac);
    }
    if (op->flags & COP_FLAG_RESET) {
        forget_parts(session);
    }
    error = digest_part(session, plaintext, op->len);
    if (!error && (op->flags & COP_FLAG_FINAL)) {
        error = digest_last(session, op->mac);
    }
    return error;
}

static int builtin_crypt(void *file, void *opaque, CryptodevOp *op)
{
    BuiltinSession *session = opaque;
    bool decrypt = op->op == COP_DECRYPT;
    int error = 0;

    /* The MAC is over the plaintext: what goes in, or what comes out. */
    if (session->mac_algorithm && (!session->cipher || !decrypt)) {
        error = run_mac(session, op, op->src);
    }
    if (!error && session->cipher) {
        error = run_cipher(session, op);
    }
    if (!error && session->mac_algorithm && session->cipher && decrypt) {
        error = run_mac(session, op, op->dst);
    }
    return error;
}

static int builtin_info(void *file, void *opaque,
                        struct virtio_cryptodev_gsessinfo *info)
{
    BuiltinSession *session = opaque;

    if (session->cipher_algorithm) {
        pstrcpy((char *)info->cipher_name, sizeof(info->cipher_name),
                session->cipher_algorithm->name);
        snprintf((char *)info->cipher_driver, sizeof(info->cipher_driver),
                 "%s-qemu", session->cipher_algorithm->name);
    }
    if (session->mac_algorithm) {
        pstrcpy((char *)info->hash_name, sizeof(info->hash_name),
                session->mac_algorithm->name);
        snprintf((char *)info->hash_driver, sizeof(info->hash_driver),
                 "%s-qemu", session->mac_algorithm->name);
    }
    return 0;
}

const CryptodevBackend cryptodev_backend_builtin = {
    .name = "builtin",
    .config_id = 0,
    .open = builtin_open,
    .close = builtin_close,
    .session_new = builtin_session_new,
    .session_free = builtin_session_free,
    .crypt = builtin_crypt,
    .info = builtin_info,
};
