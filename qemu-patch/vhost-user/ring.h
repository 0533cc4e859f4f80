/*
 * virtio-cryptodevd: whether a ring is where a ring can be
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef RING_H
#define RING_H

#include <stdbool.h>

#include <libvhost-user.h>

/*
 * What is wrong with a ring of @num at @addr, with guest memory as it is, or
 * NULL. libvhost-user looks at where the three parts start, and not at where
 * they end.
 */
const char *ring_fault(const VuDev *dev, unsigned num,
                       const struct vhost_vring_addr *addr);

/*
 * Whether a ring without fault has been used before: every answer of this
 * device has a length, and drivers start with zeroed rings.
 */
bool ring_is_old(const VuVirtq *vq);

#endif /* RING_H */
