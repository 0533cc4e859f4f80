/*
 * virtio cryptodev: a host's /dev/crypto for tests, behind ioctl(2)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_TEST_FAKE_HOST_H
#define VCD_TEST_FAKE_HOST_H

/* A file of this name is the node; others are left to the kernel. */
extern char fake_host_path[];

enum fake_host_kind {
    FAKE_HOST_GOOD,
    FAKE_HOST_LIES,         /* every call succeeds, none does anything */
    FAKE_HOST_HASHES_ONLY,  /* ENOENT for a cipher */
    FAKE_HOST_REFUSES,      /* EINVAL for every session */
    FAKE_HOST_ODD_ERRNO,    /* one that no guest knows */
};

void fake_host_start(enum fake_host_kind kind);
void fake_host_stop(void);
unsigned fake_host_sessions(void);

#endif /* VCD_TEST_FAKE_HOST_H */
