/*
 * virtio-cryptodevd: the device that it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdatomic.h>

#include "../core/vcd.h"
#include "queue.h"
#include "virtio_cryptodev.h"

/* One in a process; the queues have the length that the options say */
struct daemon {
    struct vcd_device *device;
    struct queue *queues;
    unsigned num_queues;
    const char *backend;
    struct virtio_cryptodev_config config;

    /* Counts, for statistics.c */
    atomic_ulong connections;
    atomic_ulong refused;       /* connections closed for what they sent */
    atomic_ulong messages;
    atomic_bool connected;
    /* When the main thread began what it does at the moment, ms; 0: nothing */
    atomic_ullong busy_since;
};

#endif /* DAEMON_H */
