/*
 * virtio cryptodev: what the files of the libcrypto backend know of each other
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_LIBCRYPTO_H
#define VCD_LIBCRYPTO_H

#include <openssl/evp.h>
#include "backends.h"

/* Whose key libcrypto has to be given anew for each tag's size */
#define LIBCRYPTO_CCM       51

struct libcrypto_session {
    const struct vcd_algorithm *cipher, *mac;
    EVP_CIPHER_CTX *encrypt;
    EVP_CIPHER_CTX *decrypt;    /* may be encrypt */
    EVP_MAC_CTX *hmac;
    EVP_MD_CTX *hash;
    const EVP_MD *md;
    bool hashing;               /* hash or hmac go on from something */
    /* NULL where it is not asked for again, or has no bytes */
    uint8_t *key, *mac_key;
    size_t key_bytes, mac_key_bytes;
};

/* What libcrypto's last failure was: -ENOMEM or @otherwise */
int libcrypto_error(int otherwise);

int libcrypto_cipher(void *session, const struct vcd_op *op);

/* Of the session's hash or HMAC; false for an error of libcrypto's */
bool libcrypto_hash_start(struct libcrypto_session *session);
bool libcrypto_hash_update(struct libcrypto_session *session,
                           const uint8_t *data, size_t len);
bool libcrypto_hash_final(struct libcrypto_session *session, uint8_t *mac);

/* libcrypto-auth.c */
int libcrypto_authcrypt(void *file, void *session, struct vcd_auth_op *op);
/* libcrypto-tls.c */
int libcrypto_tls_encrypt(struct libcrypto_session *session,
                          struct vcd_auth_op *op);
int libcrypto_tls_decrypt(struct libcrypto_session *session,
                          struct vcd_auth_op *op);

#endif /* VCD_LIBCRYPTO_H */
