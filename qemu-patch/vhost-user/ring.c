/*
 * virtio-cryptodevd: whether a ring is where a ring can be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "ring.h"

/* Whether @bytes at QEMU's @address lie within one region */
static bool is_mapped(const VuDev *dev, uint64_t address, uint64_t bytes)
{
    for (unsigned i = 0; i < dev->nregions; i++) {
        const VuDevRegion *region = &dev->regions[i];

        /* Regions neither overlap nor wrap: the door has seen to it */
        if (address >= region->qva && address - region->qva < region->size) {
            return region->size - (address - region->qva) >= bytes;
        }
    }
    return false;
}

const char *ring_fault(const VuDev *dev, unsigned num,
                       const struct vhost_vring_addr *addr)
{
    if (num == 0 || num > VIRTQUEUE_MAX_SIZE || (num & (num - 1)) != 0) {
        return "its size is no power of two from 1 to 1024";
    }
    if (addr->desc_user_addr % 16 || addr->avail_user_addr % 2 ||
        addr->used_user_addr % 4) {
        return "its parts are not aligned";
    }
    /* The last two bytes of both are there with EVENT_IDX only; so be it */
    if (!is_mapped(dev, addr->desc_user_addr,
                   sizeof(struct vring_desc) * num) ||
        !is_mapped(dev, addr->avail_user_addr,
                   sizeof(struct vring_avail) + 2 * num + 2) ||
        !is_mapped(dev, addr->used_user_addr,
                   sizeof(struct vring_used) +
                   sizeof(struct vring_used_elem) * num + 2)) {
        return "its parts do not lie within guest memory";
    }
    return NULL;
}

bool ring_is_old(const VuVirtq *vq)
{
    for (unsigned i = 0; i < vq->vring.num; i++) {
        if (vq->vring.used->ring[i].len != 0) {
            return true;
        }
    }
    return false;
}
