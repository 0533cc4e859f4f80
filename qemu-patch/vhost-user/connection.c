/*
 * virtio-cryptodevd: a connection to a front end
 *
 * Messages are read here, piece by piece as they come, since libvhost-user
 * waits for the rest of one for ever, and asserts that it comes at once. It
 * gets whole and checked messages from memory, and replies into a socket whose
 * other end is here too, so that it does not wait for a front end that does
 * not read them. While it handles one, all queues are held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "connection.h"
#include "handover.h"
#include "lie.h"
#include "log.h"
#include "ring.h"

/* How long a message may wait for chains in flight, all together, ms */
#define SETTLE_MS 2000

/* How long a message may take to come, and a reply to be taken, ms */
#define MESSAGE_MS 10000

#define MAX_FDS VHOST_MEMORY_BASELINE_NREGIONS

struct connection {
    struct daemon *daemon;
    int fd;
    VuDev dev;
    int replies;            /* where libvhost-user's come out */
    bool ended;
    bool tell;              /* the guest has to be told that files are gone */

    VhostUserMsg in;
    size_t in_bytes;        /* so much of it is there */
    bool in_fds_lost;       /* more descriptors than a message can have */
    uint64_t half_since;    /* or a reply is not all gone; 0: neither */

    char out[sizeof(VhostUserMsg)];
    size_t out_start, out_end;
};

