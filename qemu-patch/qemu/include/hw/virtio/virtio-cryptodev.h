/*
 * virtio cryptodev device: the host's /dev/crypto for guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_CRYPTODEV_H
#define HW_VIRTIO_CRYPTODEV_H

#include "hw/virtio/virtio.h"
#include "qom/object.h"
#include "qapi/qapi-types-virtio.h"
#include "system/iothread.h"
#include "standard-headers/linux/virtio_cryptodev.h"

#define TYPE_VIRTIO_CRYPTODEV "virtio-cryptodev-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOCryptodev, VIRTIO_CRYPTODEV)

typedef struct VirtIOCryptodevConf {
    char *backend;
    char *path;
    uint16_t num_queues;
    uint32_t max_files;
    uint32_t max_sessions;
    uint32_t max_device_sessions;
    uint32_t max_bytes;
    uint32_t max_threads;
    uint64_t max_buffered;
    IOThread *iothread;
    IOThreadVirtQueueMappingList *iothread_vq_mapping_list;
} VirtIOCryptodevConf;

typedef struct VirtIOCryptodevQueue {
    VirtIOCryptodev *s;
    VirtQueue *vq;
    struct vcd_queue *core;
    /* Chains that have been filled in and are not flushed yet */
    unsigned filled;
    /* A turn in the main loop, and one in the queue's iothread if it has one */
    QEMUBH *bh;
    QEMUBH *io_bh;
    AioContext *io_ctx;
    /* Which of the two it is now */
    bool in_iothread;
    /* Reset, and not enabled since */
    bool stopped;
} VirtIOCryptodevQueue;

struct VirtIOCryptodev {
    VirtIODevice parent_obj;

    VirtIOCryptodevConf conf;
    const struct vcd_backend *backend;
    /* Feature bits that the backend's host lacks */
    uint64_t without;
    struct vcd_device *core;
    VirtIOCryptodevQueue *queues;
    AioContext **io_ctx;
    bool ioeventfd_started;
    /* Open files hold a blocker of migration, which the main loop sees to. */
    QEMUBH *hold_bh;
    QEMUBH *release_bh;
    Error *migration_blocker;
};

/* QEMU's crypto library */
extern const struct vcd_backend cryptodev_backend_qcrypto;

#endif /* HW_VIRTIO_CRYPTODEV_H */
