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

#define CRYPTO_AES_CBC 11

#endif
