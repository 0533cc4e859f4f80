/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The /dev/crypto interface to programs: numbers and layouts that unmodified cryptodev programs
 * expect, under the names that they know. This is the copy that is kept by hand; headers.sh in
 * qemu-patch/ makes others from it.
 *
 * Every structure is as its members' natural alignment makes it, in the caller's own word size: the
 * driver has others for 32-bit callers of a 64-bit kernel.
 */
#ifndef _CRYPTO_CRYPTODEV_H
#define _CRYPTO_CRYPTODEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The kernel's word for a program's pointer; programs themselves have none, before or after. */
#if !defined(__KERNEL__) && !defined(__user)
#define __user
#define _CRYPTODEV_NO_USER
#endif

/* Ciphers, session_op.cipher. Some have no device behind them: programs' tables name them. */
#define CRYPTO_DES_CBC		1
#define CRYPTO_3DES_CBC		2
#define CRYPTO_BLF_CBC		3
#define CRYPTO_CAST_CBC		4
#define CRYPTO_SKIPJACK_CBC	5
#define CRYPTO_AES_CBC		11
#define CRYPTO_RIJNDAEL128_CBC	CRYPTO_AES_CBC
#define CRYPTO_ARC4		12
#define CRYPTO_NULL		16
#define CRYPTO_AES_CTR		21
#define CRYPTO_AES_XTS		22
#define CRYPTO_AES_ECB		23
#define CRYPTO_AES_CFB		24
#define CRYPTO_AES_OFB		25
#define CRYPTO_AES_GCM		50
#define CRYPTO_AES_CCM		51
#define CRYPTO_CAMELLIA_CBC	101
#define CRYPTO_TLS11_AES_CBC_HMAC_SHA1		108
#define CRYPTO_TLS12_AES_CBC_HMAC_SHA256	109

/* MACs and hashes, session_op.mac */
#define CRYPTO_MD5_HMAC		6
#define CRYPTO_SHA1_HMAC	7
#define CRYPTO_RIPEMD160_HMAC	8
#define CRYPTO_MD5_KPDK		9
#define CRYPTO_SHA1_KPDK	10
#define CRYPTO_MD5		13
#define CRYPTO_SHA1		14
#define CRYPTO_SHA2_256_HMAC	18
#define CRYPTO_SHA2_384_HMAC	19
#define CRYPTO_SHA2_512_HMAC	20
#define CRYPTO_RIPEMD160	102
#define CRYPTO_SHA2_224		103
#define CRYPTO_SHA2_256		104
#define CRYPTO_SHA2_384		105
#define CRYPTO_SHA2_512		106
#define CRYPTO_SHA2_224_HMAC	107

#define CRYPTO_ALGORITHM_MIN	1
#define CRYPTO_ALGORITHM_MAX	CRYPTO_TLS12_AES_CBC_HMAC_SHA256
#define CRYPTO_ALGORITHM_ALL	(CRYPTO_ALGORITHM_MAX + 1)

/* Limits, in bytes */
#define CRYPTODEV_MAX_ALG_NAME		64
#define CRYPTO_CIPHER_MAX_KEY_LEN	64
#define CRYPTO_HMAC_MAX_KEY_LEN		512
#define EALG_MAX_BLOCK_LEN		16
#define AALG_MAX_RESULT_LEN		64
#define HASH_MAX_LEN			AALG_MAX_RESULT_LEN

/* CIOCGSESSION: a session; ses is written. */
struct session_op {
	__u32 cipher;
	__u32 mac;
	__u32 keylen;
	__u8 __user *key;
	__u32 mackeylen;
	__u8 __user *mackey;
	__u32 ses;
};

/* CIOCGSESSINFO: who does a session's work */
struct alg_info {
	char cra_name[CRYPTODEV_MAX_ALG_NAME];
	char cra_driver_name[CRYPTODEV_MAX_ALG_NAME];
};

struct session_info_op {
	__u32 ses;
	struct alg_info cipher_info;
	struct alg_info hash_info;
	__u16 alignmask;
	__u32 flags;
};

