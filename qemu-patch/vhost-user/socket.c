/*
 * virtio-cryptodevd: sockets with a path, on which it listens
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "log.h"
#include "socket.h"

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Whether a socket at @address was left behind by somebody who is gone */
static int is_stale(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, refused;

    if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return 0;
    }
    fd = unix_socket();
    if (fd < 0) {
        return 0;
    }
    refused = connect(fd, (const struct sockaddr *)address,
                      sizeof(*address)) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

int socket_listen(const char *path, mode_t mode)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    mode_t mask;
    int fd, bound;

    if (*path == '\0' || strlen(path) >= sizeof(address.sun_path)) {
        die(EX_CANTCREAT, "%s: a socket's path has 1 to %zu characters", path,
            sizeof(address.sun_path) - 1);
    }
    strcpy(address.sun_path, path);

    fd = unix_socket();
    if (fd < 0) {
        die(EX_CANTCREAT, "%s: %s", path, strerror(errno));
    }
    /* From the first moment on, so not by a chmod */
    mask = umask(~mode & 0777);
    bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
    if (bound < 0 && errno == EADDRINUSE && is_stale(&address)) {
        unlink(path);
        bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
    }
    umask(mask);
    if (bound < 0 && errno == EADDRINUSE) {
        die(EX_CANTCREAT, "%s: is there already, and somebody listens on it, "
            "or it is no socket", path);
    }
    if (bound < 0 || listen(fd, 8) < 0) {
        die(EX_CANTCREAT, "%s: %s", path, strerror(errno));
    }
    return fd;
}

int socket_is_stream(int fd)
{
    int domain, type;
    socklen_t size = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           domain == AF_UNIX && type == SOCK_STREAM;
}
