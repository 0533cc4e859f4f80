/*
 * virtio cryptodev device, PCI binding
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-pci.h"
#include "hw/virtio/virtio-cryptodev.h"
#include "hw/qdev-properties.h"
#include "qapi/error.h"
#include "qemu/module.h"

#define TYPE_VIRTIO_CRYPTODEV_PCI "virtio-cryptodev-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOCryptodevPCI, VIRTIO_CRYPTODEV_PCI)

struct VirtIOCryptodevPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOCryptodev vdev;
};

static const Property virtio_cryptodev_pci_properties[] = {
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors, 2),
};

static void virtio_cryptodev_pci_realize(VirtIOPCIProxy *vpci_dev, Error **errp)
{
    VirtIOCryptodevPCI *pci = VIRTIO_CRYPTODEV_PCI(vpci_dev);

    virtio_pci_force_virtio_1(vpci_dev);
    qdev_realize(DEVICE(&pci->vdev), BUS(&vpci_dev->bus), errp);
}

static void virtio_cryptodev_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(klass);

    k->realize = virtio_cryptodev_pci_realize;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, virtio_cryptodev_pci_properties);
    pcidev_k->class_id = PCI_CLASS_OTHERS;
}

static void virtio_cryptodev_pci_init(Object *obj)
{
    VirtIOCryptodevPCI *pci = VIRTIO_CRYPTODEV_PCI(obj);

    virtio_instance_init_common(obj, &pci->vdev, sizeof(pci->vdev),
                                TYPE_VIRTIO_CRYPTODEV);
}

static const VirtioPCIDeviceTypeInfo virtio_cryptodev_pci_info = {
    .base_name = TYPE_VIRTIO_CRYPTODEV_PCI,
    .generic_name = "virtio-cryptodev-pci",
    .instance_size = sizeof(VirtIOCryptodevPCI),
    .instance_init = virtio_cryptodev_pci_init,
    .class_init = virtio_cryptodev_pci_class_init,
};

static void virtio_cryptodev_pci_register(void)
{
    virtio_pci_types_register(&virtio_cryptodev_pci_info);
}

type_init(virtio_cryptodev_pci_register)
