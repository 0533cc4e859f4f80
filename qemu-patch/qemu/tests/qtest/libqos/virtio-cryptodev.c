/*
 * libqos driver: virtio-cryptodev-pci
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "qgraph.h"
#include "virtio-cryptodev.h"

static void *cryptodev_pci_get_driver(void *object, const char *interface)
{
    QVirtioCryptodevPCI *pci = object;

    if (!g_strcmp0(interface, "pci-device")) {
        return pci->pci_vdev.pdev;
    }
    if (!g_strcmp0(interface, "virtio-cryptodev")) {
        return &pci->cryptodev;
    }
    if (!g_strcmp0(interface, "virtio")) {
        return pci->cryptodev.vdev;
    }
    fprintf(stderr, "%s not present in virtio-cryptodev-pci\n", interface);
    g_assert_not_reached();
}

static void *cryptodev_pci_create(void *pci_bus, QGuestAllocator *t_alloc,
                                  void *addr)
{
    QVirtioCryptodevPCI *pci = g_new0(QVirtioCryptodevPCI, 1);

    virtio_pci_init(&pci->pci_vdev, pci_bus, addr);
    pci->cryptodev.vdev = &pci->pci_vdev.vdev;
    pci->pci_vdev.obj.get_driver = cryptodev_pci_get_driver;
    return &pci->pci_vdev.obj;
}

static void virtio_cryptodev_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "addr=04.0,backend=builtin,ioeventfd=off,id=cd0",
    };

    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-cryptodev-pci", cryptodev_pci_create);
    qos_node_consumes("virtio-cryptodev-pci", "pci-bus", &opts);
    qos_node_produces("virtio-cryptodev-pci", "pci-device");
    qos_node_produces("virtio-cryptodev-pci", "virtio");
    qos_node_produces("virtio-cryptodev-pci", "virtio-cryptodev");
}

libqos_init(virtio_cryptodev_register_nodes);