static struct connection *connection_of(VuDev *dev)
{
    return (struct connection *)((char *)dev -
                                 offsetof(struct connection, dev));
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* Ends it for what the front end has sent */
static void refuse(struct connection *connection, const char *what)
{
    if (connection->ended) {
        return;
    }
    connection->ended = true;
    connection->dev.broken = true;
    connection->daemon->refused++;
    log_line(LOG_WARNING, "the connection is closed; in message %d: %s",
             connection->in.request, what);
}

/*
 * All queues
 */

static void hold(struct connection *connection)
{
    for (unsigned i = 0; i < connection->daemon->num_queues; i++) {
        queue_hold(&connection->daemon->queues[i]);
    }
}

static void release(struct connection *connection)
{
    for (unsigned i = 0; i < connection->daemon->num_queues; i++) {
        queue_release(&connection->daemon->queues[i], &connection->dev);
    }
}

/* All within the time of one, in case that none gets done */
static void settle(struct connection *connection)
{
    uint64_t deadline = now_ms() + SETTLE_MS;

    for (unsigned i = 0; i < connection->daemon->num_queues; i++) {
        uint64_t now = now_ms();

        queue_settle(&connection->daemon->queues[i],
                     now < deadline ? deadline - now : 0);
    }
}

/*
 * What libvhost-user calls
 */

/* The message that is there already */
static bool read_msg(VuDev *dev, int sock, VhostUserMsg *message)
{
    (void)sock;
    *message = connection_of(dev)->in;
    return true;
}

static void dev_panic(VuDev *dev, const char *why)
{
    refuse(connection_of(dev), why ? why : "no memory");
}

/* Kicks go to the queues' threads */
static void no_set_watch(VuDev *dev, int fd, int condition, vu_watch_cb cb,
                         void *data)
{
    (void)dev;
    (void)fd;
    (void)condition;
    (void)cb;
    (void)data;
}

static void no_remove_watch(VuDev *dev, int fd)
{
    (void)dev;
    (void)fd;
}

static uint64_t get_features(VuDev *dev)
{
    uint64_t features = 1ULL << VIRTIO_F_VERSION_1 |
                        1ULL << VIRTIO_RING_F_INDIRECT_DESC |
                        1ULL << VIRTIO_RING_F_EVENT_IDX |
                        1ULL << VHOST_USER_F_PROTOCOL_FEATURES;

    return features | vcd_device_features(connection_of(dev)->daemon->device);
}

static uint64_t get_protocol_features(VuDev *dev)
{
    (void)dev;
    return 1ULL << VHOST_USER_PROTOCOL_F_MQ |
           1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK |
           1ULL << VHOST_USER_PROTOCOL_F_BACKEND_REQ |
           1ULL << VHOST_USER_PROTOCOL_F_CONFIG;
}

static int get_config(VuDev *dev, uint8_t *config, uint32_t length)
{
    const struct virtio_cryptodev_config *ours =
        &connection_of(dev)->daemon->config;

    memset(config, 0, length);
    memcpy(config, ours, length < sizeof(*ours) ? length : sizeof(*ours));
    return 0;
}

static void queue_set_started(VuDev *dev, int index, bool started)
{
    struct connection *connection = connection_of(dev);
    struct queue *queue = &connection->daemon->queues[index];

    if (started) {
        handover->started |= 1ULL << index;
        connection->tell |= !queue_start(queue, dev);
    } else {
        queue_stop(queue);
        handover->started &= ~(1ULL << index);
    }
}

static int reply_u64(VhostUserMsg *message, uint64_t value, int *do_reply)
{
    message->flags = 0;     /* libvhost-user sets those of a reply */
    message->size = sizeof(value);
    message->payload.u64 = value;
    *do_reply = 1;
    return 1;
}

static int set_vring_addr(struct connection *connection,
                          const VhostUserMsg *message)
{
    VuDev *dev = &connection->dev;
    struct vhost_vring_addr addr = message->payload.addr;
    struct queue *queue = &connection->daemon->queues[addr.index];
    const char *fault = ring_fault(dev, dev->vq[addr.index].vring.num, &addr);

    if (fault) {
        /* The guest's doing, not QEMU's: its queue won't start; that's all */
        queue_forget_ring(queue, fault);
        return 1;
    }
    queue->ring_fault = NULL;
    return 0;
}

/*
 * What is not left to libvhost-user: what must not get to it, and what it
 * would answer in another way than this device. Returns whether it is done.
 */
static int process_msg(VuDev *dev, VhostUserMsg *message, int *do_reply)
{
    struct connection *connection = connection_of(dev);

    switch (message->request) {
    case VHOST_USER_GET_FEATURES:
        return reply_u64(message, get_features(dev), do_reply);
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        return reply_u64(message, get_protocol_features(dev), do_reply);
    case VHOST_USER_SET_FEATURES:
        /* A legacy driver: queue_start() says so; libvhost-user would panic */
        dev->features = message->payload.u64;
        return 1;
    case VHOST_USER_SET_CONFIG:
        /* Nothing can be set; libvhost-user would panic */
        return message->flags & VHOST_USER_NEED_REPLY_MASK ?
               reply_u64(message, 1, do_reply) : 1;
    case VHOST_USER_SET_VRING_ADDR:
        return set_vring_addr(connection, message);
    case VHOST_USER_GET_VRING_BASE: {
        struct vhost_vring_state state = message->payload.state;

        queue_settle(&connection->daemon->queues[state.index], SETTLE_MS);
        return 0;
    }
    case VHOST_USER_SET_VRING_ENABLE: {
        struct vhost_vring_state state = message->payload.state;

        if (state.num == 0) {
            queue_settle(&connection->daemon->queues[state.index], SETTLE_MS);
        }
        return 0;
    }
    case VHOST_USER_SET_MEM_TABLE:
        settle(connection);
        return 0;
    default:
        return 0;
    }
}

/*
 * Telling the guest
 */

/*
 * By itself in place of vu_config_change_msg(), which waits for room in the
 * channel. Only to a front end that is started and has nothing to say: QEMU
 * 10.0 looks at the device without seeing whether there is one when this comes
 * just after it has stopped it.
 */
static void tell_guest(struct connection *connection)
{
    const VhostUserMsg message = {
        .request = VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
        .flags = 1,         /* the protocol's version */
    };
    struct pollfd pollfd = { .fd = connection->fd, .events = POLLIN };

    if (!connection->tell || handover->started == 0 ||
        connection->in_bytes > 0 || poll(&pollfd, 1, 0) != 0) {
        return;
    }
    connection->tell = false;
    if (connection->dev.backend_fd < 0 ||
        send(connection->dev.backend_fd, &message, VHOST_USER_HDR_SIZE,
             MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)VHOST_USER_HDR_SIZE) {
        log_line(LOG_WARNING, "the guest can't be told: its driver has to be "
                 "loaded anew");
    }
}

/*
 * Messages
 */

static void close_in_fds(struct connection *connection)
{
    for (int i = 0; i < connection->in.fd_num; i++) {
        close(connection->in.fds[i]);
    }
    connection->in.fd_num = 0;
}

/* What came with a piece: kept, as far as a message can have it */
static void take_fds(struct connection *connection, struct msghdr *header)
{
    struct cmsghdr *cmsg;

    for (cmsg = CMSG_FIRSTHDR(header); cmsg;
         cmsg = CMSG_NXTHDR(header, cmsg)) {
        size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
            if (connection->in.fd_num < MAX_FDS) {
                connection->in.fds[connection->in.fd_num++] = fd;
            } else {
                close(fd);
                connection->in_fds_lost = true;
            }
        }
    }
    connection->in_fds_lost |= !!(header->msg_flags & MSG_CTRUNC);
}

