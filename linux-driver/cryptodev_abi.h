/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The /dev/crypto interface to programs: numbers and layouts that unmodified cryptodev programs
 * expect, for native callers and for 32-bit ones on a 64-bit kernel.
 */
#ifndef _CRYPTODEV_ABI_H
#define _CRYPTODEV_ABI_H

#include <linux/compat.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define CRYPTODEV_KEY_MAX	64
#define CRYPTODEV_MAC_KEY_MAX	512

#define COP_FLAG_UPDATE		1
#define COP_FLAG_FINAL		2
#define COP_FLAG_WRITE_IV	4
#define COP_FLAG_NO_ZC		8
#define COP_FLAG_RESET		64

struct session_op {
	__u32 cipher;
	__u32 mac;
	__u32 keylen;
	__u8 __user *key;
	__u32 mackeylen;
	__u8 __user *mackey;
	__u32 ses;
};

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

struct alg_info {
	char cra_name[64];
	char cra_driver_name[64];
};

struct session_info_op {
	__u32 ses;
	struct alg_info cipher_info;
	struct alg_info hash_info;
	__u16 alignmask;
	__u32 flags;
};

#define CRIOGET		_IOWR('c', 101, __u32)
#define CIOCGSESSION	_IOWR('c', 102, struct session_op)
#define CIOCFSESSION	_IOW('c', 103, __u32)
#define CIOCCRYPT	_IOWR('c', 104, struct crypt_op)
#define CIOCASYMFEAT	_IOR('c', 106, __u32)
#define CIOCGSESSINFO	_IOWR('c', 107, struct session_info_op)

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

#define COMPAT_CIOCGSESSION	_IOWR('c', 102, struct compat_session_op)
#define COMPAT_CIOCCRYPT	_IOWR('c', 104, struct compat_crypt_op)
#endif

#endif /* _CRYPTODEV_ABI_H */
