/*
 * virtio-cryptodevd: a connection to a front end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>

#include "daemon.h"

struct connection;

/*
 * Serves @fd, whose it becomes. @channel: -1, or that of an earlier process's
 * connection, which this one is (see handover.h). NULL for want of memory.
 */
struct connection *connection_new(struct daemon *daemon, int fd, int channel);

/* What to poll(2), and for what */
int connection_fd(const struct connection *connection);
short connection_events(const struct connection *connection);
/* For how long, ms: until connection_run() ends it; -1: for ever */
int connection_timeout(const struct connection *connection);
/* Goes on, without waiting for the front end. False when it has ended. */
bool connection_run(struct connection *connection);

/* Has all in flight answered, ends what was open, and closes it */
void connection_free(struct connection *connection);

#endif /* CONNECTION_H */
