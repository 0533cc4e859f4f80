/*
 * virtio-cryptodevd: what it tells the service manager, as sd_notify(3) has it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdbool.h>

/* To $NOTIFY_SOCKET; the sandbox would not let it make a socket later */
void notify_open(void);
/* Whether there is somebody to tell */
bool notify_wanted(void);
/* @text of lines, with a copy of @fd unless that is -1 */
void notify_send(const char *text, int fd);

#endif /* NOTIFY_H */
