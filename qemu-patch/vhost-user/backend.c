/*
 * virtio-cryptodevd: which backend it takes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "../backends/backends.h"
#include "backend.h"
#include "log.h"
#include "virtio_cryptodev.h"

static const struct vcd_backend *use_libcrypto(const char *why)
{
    uint64_t lacking = vcd_libcrypto_init();
    char names[256] = "";
    size_t length = 0;

    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        const char *name = vcd_algorithms[i].name;

        if (lacking >> i & 1 && length + strlen(name) + 2 < sizeof(names)) {
            length += snprintf(names + length, sizeof(names) - length,
                               "%s%s", length ? " " : "", name);
        }
    }
    log_line(LOG_INFO, "backend libcrypto: %s%s%s", why,
             length ? "; the library lacks " : "", names);
    return &vcd_backend_libcrypto;
}

const struct vcd_backend *backend_choose(struct options *options)
{
    uint64_t *without = &options->config.without;
    int error;
    char why[256];

    if (strcmp(options->backend, "null") == 0) {
        log_line(LOG_WARNING, "backend null: as --backend says. IT DOES NOT "
                 "ENCRYPT: what the guest gets back is what it sent. For "
                 "measuring only");
        return &vcd_backend_null;
    }
    if (strcmp(options->backend, "libcrypto") == 0) {
        return use_libcrypto("as --backend says");
    }

    error = vcd_cryptodev_probe(options->path, without);
    if (error == 0) {
        log_line(LOG_INFO, "backend cryptodev: %s makes sessions%s%s",
                 options->path,
                 *without >> VIRTIO_CRYPTODEV_F_AEAD & 1 ?
                 ", without AEAD" : "",
                 *without >> VIRTIO_CRYPTODEV_F_CPHASH & 1 ?
                 ", without hash copies" : "");
        return &vcd_backend_cryptodev;
    }
    if (strcmp(options->backend, "cryptodev") == 0) {
        die(EX_UNAVAILABLE, "--backend cryptodev: %s: %s", options->path,
            strerror(-error));
    }
    snprintf(why, sizeof(why), "%s: %s", options->path, strerror(-error));
    return use_libcrypto(why);
}
