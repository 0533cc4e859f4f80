/*
 * virtio cryptodev: TLS records with a CBC cipher and an HMAC, with libcrypto
 *
 * MAC, then padding, then encryption (RFC 5246, section 6.2.3.2). Whoever can
 * have a record decrypted that he has changed must not learn whether padding
 * or MAC were wrong, nor how long the padding seemed to be: from that, and be
 * it from time alone, the plaintext follows ("Lucky Thirteen", N. AlFardan and
 * K. Paterson, 2013).
 *
 * So the MAC is made for each length that the padding could have, and which of
 * them counts is picked by masks. What is done, and which memory is touched in
 * which order, depends on the record's length and on nothing that is secret.
 * That takes up to 256 MACs, of which each goes on from a state that the one
 * before it has got to; it needs no knowledge of how a hash is built.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include "libcrypto.h"

#define PADDING_MAX     255

/*
 * Masks: all bits where it is so, else none. Of numbers below 2^31.
 */

/* The compiler is not to find out that there are two cases only. */
static uint32_t hidden(uint32_t value)
{
    __asm__("" : "+r" (value));
    return value;
}

static uint32_t mask_less(uint32_t a, uint32_t b)
{
    return -(hidden(a - b) >> 31);
}

static uint32_t mask_equal(uint32_t a, uint32_t b)
{
    uint32_t different = a ^ b;

    return (hidden(different | -different) >> 31) - 1;
}

/*
 * Encrypting
 */

static bool tls_mac(struct libcrypto_session *session,
                    const struct vcd_auth_op *op, uint8_t *mac)
{
    return libcrypto_hash_start(session) &&
           libcrypto_hash_update(session, op->before, op->before_bytes) &&
           libcrypto_hash_update(session, op->src, op->len) &&
           libcrypto_hash_final(session, mac);
}

int libcrypto_tls_encrypt(struct libcrypto_session *session,
                          struct vcd_auth_op *op)
{
    size_t rest = op->len % session->cipher->block_bytes;
    size_t whole = op->len - rest;
    size_t padding = op->result_bytes - op->len - op->tag_bytes;
    /* What follows the plaintext's whole blocks */
    uint8_t end[VCD_BLOCK_MAX + VCD_DIGEST_MAX + VCD_BLOCK_MAX];
    uint8_t mac[VCD_DIGEST_MAX];
    EVP_CIPHER_CTX *context = session->encrypt;
    int bytes;
    bool good;

    good = tls_mac(session, op, mac);
    memcpy(end, op->src + whole, rest);
    memcpy(end + rest, mac, op->tag_bytes);
    memset(end + rest + op->tag_bytes, padding - 1, padding);
    good = good &&
        EVP_CipherInit_ex2(context, NULL, NULL, op->iv, 1, NULL) &&
        EVP_CipherUpdate(context, op->dst, &bytes, op->src, whole) &&
        EVP_CipherUpdate(context, op->dst + whole, &bytes, end,
                         rest + op->tag_bytes + padding);
    OPENSSL_cleanse(end, sizeof(end));
    OPENSSL_cleanse(mac, sizeof(mac));
    return good ? 0 : libcrypto_error(-EIO);
}

/*
 * Decrypting
 */

/* How many bytes of padding before the last one there can be */
static uint32_t most_padding(const struct vcd_auth_op *op)
{
    size_t most = op->len - op->tag_bytes - 1;

    return most < PADDING_MAX ? most : PADDING_MAX;
}

/* Whether each byte of padding says how many follow it, as the last one does */
static uint32_t padding_good(const struct vcd_auth_op *op, uint32_t padding)
{
    const uint8_t *last = op->dst + op->len - 1;
    uint32_t most = most_padding(op);
    uint32_t wrong = mask_less(most, padding);

    for (uint32_t i = 0; i <= most; i++) {
        wrong |= ~mask_less(padding, i) & (*(last - i) ^ padding);
    }
    return mask_equal(wrong, 0);
}

/* The MAC of what the session's HMAC has got to, which goes on from there */
static bool mac_so_far(const struct libcrypto_session *session, uint8_t *mac)
{
    EVP_MAC_CTX *copy = EVP_MAC_CTX_dup(session->hmac);
    size_t bytes;
    bool good = copy && EVP_MAC_final(copy, mac, &bytes, VCD_DIGEST_MAX);

    EVP_MAC_CTX_free(copy);
    return good;
}

/*
 * Whether the MAC is good that stands before so much @padding, as a mask.
 * False where that could not be found out.
 */
static bool find_mac(struct libcrypto_session *session,
                     const struct vcd_auth_op *op, uint32_t padding,
                     uint32_t *good)
{
    uint32_t left = most_padding(op);
    const uint8_t *end = op->dst + op->len - op->tag_bytes - 1 - left;
    uint8_t mac[VCD_DIGEST_MAX];
    bool done;

    *good = 0;
    done = libcrypto_hash_start(session) &&
           libcrypto_hash_update(session, op->before, op->before_bytes) &&
           libcrypto_hash_update(session, op->dst, end - op->dst);
    /* The shortest plaintext first: each next one has a byte more. */
    for (; done; left--, end++) {
        done = mac_so_far(session, mac);
        *good |= mask_equal(left, padding) &
                 mask_equal(CRYPTO_memcmp(mac, end, op->tag_bytes), 0);
        if (left == 0) {
            break;
        }
        done = done && libcrypto_hash_update(session, end, 1);
    }
    OPENSSL_cleanse(mac, sizeof(mac));
    return done;
}

int libcrypto_tls_decrypt(struct libcrypto_session *session,
                          struct vcd_auth_op *op)
{
    EVP_CIPHER_CTX *context = session->decrypt;
    uint32_t padding, good;
    int bytes;

    if (!EVP_CipherInit_ex2(context, NULL, NULL, op->iv, 0, NULL) ||
        !EVP_CipherUpdate(context, op->dst, &bytes, op->src, op->len)) {
        return libcrypto_error(-EIO);
    }
    padding = op->dst[op->len - 1];
    if (!find_mac(session, op, padding, &good)) {
        return libcrypto_error(-EIO);
    }
    good &= padding_good(op, padding);
    /* That, and how long a good one's plaintext is, is all that shows. */
    if (!good) {
        return -EBADMSG;
    }
    op->value = op->len - op->tag_bytes - 1 - padding;
    return 0;
}
