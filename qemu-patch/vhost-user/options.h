/*
 * virtio-cryptodevd: its options
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "../core/vcd.h"

struct options {
    const char *socket;         /* a path, or NULL: */
    int fd;                     /* a socket that listens already */
    mode_t socket_mode;
    const char *metrics_socket; /* NULL for none */
    const char *backend;
    const char *path;           /* the node of the backend cryptodev */
    bool sandbox;
    struct vcd_config config;
};

/* What is wrong ends the program with one line and EX_USAGE */
void options_parse(struct options *options, int argc, char **argv);

#endif /* OPTIONS_H */
