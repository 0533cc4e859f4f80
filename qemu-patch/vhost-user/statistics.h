/*
 * virtio-cryptodevd: numbers for whoever watches it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef STATISTICS_H
#define STATISTICS_H

#include "daemon.h"

/* Answers on @fd, a listening socket, in a thread of its own; 0 or an errno */
int statistics_start(struct daemon *daemon, int fd);

#endif /* STATISTICS_H */
