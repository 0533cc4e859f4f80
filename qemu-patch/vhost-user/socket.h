/*
 * virtio-cryptodevd: sockets with a path, on which it listens
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SOCKET_H
#define SOCKET_H

#include <sys/types.h>

/*
 * Listens at @path. A socket that nobody listens on is replaced; what else
 * keeps it from doing so ends the program with EX_CANTCREAT.
 */
int socket_listen(const char *path, mode_t mode);

/* Whether @fd is a unix stream socket */
int socket_is_stream(int fd);

#endif /* SOCKET_H */
