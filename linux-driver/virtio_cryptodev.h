/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The virtio cryptodev device, as docs/virtio-cryptodev.md specifies it. This is the copy that is
 * kept by hand; qemu-patch/headers.sh makes QEMU's and the core's from it.
 */
#ifndef _VIRTIO_CRYPTODEV_H
#define _VIRTIO_CRYPTODEV_H

#include <linux/types.h>

/* Not assigned; the highest that virtio_pci takes */
#define VIRTIO_ID_CRYPTODEV		63
/* What stock QEMU's vhost-user-test-device can be told: good only where the magic stands. */
#define VIRTIO_ID_CRYPTODEV_STOCK	38

/* Feature bits; 1 is not used */
/* AUTHCRYPT, and sessions of AEAD ciphers */
#define VIRTIO_CRYPTODEV_F_AEAD		0
#define VIRTIO_CRYPTODEV_F_CPHASH	2
/* num_queues is valid */
#define VIRTIO_CRYPTODEV_F_MQ		3

/* No device promises more; source and result fit a queue of 1,024 as 4 KiB pages. */
#define VIRTIO_CRYPTODEV_MAX_BYTES	0x100000
#define VIRTIO_CRYPTODEV_MAX_QUEUES	64

/* "vcdv" in the order of bytes */
#define VIRTIO_CRYPTODEV_MAGIC		0x76646376
#define VIRTIO_CRYPTODEV_VERSION	1

#define VIRTIO_CRYPTODEV_BACKEND_BUILTIN	0
#define VIRTIO_CRYPTODEV_BACKEND_CRYPTODEV	1
#define VIRTIO_CRYPTODEV_BACKEND_LIBCRYPTO	2
#define VIRTIO_CRYPTODEV_BACKEND_NULL		3

struct virtio_cryptodev_config {
	__le32 magic;
	__le32 version;
	/* Another one: the device has lost what was open, and needs a reset. */
	__le32 instance;
	__le32 backend;
	__le32 max_files;
	__le32 max_sessions;
	__le32 max_bytes;
	__le16 num_queues;
	__le16 reserved;
};

#define VIRTIO_CRYPTODEV_OPEN		1
#define VIRTIO_CRYPTODEV_CLOSE		2
#define VIRTIO_CRYPTODEV_IOCTL		3

#define VIRTIO_CRYPTODEV_GSESSION	102
#define VIRTIO_CRYPTODEV_FSESSION	103
#define VIRTIO_CRYPTODEV_CRYPT		104
#define VIRTIO_CRYPTODEV_GSESSINFO	107
#define VIRTIO_CRYPTODEV_AUTHCRYPT	109
#define VIRTIO_CRYPTODEV_CPHASH		112

/* Of an AUTHCRYPT's associated data, in bytes */
#define VIRTIO_CRYPTODEV_MAX_AUTH	4096

struct virtio_cryptodev_request {
	__le32 type;
	__le32 handle;
	__le32 command;
	__le32 reserved;
};

struct virtio_cryptodev_response {
	__le32 error;
	__le32 value;
	__le32 iv_bytes;
	__le32 mac_bytes;
};

struct virtio_cryptodev_gsession {
	__le32 cipher;
	__le32 mac;
	__le32 key_bytes;
	__le32 mac_key_bytes;
};

struct virtio_cryptodev_crypt {
	__le32 session;
	__le16 op;
	__le16 flags;
	__le32 len;
	__le32 iv_bytes;
	__le32 result_bytes;
	__le32 mac_bytes;
};

struct virtio_cryptodev_authcrypt {
	__le32 session;
	__le16 op;
	__le16 flags;
	__le32 len;
	__le32 iv_bytes;
	/* Of the associated data that is in the request */
	__le32 auth_bytes;
	/* SRTP: how many of those are authenticated before the source, and how many bytes in all */
	__le32 auth_before;
	__le32 auth_len;
	__le32 tag_bytes;
	__le32 result_bytes;
	__le32 reserved;
};

struct virtio_cryptodev_cphash {
	__le32 to_session;
	__le32 from_session;
};

struct virtio_cryptodev_gsessinfo {
	__u8 cipher_name[64];
	__u8 cipher_driver[64];
	__u8 hash_name[64];
	__u8 hash_driver[64];
	__le32 alignmask;
	__le32 flags;
};

#endif /* _VIRTIO_CRYPTODEV_H */
