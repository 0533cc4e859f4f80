/*
 * virtio-cryptodevd: a connection that outlives the process
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "handover.h"
#include "log.h"
#include "notify.h"
#include "socket.h"

#define MAGIC           0x31766f6864636476ULL   /* "vdcdhov1" */
#define FIRST_FD        3                       /* SD_LISTEN_FDS_START */

#define NAME_SOCKET     "connection"
#define NAME_CHANNEL    "channel"
#define NAME_STATE      "state"

struct handover_state *handover;

static int state_fd = -1;
static bool kept;

static void map_state(void)
{
    handover = mmap(NULL, sizeof(*handover), PROT_READ | PROT_WRITE,
                    MAP_SHARED, state_fd, 0);
    if (handover == MAP_FAILED) {
        die(EX_OSERR, "shared memory: %s", strerror(errno));
    }
}

void handover_init(void)
{
    if (handover) {
        return;
    }
    state_fd = memfd_create(PROGRAM, MFD_CLOEXEC);
    if (state_fd < 0 || ftruncate(state_fd, sizeof(*handover)) < 0) {
        die(EX_OSERR, "shared memory: %s", strerror(errno));
    }
    map_state();
    handover->magic = MAGIC;
}

/* The descriptor of those passed that has @name, or -1; it is taken */
static int passed_fd(char **names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (names[i] && strcmp(names[i], name) == 0) {
            names[i] = NULL;
            fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
            return FIRST_FD + i;
        }
    }
    return -1;
}

/* How many descriptors were passed to this process */
static int passed_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

    return pid && fds && atoi(pid) == getpid() ? atoi(fds) : 0;
}

static bool state_is_good(void)
{
    struct stat st;

    if (fstat(state_fd, &st) < 0 || st.st_size < (off_t)sizeof(*handover)) {
        return false;
    }
    map_state();
    return handover->magic == MAGIC && !handover->busy;
}

bool handover_take(int *socket, int *channel)
{
    char *list = getenv("LISTEN_FDNAMES");
    enum { MAX = 16 };
    char *names[MAX] = { NULL };
    int count = 0, passed = passed_count();

    if (!list || passed <= 0) {
        return false;
    }
    list = strdup(list);
    for (char *rest = list, *name;
         rest && count < passed && count < MAX; count++) {
        name = strsep(&rest, ":");
        names[count] = name;
    }
    *socket = passed_fd(names, count, NAME_SOCKET);
    *channel = passed_fd(names, count, NAME_CHANNEL);
    state_fd = passed_fd(names, count, NAME_STATE);
    free(list);
    if (*socket < 0 && *channel < 0 && state_fd < 0) {
        return false;
    }

    kept = true;
    if (*socket >= 0 && *channel >= 0 && state_fd >= 0 &&
        socket_is_stream(*socket) && socket_is_stream(*channel) &&
        state_is_good()) {
        return true;
    }
    log_line(LOG_WARNING, "there is no going on with the connection of an "
             "earlier process; it is closed");
    close(*socket);
    close(*channel);
    close(state_fd);
    if (handover) {
        munmap(handover, sizeof(*handover));
        handover = NULL;
    }
    handover_forget();
    return false;
}

void handover_keep(int socket, int channel)
{
    if (kept) {
        /* Only the channel can be another one */
        notify_send("FDSTOREREMOVE=1\nFDNAME=" NAME_CHANNEL, -1);
        notify_send("FDSTORE=1\nFDNAME=" NAME_CHANNEL, channel);
        return;
    }
    kept = notify_wanted();
    notify_send("FDSTORE=1\nFDNAME=" NAME_STATE, state_fd);
    notify_send("FDSTORE=1\nFDNAME=" NAME_CHANNEL, channel);
    notify_send("FDSTORE=1\nFDNAME=" NAME_SOCKET, socket);
}

void handover_forget(void)
{
    if (handover) {
        *handover = (struct handover_state) { .magic = MAGIC };
    }
    if (kept) {
        notify_send("FDSTOREREMOVE=1\nFDNAME=" NAME_SOCKET, -1);
        notify_send("FDSTOREREMOVE=1\nFDNAME=" NAME_CHANNEL, -1);
        notify_send("FDSTOREREMOVE=1\nFDNAME=" NAME_STATE, -1);
        kept = false;
    }
}
