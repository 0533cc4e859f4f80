/*
 * virtio cryptodev: authenticated encryption with libcrypto
 *
 * AES-GCM (SP 800-38D) and AES-CCM (RFC 3610), and what SRTP does (RFC 3711,
 * section 3.3): a stream cipher, and an HMAC over what it made. TLS has a file
 * of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include "libcrypto.h"

/*
 * AEAD
 */

static bool gcm_begin(EVP_CIPHER_CTX *context, const struct vcd_auth_op *op,
                      size_t bytes)
{
    return EVP_CipherInit_ex2(context, NULL, NULL, op->iv, !op->decrypt,
                              NULL) &&
           (!op->decrypt ||
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, op->tag_bytes,
                                (uint8_t *)op->src + bytes) > 0);
}

/* Sizes of nonce and tag go into the key's schedule: they come before it. */
static bool ccm_begin(struct libcrypto_session *session,
                      const struct vcd_auth_op *op, size_t bytes)
{
    EVP_CIPHER_CTX *context = session->encrypt;
    uint8_t *tag = op->decrypt ? (uint8_t *)op->src + bytes : NULL;
    int unused;

    return EVP_CipherInit_ex2(context, NULL, NULL, NULL, !op->decrypt, NULL) &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN,
                               14 - op->iv[0], NULL) > 0 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, op->tag_bytes,
                               tag) > 0 &&
           EVP_CipherInit_ex2(context, NULL, session->key, op->iv + 1,
                              !op->decrypt, NULL) &&
           EVP_CipherUpdate(context, NULL, &unused, NULL, bytes);
}

static int aead(struct libcrypto_session *session, struct vcd_auth_op *op)
{
    bool ccm = session->cipher->id == LIBCRYPTO_CCM;
    size_t bytes = op->decrypt ? op->result_bytes : op->len;
    EVP_CIPHER_CTX *context = session->encrypt;
    /* It isn't known yet whether these are the message's. */
    int error = op->decrypt ? -EBADMSG : -EIO;
    uint8_t block[VCD_BLOCK_MAX];
    int unused;

    if (!(ccm ? ccm_begin(session, op, bytes) :
                gcm_begin(context, op, bytes)) ||
        (op->before_bytes > 0 &&
         !EVP_CipherUpdate(context, NULL, &unused, op->before,
                           op->before_bytes))) {
        return libcrypto_error(-EIO);
    }
    /* CCM compares here, also where there is nothing to decrypt. */
    if ((ccm || bytes > 0) &&
        !EVP_CipherUpdate(context, op->dst, &unused, op->src, bytes)) {
        return libcrypto_error(error);
    }
    if (!ccm && !EVP_CipherFinal_ex(context, block, &unused)) {
        return libcrypto_error(error);
    }
    if (!op->decrypt &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, op->tag_bytes,
                            op->tag) <= 0) {
        return libcrypto_error(-EIO);
    }
    op->value = op->result_bytes;
    return 0;
}

/*
 * SRTP
 */

static int run_cipher(struct libcrypto_session *session,
                      const struct vcd_auth_op *op)
{
    const struct vcd_op cipher = {
        .decrypt = op->decrypt, .src = op->src, .dst = op->dst,
        .len = op->len, .iv = op->iv,
    };

    return libcrypto_cipher(session, &cipher);
}

static int srtp_mac(struct libcrypto_session *session,
                    const struct vcd_auth_op *op, const uint8_t *ciphertext,
                    uint8_t *mac)
{
    if (!libcrypto_hash_start(session) ||
        !libcrypto_hash_update(session, op->before, op->before_bytes) ||
        !libcrypto_hash_update(session, ciphertext, op->covered) ||
        !libcrypto_hash_update(session, op->after, op->after_bytes) ||
        !libcrypto_hash_final(session, mac)) {
        return libcrypto_error(-EIO);
    }
    return 0;
}

static int srtp_encrypt(struct libcrypto_session *session,
                        struct vcd_auth_op *op)
{
    int error = run_cipher(session, op);

    return error ? error : srtp_mac(session, op, op->dst, op->tag);
}

static int srtp_decrypt(struct libcrypto_session *session,
                        struct vcd_auth_op *op)
{
    uint8_t mac[VCD_DIGEST_MAX];
    int error = srtp_mac(session, op, op->src, mac);

    if (!error && CRYPTO_memcmp(mac, op->tag, op->tag_bytes)) {
        error = -EBADMSG;
    }
    OPENSSL_cleanse(mac, sizeof(mac));
    return error ? error : run_cipher(session, op);
}

int libcrypto_authcrypt(void *file, void *opaque, struct vcd_auth_op *op)
{
    struct libcrypto_session *session = opaque;

    (void)file;
    if (op->form == 0) {
        return aead(session, op);
    }
    /* It has the session's HMAC: what was being hashed with it is forgotten. */
    session->hashing = false;
    op->value = op->result_bytes;
    if (op->form == VCD_FORM_TLS) {
        return op->decrypt ? libcrypto_tls_decrypt(session, op) :
                             libcrypto_tls_encrypt(session, op);
    }
    return op->decrypt ? srtp_decrypt(session, op) : srtp_encrypt(session, op);
}
