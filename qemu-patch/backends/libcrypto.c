/*
 * virtio cryptodev: the backend that uses OpenSSL's libcrypto
 *
 * Everything is fetched by vcd_libcrypto_init(): after it neither a file is
 * opened nor a provider asked for by name, so that a process can give up both.
 * A session's contexts hold its keys; an operation sets an IV and goes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include "libcrypto.h"
#include "virtio_cryptodev.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define CIPHER_NULL         16
/* Of a cipher that takes a key of any size up to the ABI's */
#define ANY_KEY             0

static struct {
    uint32_t id;
    uint8_t key_bytes;
    const char *name;
    /* Decrypting needs another key schedule, and so a context of its own. */
    bool two_schedules;
    EVP_CIPHER *cipher;
} ciphers[] = {
    { 1, 8, "DES-CBC", false, NULL },
    { 2, 24, "DES-EDE3-CBC", false, NULL },
    { 3, ANY_KEY, "BF-CBC", false, NULL },
    { 11, 16, "AES-128-CBC", true, NULL },
    { 11, 24, "AES-192-CBC", true, NULL },
    { 11, 32, "AES-256-CBC", true, NULL },
    { 21, 16, "AES-128-CTR", false, NULL },
    { 21, 24, "AES-192-CTR", false, NULL },
    { 21, 32, "AES-256-CTR", false, NULL },
    { 22, 32, "AES-128-XTS", true, NULL },
    { 22, 64, "AES-256-XTS", true, NULL },
    { 23, 16, "AES-128-ECB", true, NULL },
    { 23, 24, "AES-192-ECB", true, NULL },
    { 23, 32, "AES-256-ECB", true, NULL },
    { 24, 16, "AES-128-CFB", false, NULL },
    { 24, 24, "AES-192-CFB", false, NULL },
    { 24, 32, "AES-256-CFB", false, NULL },
    { 25, 16, "AES-128-OFB", false, NULL },
    { 25, 24, "AES-192-OFB", false, NULL },
    { 25, 32, "AES-256-OFB", false, NULL },
    { 50, 16, "AES-128-GCM", false, NULL },
    { 50, 24, "AES-192-GCM", false, NULL },
    { 50, 32, "AES-256-GCM", false, NULL },
    { 51, 16, "AES-128-CCM", false, NULL },
    { 51, 24, "AES-192-CCM", false, NULL },
    { 51, 32, "AES-256-CCM", false, NULL },
    { 101, 16, "CAMELLIA-128-CBC", true, NULL },
    { 101, 24, "CAMELLIA-192-CBC", true, NULL },
    { 101, 32, "CAMELLIA-256-CBC", true, NULL },
};

static struct {
    uint32_t id, hmac_id;
    const char *name;
    EVP_MD *md;
    /* An HMAC with this hash and some key: sessions are copies of it. */
    EVP_MAC_CTX *hmac;
} hashes[] = {
    { 13, 6, "MD5", NULL, NULL },
    { 14, 7, "SHA1", NULL, NULL },
    { 102, 8, "RIPEMD160", NULL, NULL },
    { 103, 107, "SHA2-224", NULL, NULL },
    { 104, 18, "SHA2-256", NULL, NULL },
    { 105, 19, "SHA2-384", NULL, NULL },
    { 106, 20, "SHA2-512", NULL, NULL },
};

int libcrypto_error(int otherwise)
{
    bool memory = ERR_GET_REASON(ERR_peek_last_error()) ==
                  ERR_R_MALLOC_FAILURE;

    ERR_clear_error();
    return memory ? -ENOMEM : otherwise;
}

/* Files have no state of their own here; only their number is limited. */
static int libcrypto_open(void *opaque, void **file)
{
    (void)opaque;
    *file = NULL;
    return 0;
}

static void libcrypto_close(void *file)
{
    (void)file;
}

/* Freeing a context cleanses what was known of its key. */
static void libcrypto_session_free(void *file, void *opaque)
{
    struct libcrypto_session *session = opaque;

    (void)file;
    if (session->decrypt != session->encrypt) {
        EVP_CIPHER_CTX_free(session->decrypt);
    }
    EVP_CIPHER_CTX_free(session->encrypt);
    EVP_MAC_CTX_free(session->hmac);
    EVP_MD_CTX_free(session->hash);
    OPENSSL_clear_free(session->key, session->key_bytes);
    OPENSSL_clear_free(session->mac_key, session->mac_key_bytes);
    OPENSSL_clear_free(session, sizeof(*session));
}

