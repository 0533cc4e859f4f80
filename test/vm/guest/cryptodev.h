/* SPDX-License-Identifier: MIT */
/*
 * The ABI of /dev/crypto, as these programs know it: apart from the driver's own header, so that one
 * mistake can't be in both.
 */
#ifndef CRYPTODEV_H
#define CRYPTODEV_H

#include <stdint.h>
#include <sys/ioctl.h>

struct session_op {
	uint32_t cipher, mac, keylen;
	uint8_t *key;
	uint32_t mackeylen;
	uint8_t *mackey;
	uint32_t ses;
};

struct crypt_op {
	uint32_t ses;
	uint16_t op, flags;
	uint32_t len;
	uint8_t *src, *dst, *mac, *iv;
};

struct crypt_auth_op {
	uint32_t ses;
	uint16_t op, flags;
	uint32_t len, auth_len;
	uint8_t *auth_src, *src, *dst, *tag;
	uint32_t tag_len;
	uint8_t *iv;
	uint32_t iv_len;
};

struct cphash_op {
	uint32_t dst_ses, src_ses;
};

struct session_info_op {
	uint32_t ses;
	char cipher[64], cipher_driver[64], hash[64], hash_driver[64];
	uint16_t alignmask;
	uint32_t flags;
};

#define CRIOGET _IOWR('c', 101, uint32_t)
#define CIOCGSESSION _IOWR('c', 102, struct session_op)
#define CIOCFSESSION _IOW('c', 103, uint32_t)
#define CIOCCRYPT _IOWR('c', 104, struct crypt_op)
#define CIOCASYMFEAT _IOR('c', 106, uint32_t)
#define CIOCGSESSINFO _IOWR('c', 107, struct session_info_op)

#define CIOCAUTHCRYPT _IOWR('c', 109, struct crypt_auth_op)
#define CIOCASYNCCRYPT _IOW('c', 110, struct crypt_op)
#define CIOCASYNCFETCH _IOR('c', 111, struct crypt_op)
#define CIOCCPHASH _IOW('c', 112, struct cphash_op)

#define COP_FLAG_UPDATE 1
#define COP_FLAG_FINAL 2
#define COP_FLAG_WRITE_IV 4
#define COP_FLAG_NO_ZC 8
#define COP_FLAG_AEAD_TLS_TYPE 16
#define COP_FLAG_AEAD_SRTP_TYPE 32
#define COP_FLAG_RESET 64

#define CRYPTO_AES_CBC 11
#define CRYPTO_NULL 16
#define CRYPTO_AES_CTR 21
#define CRYPTO_AES_XTS 22
#define CRYPTO_AES_ECB 23
#define CRYPTO_AES_GCM 50
#define CRYPTO_AES_CCM 51
#define CRYPTO_SHA1_HMAC 7
#define CRYPTO_SHA2_256_HMAC 18
#define CRYPTO_SHA1 14
#define CRYPTO_SHA2_256 104

#endif
