/*
 * virtio cryptodev: the backends that need no QEMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_BACKENDS_H
#define VCD_BACKENDS_H

#include "../core/vcd.h"

/* A node of the host's /dev/crypto; opaque is its path, a string */
extern const struct vcd_backend vcd_backend_cryptodev;
/*
 * 0 when the node at @path makes sessions, as a node of /dev/crypto does and
 * nothing else that can be opened; else a negative errno, -ETIMEDOUT when it
 * does not answer. @without: the feature bits of what it lacks
 */
int vcd_cryptodev_probe(const char *path, uint64_t *without);

/* OpenSSL's EVP; opaque is not used */
extern const struct vcd_backend vcd_backend_libcrypto;
/*
 * To be called once before. Returns a bit set of what the library lacks of
 * vcd_algorithms, by index, e.g. for want of its legacy provider
 */
uint64_t vcd_libcrypto_init(void);

/* Copies and calls it encryption, to measure the path; opaque is not used */
extern const struct vcd_backend vcd_backend_null;

#endif /* VCD_BACKENDS_H */