static int cipher_context(const EVP_CIPHER *cipher, int encrypt,
                          const uint8_t *key, size_t key_bytes,
                          EVP_CIPHER_CTX **out)
{
    EVP_CIPHER_CTX *context = *out = EVP_CIPHER_CTX_new();

    if (!context) {
        return libcrypto_error(-ENOMEM);
    }
    if (!EVP_CipherInit_ex2(context, cipher, NULL, NULL, encrypt, NULL) ||
        !EVP_CIPHER_CTX_set_padding(context, 0) ||
        (EVP_CIPHER_get_key_length(cipher) != (int)key_bytes &&
         !EVP_CIPHER_CTX_set_key_length(context, key_bytes)) ||
        !EVP_CipherInit_ex2(context, NULL, key, NULL, encrypt, NULL)) {
        return libcrypto_error(-EINVAL);
    }
    return 0;
}

/* A context doesn't tell its key, nor whether another one has the same. */
static int keep_key(const uint8_t *key, size_t key_bytes, uint8_t **kept,
                    size_t *kept_bytes)
{
    if (key_bytes == 0) {
        return 0;
    }
    *kept = OPENSSL_memdup(key, key_bytes);
    if (!*kept) {
        return libcrypto_error(-ENOMEM);
    }
    *kept_bytes = key_bytes;
    return 0;
}

static int cipher_new(struct libcrypto_session *session,
                      const struct vcd_session_spec *spec)
{
    int error;

    if (spec->cipher->id == CIPHER_NULL) {
        return spec->key_bytes ? -EINVAL : 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
        if (ciphers[i].id != spec->cipher->id || !ciphers[i].cipher ||
            (ciphers[i].key_bytes == ANY_KEY ?
             spec->key_bytes < 1 || spec->key_bytes > VCD_KEY_MAX :
             spec->key_bytes != ciphers[i].key_bytes)) {
            continue;
        }
        error = cipher_context(ciphers[i].cipher, 1, spec->key,
                               spec->key_bytes, &session->encrypt);
        session->decrypt = session->encrypt;
        if (!error && spec->cipher->id == LIBCRYPTO_CCM) {
            error = keep_key(spec->key, spec->key_bytes, &session->key,
                             &session->key_bytes);
        }
        if (!error && ciphers[i].two_schedules) {
            error = cipher_context(ciphers[i].cipher, 0, spec->key,
                                   spec->key_bytes, &session->decrypt);
        }
        return error;
    }
    return -EINVAL;
}

static int hmac_new(struct libcrypto_session *session, const EVP_MAC_CTX *like,
                    const struct vcd_session_spec *spec)
{
    /* No bytes are a key too, but NULL would be none. */
    const uint8_t *key = spec->mac_key_bytes ? spec->mac_key :
                                               (const uint8_t *)"";

    session->hmac = EVP_MAC_CTX_dup(like);
    if (!session->hmac) {
        return libcrypto_error(-ENOMEM);
    }
    if (!EVP_MAC_init(session->hmac, key, spec->mac_key_bytes, NULL)) {
        return libcrypto_error(-EINVAL);
    }
    return keep_key(spec->mac_key, spec->mac_key_bytes, &session->mac_key,
                    &session->mac_key_bytes);
}

static int mac_new(struct libcrypto_session *session,
                   const struct vcd_session_spec *spec)
{
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        if (hashes[i].hmac_id == spec->mac->id && hashes[i].hmac) {
            return hmac_new(session, hashes[i].hmac, spec);
        }
        if (hashes[i].id == spec->mac->id && hashes[i].md) {
            session->md = hashes[i].md;
            session->hash = EVP_MD_CTX_new();
            return session->hash ? 0 : libcrypto_error(-ENOMEM);
        }
    }
    return -EINVAL;
}

static int libcrypto_session_new(void *file,
                                 const struct vcd_session_spec *spec,
                                 void **out)
{
    struct libcrypto_session *session = OPENSSL_zalloc(sizeof(*session));
    int error = 0;

    if (!session) {
        return libcrypto_error(-ENOMEM);
    }
    session->cipher = spec->cipher;
    session->mac = spec->mac;
    if (spec->cipher) {
        error = cipher_new(session, spec);
    }
    if (!error && spec->mac) {
        error = mac_new(session, spec);
    }
    if (error) {
        libcrypto_session_free(file, session);
        return error;
    }
    *out = session;
    return 0;
}

