/*
 * virtio-cryptodevd: the door
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CHECK_H
#define CHECK_H

#include <libvhost-user.h>

/*
 * What is wrong with a message, or NULL. A front end that sends one with
 * something wrong is no longer listened to. What the guest decides about, the
 * size of a ring and where it lies, is not looked at here: see ring.h.
 */
const char *check_message(const VuDev *dev, const VhostUserMsg *message);

#endif /* CHECK_H */
