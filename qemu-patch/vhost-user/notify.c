/*
 * virtio-cryptodevd: what it tells the service manager, as sd_notify(3) has it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"
#include "notify.h"

static int from = -1;
static struct sockaddr_un manager = { .sun_family = AF_UNIX };
static socklen_t manager_bytes;

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length;

    if (!path) {
        return;
    }
    length = strlen(path);
    if (length < 2 || length >= sizeof(manager.sun_path)) {
        log_line(LOG_WARNING, "NOTIFY_SOCKET: not a path of 2 to %zu bytes",
                 sizeof(manager.sun_path) - 1);
        return;
    }
    memcpy(manager.sun_path, path, length);
    if (*path == '@') {
        manager.sun_path[0] = '\0';     /* an abstract name */
    }
    manager_bytes = offsetof(struct sockaddr_un, sun_path) + length;
    /* Not connected, so that a manager that starts anew is found again */
    from = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

bool notify_wanted(void)
{
    return from >= 0;
}

void notify_send(const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {
        .header = {
            .cmsg_len = CMSG_LEN(sizeof(int)),
            .cmsg_level = SOL_SOCKET,
            .cmsg_type = SCM_RIGHTS,
        },
    };
    struct iovec iov = { (char *)text, strlen(text) };
    struct msghdr message = {
        .msg_name = &manager,
        .msg_namelen = manager_bytes,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };
    ssize_t sent;

    if (from < 0) {
        return;
    }
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.space);
    }
    do {
        sent = sendmsg(from, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        log_line(LOG_WARNING, "the service manager can't be told: %s",
                 strerror(errno));
    }
}