int libcrypto_cipher(void *opaque, const struct vcd_op *op)
{
    struct libcrypto_session *session = opaque;
    EVP_CIPHER_CTX *context = op->decrypt ? session->decrypt :
                                            session->encrypt;
    int bytes;

    if (!context) {
        if (op->dst != op->src) {
            memmove(op->dst, op->src, op->len);
        }
        return 0;
    }
    /* XTS calls no bytes an error. */
    if (op->len == 0) {
        return 0;
    }
    /* The core's limit of a length is far below an int's. */
    if (!EVP_CipherInit_ex2(context, NULL, NULL, op->iv, !op->decrypt, NULL) ||
        !EVP_CipherUpdate(context, op->dst, &bytes, op->src, op->len) ||
        (size_t)bytes != op->len) {
        return libcrypto_error(-EIO);
    }
    return 0;
}

bool libcrypto_hash_start(struct libcrypto_session *session)
{
    return session->hmac ? EVP_MAC_init(session->hmac, NULL, 0, NULL) :
                           EVP_DigestInit_ex2(session->hash, session->md, NULL);
}

bool libcrypto_hash_update(struct libcrypto_session *session,
                           const uint8_t *data, size_t len)
{
    return session->hmac ? EVP_MAC_update(session->hmac, data, len) :
                           EVP_DigestUpdate(session->hash, data, len);
}

bool libcrypto_hash_final(struct libcrypto_session *session, uint8_t *mac)
{
    size_t bytes;

    return session->hmac ?
           EVP_MAC_final(session->hmac, mac, &bytes, VCD_DIGEST_MAX) :
           EVP_DigestFinal_ex(session->hash, mac, NULL);
}

static int libcrypto_digest(void *opaque, const struct vcd_op *op,
                            const uint8_t *data, size_t len)
{
    struct libcrypto_session *session = opaque;
    bool start = op->start || !session->hashing;

    /* What has failed or is finished is nothing to go on from. */
    session->hashing = false;
    if ((start && !libcrypto_hash_start(session)) ||
        !libcrypto_hash_update(session, data, len) ||
        (op->finish && !libcrypto_hash_final(session, op->mac))) {
        return libcrypto_error(-EIO);
    }
    session->hashing = !op->finish;
    return 0;
}

/* The state that @to is to go on from, as a context of its own */
static int copy_contexts(struct libcrypto_session *to,
                         const struct libcrypto_session *from)
{
    if (from->hmac) {
        EVP_MAC_CTX *hmac = EVP_MAC_CTX_dup(from->hmac);

        if (!hmac) {
            return libcrypto_error(-ENOMEM);
        }
        EVP_MAC_CTX_free(to->hmac);
        to->hmac = hmac;
    } else {
        EVP_MD_CTX *hash = EVP_MD_CTX_new();

        if (!hash || !EVP_MD_CTX_copy_ex(hash, from->hash)) {
            EVP_MD_CTX_free(hash);
            return libcrypto_error(-ENOMEM);
        }
        EVP_MD_CTX_free(to->hash);
        to->hash = hash;
    }
    return 0;
}

static int libcrypto_hash_copy(void *file, void *to_opaque, void *from_opaque)
{
    struct libcrypto_session *to = to_opaque, *from = from_opaque;
    int error = 0;

    (void)file;
    /* How long a key is is no secret, what it is is one. */
    if (to->mac_key_bytes != from->mac_key_bytes ||
        CRYPTO_memcmp(to->mac_key, from->mac_key, to->mac_key_bytes)) {
        return -EINVAL;
    }
    if (from->hashing) {
        error = copy_contexts(to, from);
    }
    if (!error) {
        to->hashing = from->hashing;
    }
    return error;
}

static void name_algorithm(const struct vcd_algorithm *algorithm, char *name,
                           char *driver)
{
    if (algorithm) {
        snprintf(name, 64, "%s", algorithm->name);
        snprintf(driver, 64, "%s-openssl", algorithm->name);
    }
}