/* How many bytes the message has in all, as far as is known */
static size_t in_size(const struct connection *connection)
{
    return connection->in_bytes < VHOST_USER_HDR_SIZE ? VHOST_USER_HDR_SIZE :
           VHOST_USER_HDR_SIZE + connection->in.size;
}

/* Reads a piece of a message. Whether there is more to be had at once. */
static bool read_piece(struct connection *connection)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = {
        (char *)&connection->in + connection->in_bytes,
        in_size(connection) - connection->in_bytes,
    };
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t got;

    got = recvmsg(connection->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            connection->ended = true;
        }
        return false;
    }
    if (got == 0) {
        connection->ended = true;
        return false;
    }
    take_fds(connection, &header);
    connection->in_bytes += got;
    if (connection->in_bytes >= VHOST_USER_HDR_SIZE &&
        connection->in.size > sizeof(connection->in.payload)) {
        refuse(connection, "a payload that is too big");
        return false;
    }
    return true;
}

static bool in_complete(const struct connection *connection)
{
    return connection->in_bytes >= VHOST_USER_HDR_SIZE &&
           connection->in_bytes == in_size(connection);
}

/* What it has to do with beyond libvhost-user */
static void after(struct connection *connection)
{
    VuDev *dev = &connection->dev;

    switch (connection->in.request) {
    case VHOST_USER_SET_MEM_TABLE:
        for (unsigned i = 0; i < connection->daemon->num_queues; i++) {
            VuVirtq *vq = &dev->vq[i];

            if (vq->vring.desc && ring_fault(dev, vq->vring.num, &vq->vra)) {
                refuse(connection, "memory without a ring that is in use");
            }
        }
        break;
    case VHOST_USER_SET_BACKEND_REQ_FD:
        handover_keep(connection->fd, dev->backend_fd);
        break;
    }
    handover->features = dev->features;
    handover->protocol_features = dev->protocol_features;
}

/* Fetches libvhost-user's reply, if there is one */
static void fetch_reply(struct connection *connection)
{
    ssize_t got = recv(connection->replies, connection->out,
                       sizeof(connection->out), MSG_DONTWAIT);

    connection->out_start = 0;
    connection->out_end = got > 0 ? got : 0;
}

