/*
 * virtio-cryptodevd: a connection that outlives the process
 *
 * Stock QEMU does not connect again: a connection that ends takes the virtual
 * machine's device with it. So the service manager keeps copies of what makes
 * up a connection (sd_pid_notify_with_fds(3), FDSTORE=1), and a process that
 * is started in place of one that died goes on with it. What was open is lost,
 * and the guest is told.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

/* In memory that is kept too; zeroed while nothing is */
struct handover_state {
    uint64_t magic;
    uint64_t features;
    uint64_t protocol_features;
    /* A bit for each queue that the front end has started */
    uint64_t started;
    /* In the midst of a message: nobody could go on from there */
    uint32_t busy;
};

/* Of the connection, written in place; what a process finds at its start */
extern struct handover_state *handover;

/* Makes handover good to write to, also where nobody is to keep it */
void handover_init(void);

/*
 * Whether there is a connection to go on with, and its @socket and @channel.
 * Those of one that there's no going on with are closed.
 */
bool handover_take(int *socket, int *channel);

/* Has a connection kept from here on */
void handover_keep(int socket, int channel);
/* And not any more */
void handover_forget(void);

#endif /* HANDOVER_H */
