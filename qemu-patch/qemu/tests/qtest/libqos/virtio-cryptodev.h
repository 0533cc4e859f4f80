/*
 * libqos driver: virtio-cryptodev-pci
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_VIRTIO_CRYPTODEV_H
#define TESTS_LIBQOS_VIRTIO_CRYPTODEV_H

#include "qgraph.h"
#include "virtio.h"
#include "virtio-pci.h"

typedef struct QVirtioCryptodev {
    QVirtioDevice *vdev;
} QVirtioCryptodev;

typedef struct QVirtioCryptodevPCI {
    QVirtioPCIDevice pci_vdev;
    QVirtioCryptodev cryptodev;
} QVirtioCryptodevPCI;

#endif