static void dispatch(struct connection *connection)
{
    const char *fault = connection->in_fds_lost ?
                        "too many descriptors" :
                        check_message(&connection->dev, &connection->in);

    connection->daemon->messages++;
    if (fault) {
        refuse(connection, fault);
        return;
    }
    connection->daemon->busy_since = now_ms();
    hold(connection);
    vu_dispatch(&connection->dev);
    connection->in.fd_num = 0;      /* they are libvhost-user's now */
    if (!connection->ended) {
        after(connection);
    }
    release(connection);
    connection->daemon->busy_since = 0;
    connection->in_bytes = 0;
    fetch_reply(connection);
}

/* Sends what it can of the reply. Whether all of it is gone. */
static bool flush(struct connection *connection)
{
    while (connection->out_start < connection->out_end) {
        ssize_t sent = send(connection->fd,
                            connection->out + connection->out_start,
                            connection->out_end - connection->out_start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            connection->ended |= errno != EAGAIN;
            return false;
        }
        connection->out_start += sent;
    }
    return true;
}

int connection_fd(const struct connection *connection)
{
    return connection->fd;
}

short connection_events(const struct connection *connection)
{
    return connection->out_start < connection->out_end ? POLLOUT : POLLIN;
}

int connection_timeout(const struct connection *connection)
{
    uint64_t waited;

    if (connection->half_since == 0) {
        return LIE_IDLE_MS;
    }
    waited = now_ms() - connection->half_since;
    return waited < MESSAGE_MS ? (int)(MESSAGE_MS - waited) : 0;
}

bool connection_run(struct connection *connection)
{
    if (connection_timeout(connection) == 0) {
        refuse(connection, "half of it, and then nothing");
    }
    handover->busy = 1;
    if (!connection->ended && flush(connection) && read_piece(connection)) {
        if (in_complete(connection)) {
            dispatch(connection);
            if (!connection->ended) {
                flush(connection);
            }
        }
    }
    if (!connection->ended && connection->in_bytes == 0 &&
        connection->out_start == connection->out_end) {
        handover->busy = 0;
        connection->half_since = 0;
        connection->tell |= lie_instance(&connection->daemon->config);
        tell_guest(connection);
    } else if (connection->half_since == 0) {
        connection->half_since = now_ms();
    }
    return !connection->ended;
}

/*
 * Begin and end
 */

struct connection *connection_new(struct daemon *daemon, int fd, int channel)
{
    static const VuDevIface iface = {
        .get_features = get_features,
        .get_protocol_features = get_protocol_features,
        .process_msg = process_msg,
        .queue_set_started = queue_set_started,
        .get_config = get_config,
    };
    struct connection *connection = calloc(1, sizeof(*connection));
    int pair[2];

    if (!connection ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        free(connection);
        close(fd);
        return NULL;
    }
    connection->daemon = daemon;
    connection->fd = fd;
    connection->replies = pair[0];
    if (!vu_init(&connection->dev, daemon->num_queues, pair[1], dev_panic,
                 read_msg, no_set_watch, no_remove_watch, &iface)) {
        close(pair[0]);
        close(pair[1]);
        close(fd);
        free(connection);
        return NULL;
    }
    if (channel >= 0) {
        connection->dev.features = handover->features;
        connection->dev.protocol_features = handover->protocol_features;
        connection->dev.backend_fd = channel;
        connection->tell = true;
    }
    hold(connection);
    for (unsigned i = 0; i < daemon->num_queues; i++) {
        queue_attach(&daemon->queues[i], &connection->dev, channel >= 0);
    }
    release(connection);
    daemon->connections++;
    daemon->connected = true;
    tell_guest(connection);
    return connection;
}

void connection_free(struct connection *connection)
{
    struct daemon *daemon = connection->daemon;

    daemon->busy_since = now_ms();
    hold(connection);
    settle(connection);
    for (unsigned i = 0; i < daemon->num_queues; i++) {
        queue_detach(&daemon->queues[i]);
    }
    release(connection);
    daemon->busy_since = 0;
    daemon->connected = false;

    close_in_fds(connection);
    vu_deinit(&connection->dev);
    close(connection->replies);
    close(connection->fd);
    free(connection);
}
