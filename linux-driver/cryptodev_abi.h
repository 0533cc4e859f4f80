/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The /dev/crypto interface to programs as the driver needs it: what programs compile against, and
 * the same for 32-bit callers on a 64-bit kernel.
 */
#ifndef _CRYPTODEV_ABI_H
#define _CRYPTODEV_ABI_H

#include <crypto/cryptodev.h>
#include <linux/compat.h>

#define CRYPTODEV_KEY_MAX	CRYPTO_CIPHER_MAX_KEY_LEN
#define CRYPTODEV_MAC_KEY_MAX	CRYPTO_HMAC_MAX_KEY_LEN

#ifdef CONFIG_COMPAT
struct compat_session_op {
	__u32 cipher;
	__u32 mac;
	__u32 keylen;
	compat_uptr_t key;
	__u32 mackeylen;
	compat_uptr_t mackey;
	__u32 ses;
};

struct compat_crypt_op {
	__u32 ses;
	__u16 op;
	__u16 flags;
	__u32 len;
	compat_uptr_t src;
	compat_uptr_t dst;
	compat_uptr_t mac;
	compat_uptr_t iv;
};

struct compat_crypt_auth_op {
	__u32 ses;
	__u16 op;
	__u16 flags;
	__u32 len;
	__u32 auth_len;
	compat_uptr_t auth_src;
	compat_uptr_t src;
	compat_uptr_t dst;
	compat_uptr_t tag;
	__u32 tag_len;
	compat_uptr_t iv;
	__u32 iv_len;
};

#define COMPAT_CIOCGSESSION	_IOWR('c', 102, struct compat_session_op)
#define COMPAT_CIOCCRYPT	_IOWR('c', 104, struct compat_crypt_op)
#define COMPAT_CIOCAUTHCRYPT	_IOWR('c', 109, struct compat_crypt_auth_op)
#define COMPAT_CIOCASYNCCRYPT	_IOW('c', 110, struct compat_crypt_op)
#define COMPAT_CIOCASYNCFETCH	_IOR('c', 111, struct compat_crypt_op)
#endif

#endif /* _CRYPTODEV_ABI_H */
