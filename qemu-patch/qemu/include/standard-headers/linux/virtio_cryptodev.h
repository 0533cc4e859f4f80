/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The virtio cryptodev device, as its specification has it. All fields are
 * little-endian.
 */
#ifndef _VIRTIO_CRYPTODEV_H
#define _VIRTIO_CRYPTODEV_H

#include "standard-headers/linux/types.h"

/* Not assigned; the highest that Linux's virtio_pci takes */
#define VIRTIO_ID_CRYPTODEV             63

/*
 * No device promises more; source and result fit a queue of 1,024 as pages of
 * 4 KiB.
 */
#define VIRTIO_CRYPTODEV_MAX_BYTES      (1 << 20)

struct virtio_cryptodev_config {
    uint32_t backend;
    uint32_t max_files;
    uint32_t max_sessions;
    uint32_t max_bytes;
};

#define VIRTIO_CRYPTODEV_OPEN           1
#define VIRTIO_CRYPTODEV_CLOSE          2
#define VIRTIO_CRYPTODEV_IOCTL          3

#define VIRTIO_CRYPTODEV_GSESSION       102
#define VIRTIO_CRYPTODEV_FSESSION       103
#define VIRTIO_CRYPTODEV_CRYPT          104
#define VIRTIO_CRYPTODEV_GSESSINFO      107

struct virtio_cryptodev_request {
    uint32_t type;
    uint32_t handle;
    uint32_t command;
    uint32_t reserved;
};

struct virtio_cryptodev_response {
    uint32_t error;
    uint32_t value;
    uint32_t iv_bytes;
    uint32_t mac_bytes;
};

struct virtio_cryptodev_gsession {
    uint32_t cipher;
    uint32_t mac;
    uint32_t key_bytes;
    uint32_t mac_key_bytes;
};

struct virtio_cryptodev_crypt {
    uint32_t session;
    uint16_t op;
    uint16_t flags;
    uint32_t len;
    uint32_t iv_bytes;
    uint32_t result_bytes;
    uint32_t mac_bytes;
};

struct virtio_cryptodev_gsessinfo {
    uint8_t cipher_name[64];
    uint8_t cipher_driver[64];
    uint8_t hash_name[64];
    uint8_t hash_driver[64];
    uint32_t alignmask;
    uint32_t flags;
};

#endif /* _VIRTIO_CRYPTODEV_H */