/* session_info_op.flags: hardware that programs could not use themselves */
#define SIOP_FLAG_KERNEL_DRIVER_ONLY	1

/* op */
#define COP_ENCRYPT		0
#define COP_DECRYPT		1

/* flags */
#define COP_FLAG_NONE		0
#define COP_FLAG_UPDATE		1	/* a hash in parts goes on */
#define COP_FLAG_FINAL		2	/* and ends */
#define COP_FLAG_WRITE_IV	4	/* the next IV is written to iv */
#define COP_FLAG_NO_ZC		8	/* a hint: copy */
#define COP_FLAG_AEAD_TLS_TYPE	16
#define COP_FLAG_AEAD_SRTP_TYPE	32
#define COP_FLAG_RESET		64	/* a hash in parts starts anew */

/* CIOCCRYPT, CIOCASYNCCRYPT, CIOCASYNCFETCH */
struct crypt_op {
	__u32 ses;
	__u16 op;
	__u16 flags;
	__u32 len;
	__u8 __user *src;
	__u8 __user *dst;
	__u8 __user *mac;
	__u8 __user *iv;
};

/* CIOCAUTHCRYPT: len is written, and says what dst holds then. */
struct crypt_auth_op {
	__u32 ses;
	__u16 op;
	__u16 flags;
	__u32 len;
	__u32 auth_len;
	__u8 __user *auth_src;
	__u8 __user *src;
	__u8 __user *dst;
	__u8 __user *tag;
	__u32 tag_len;
	__u8 __user *iv;
	__u32 iv_len;
};

/* CIOCCPHASH: the destination goes on from the source's state. */
struct cphash_op {
	__u32 dst_ses;
	__u32 src_ses;
};

/* CIOCKEY: asymmetric, for programs that compile it in. There is none: EINVAL. */
#define CRK_MAXPARAM		8

struct crparam {
	__u8 __user *crp_p;
	__u32 crp_nbits;
};

struct crypt_kop {
	__u32 crk_op;
	__u32 crk_status;
	__u16 crk_iparams;
	__u16 crk_oparams;
	__u32 crk_pad1;
	struct crparam crk_param[CRK_MAXPARAM];
};

/* crypt_kop.crk_op, and each as a bit of what CIOCASYMFEAT answers */
#define CRK_MOD_EXP		0
#define CRK_MOD_EXP_CRT		1
#define CRK_DSA_SIGN		2
#define CRK_DSA_VERIFY		3
#define CRK_DH_COMPUTE_KEY	4
#define CRK_ALGORITHM_MAX	CRK_DH_COMPUTE_KEY
#define CRF_MOD_EXP		0x01
#define CRF_MOD_EXP_CRT		0x02
#define CRF_DSA_SIGN		0x04
#define CRF_DSA_VERIFY		0x08
#define CRF_DH_COMPUTE_KEY	0x10

#define CRIOGET		_IOWR('c', 101, __u32)
#define CIOCGSESSION	_IOWR('c', 102, struct session_op)
#define CIOCFSESSION	_IOW('c', 103, __u32)
#define CIOCCRYPT	_IOWR('c', 104, struct crypt_op)
#define CIOCKEY		_IOWR('c', 105, struct crypt_kop)
#define CIOCASYMFEAT	_IOR('c', 106, __u32)
#define CIOCGSESSINFO	_IOWR('c', 107, struct session_info_op)
#define CIOCAUTHCRYPT	_IOWR('c', 109, struct crypt_auth_op)
#define CIOCASYNCCRYPT	_IOW('c', 110, struct crypt_op)
#define CIOCASYNCFETCH	_IOR('c', 111, struct crypt_op)
#define CIOCCPHASH	_IOW('c', 112, struct cphash_op)

#ifdef _CRYPTODEV_NO_USER
#undef __user
#undef _CRYPTODEV_NO_USER
#endif

#endif /* _CRYPTO_CRYPTODEV_H */