static int libcrypto_info(void *file, void *opaque, struct vcd_info *info)
{
    struct libcrypto_session *session = opaque;

    (void)file;
    memset(info, 0, sizeof(*info));
    name_algorithm(session->cipher, info->cipher_name, info->cipher_driver);
    name_algorithm(session->mac, info->hash_name, info->hash_driver);
    return 0;
}

const struct vcd_backend vcd_backend_libcrypto = {
    .name = "libcrypto",
    .id = VIRTIO_CRYPTODEV_BACKEND_LIBCRYPTO,
    .open = libcrypto_open,
    .close = libcrypto_close,
    .session_new = libcrypto_session_new,
    .session_free = libcrypto_session_free,
    .cipher = libcrypto_cipher,
    .digest = libcrypto_digest,
    .info = libcrypto_info,
    .authcrypt = libcrypto_authcrypt,
    .hash_copy = libcrypto_hash_copy,
};

/*
 * Initialization
 */

static EVP_MAC_CTX *fetch_hmac(EVP_MAC *mac, const char *hash)
{
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)hash,
                                         0),
        OSSL_PARAM_construct_end(),
    };

    /* A context without a key could not be copied. */
    if (!context || !EVP_MAC_init(context, (const uint8_t *)"", 0, params)) {
        EVP_MAC_CTX_free(context);
        return NULL;
    }
    return context;
}

static void fetch(OSSL_LIB_CTX *library)
{
    EVP_MAC *mac = EVP_MAC_fetch(library, OSSL_MAC_NAME_HMAC, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
        ciphers[i].cipher = EVP_CIPHER_fetch(library, ciphers[i].name, NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
        hashes[i].md = EVP_MD_fetch(library, hashes[i].name, NULL);
        hashes[i].hmac = mac ? fetch_hmac(mac, hashes[i].name) : NULL;
    }
    EVP_MAC_free(mac);
}

/* What a session of @algorithm makes of some bytes: whether it does at all */
static int try(const struct vcd_algorithm *algorithm, void *session)
{
    /* A byte that CCM's IV can begin with */
    static const uint8_t iv[VCD_IV_MAX] = { 1 };
    uint8_t data[32] = { 0 }, mac[VCD_DIGEST_MAX];
    struct vcd_op op = {
        .start = true, .finish = true, .src = data, .dst = data, .len = 16,
        .mac = mac, .iv = algorithm->iv_bytes ? iv : NULL,
    };
    struct vcd_auth_op auth = {
        .before = data, .after = data, .src = data, .dst = data, .len = 16,
        .result_bytes = 32, .iv = iv, .tag = mac, .tag_bytes = 16,
    };

    switch (algorithm->mode) {
    case VCD_HASH:
        return libcrypto_digest(session, &op, data, op.len);
    case VCD_AEAD:
        return libcrypto_authcrypt(NULL, session, &auth);
    default:
        return libcrypto_cipher(session, &op);
    }
}

/* Whether sessions of @algorithm can be made and do something */
static bool works(const struct vcd_algorithm *algorithm)
{
    static const uint8_t key[VCD_KEY_MAX] = { 1 };
    struct vcd_session_spec spec = { .key = key, .mac_key = key };
    void *session;
    int error;

    if (algorithm->is_mac) {
        spec.mac = algorithm;
    } else {
        spec.cipher = algorithm;
        for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
            if (ciphers[i].id == algorithm->id) {
                spec.key_bytes = ciphers[i].key_bytes ? ciphers[i].key_bytes :
                                                        VCD_KEY_MAX;
                break;
            }
        }
    }
    if (libcrypto_session_new(NULL, &spec, &session) < 0) {
        return false;
    }
    error = try(algorithm, session);
    libcrypto_session_free(NULL, session);
    return !error;
}

uint64_t vcd_libcrypto_init(void)
{
    OSSL_LIB_CTX *library;
    uint64_t lacking = 0;

    /*
     * The machine's configuration is for programs that talk to others. And
     * threads may still be at work when the process exits.
     */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT,
                        NULL);
    library = OSSL_LIB_CTX_new();
    if (library && OSSL_PROVIDER_load(library, "default")) {
        /* DES and Blowfish, where it is installed */
        OSSL_PROVIDER_load(library, "legacy");
        fetch(library);
    }
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        if (!works(&vcd_algorithms[i])) {
            lacking |= UINT64_C(1) << i;
        }
    }
    ERR_clear_error();
    return lacking;
}
