/*
 * virtio-cryptodevd: the door
 *
 * libvhost-user trusts its front end: it indexes arrays with what it is sent,
 * writes to whatever descriptor comes in, and dies where a message is none. So
 * no message gets to it but those that stock QEMU sends, looking as QEMU sends
 * them. Lengths have been seen to before (see connection.c), and files can
 * still shrink later (see main.c, SIGBUS).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "check.h"
#include "socket.h"

/* Of the whole header; version 1 */
#define FLAGS_KNOWN (VHOST_USER_VERSION_MASK | VHOST_USER_REPLY_MASK | \
                     VHOST_USER_NEED_REPLY_MASK)
#define PAGE 4096

/* A message's payload: its size, and what else there is to look at */
enum kind {
    REFUSED,
    EMPTY,
    CHANNEL,        /* empty, with one descriptor */
    U64,
    STATE,          /* struct vhost_vring_state */
    ADDR,           /* struct vhost_vring_addr */
    FILE_OF_RING,   /* a u64, and most times a descriptor */
    MEMORY,
    CONFIG,
};

static const enum kind kinds[VHOST_USER_MAX] = {
    [VHOST_USER_GET_FEATURES] = EMPTY,
    [VHOST_USER_SET_FEATURES] = U64,
    [VHOST_USER_SET_OWNER] = EMPTY,
    [VHOST_USER_SET_MEM_TABLE] = MEMORY,
    [VHOST_USER_SET_VRING_NUM] = STATE,
    [VHOST_USER_SET_VRING_ADDR] = ADDR,
    [VHOST_USER_SET_VRING_BASE] = STATE,
    [VHOST_USER_GET_VRING_BASE] = STATE,
    [VHOST_USER_SET_VRING_KICK] = FILE_OF_RING,
    [VHOST_USER_SET_VRING_CALL] = FILE_OF_RING,
    [VHOST_USER_SET_VRING_ERR] = FILE_OF_RING,
    [VHOST_USER_GET_PROTOCOL_FEATURES] = EMPTY,
    [VHOST_USER_SET_PROTOCOL_FEATURES] = U64,
    [VHOST_USER_GET_QUEUE_NUM] = EMPTY,
    [VHOST_USER_SET_VRING_ENABLE] = STATE,
    [VHOST_USER_SET_BACKEND_REQ_FD] = CHANNEL,
    [VHOST_USER_GET_CONFIG] = CONFIG,
    [VHOST_USER_SET_CONFIG] = CONFIG,
};

static const char bad_size[] = "a payload of the wrong size";
static const char bad_fds[] = "the wrong number of descriptors";
static const char no_queue[] =
    "a queue that is not there (is num_vqs greater than --num-queues?)";
static const char is_started[] = "a ring to be changed that is in use";

static const char *check_plain(const VhostUserMsg *message, uint32_t size)
{
    return message->size != size ? bad_size :
           message->fd_num != 0 ? bad_fds : NULL;
}

static const char *check_features(const VuDev *dev, uint64_t features)
{
    return features & ~dev->iface->get_features((VuDev *)dev) ?
           "features that were not offered" : NULL;
}

static const char *check_protocol_features(const VuDev *dev, uint64_t features)
{
    return features & ~dev->iface->get_protocol_features((VuDev *)dev) ?
           "protocol features that were not offered" : NULL;
}

static const char *check_state(const VuDev *dev, int request,
                               const struct vhost_vring_state *state)
{
    if (state->index >= dev->max_queues) {
        return no_queue;
    }
    switch (request) {
    case VHOST_USER_SET_VRING_BASE:
        if (state->num > UINT16_MAX) {
            return "a base beyond 65,535";
        }
        /* fall through */
    case VHOST_USER_SET_VRING_NUM:
        return dev->vq[state->index].started ? is_started : NULL;
    case VHOST_USER_SET_VRING_ENABLE:
        return state->num > 1 ? "a ring neither enabled nor disabled" : NULL;
    default:
        return NULL;
    }
}

static const char *check_addr(const VuDev *dev,
                              const struct vhost_vring_addr *addr)
{
    return addr->index >= dev->max_queues ? no_queue :
           dev->vq[addr->index].started ? is_started :
           addr->flags != 0 ? "a ring to be logged" : NULL;
}

/*
 * Some file without a name: an eventfd, or something that takes no more harm
 * from being written 8 bytes. It is not to be waited for in any case; who
 * unsets that again keeps nobody but his own device.
 */
static bool is_eventfd(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0 && flags >= 0 &&
           fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static const char *check_file(const VuDev *dev, const VhostUserMsg *message)
{
    uint64_t value = message->payload.u64;
    unsigned index = value & VHOST_USER_VRING_IDX_MASK;
    bool none = value & VHOST_USER_VRING_NOFD_MASK;
    bool kick = message->request == VHOST_USER_SET_VRING_KICK;

    if (message->size != sizeof(value)) {
        return bad_size;
    }
    if (message->fd_num != !none) {
        return bad_fds;
    }
    if (value & ~(uint64_t)(VHOST_USER_VRING_IDX_MASK |
                            VHOST_USER_VRING_NOFD_MASK)) {
        return "unknown flags of a ring's descriptor";
    }
    if (index >= dev->max_queues) {
        return no_queue;
    }
    if (kick && dev->vq[index].started) {
        return is_started;
    }
    if (kick && none) {
        return "a ring without kicks";
    }
    return none || is_eventfd(message->fds[0]) ? NULL :
           "a ring's descriptor that is no eventfd";
}

/* Whether @bytes from @start on are whole pages, and do not wrap */
static bool is_range(uint64_t start, uint64_t bytes)
{
    return bytes != 0 && start % PAGE == 0 && bytes % PAGE == 0 &&
           start <= UINT64_MAX - bytes;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static const char *check_region(const VhostUserMemoryRegion *region, int fd)
{
    struct stat st;
    struct statfs fs;

    if (!is_range(region->guest_phys_addr, region->memory_size) ||
        !is_range(region->userspace_addr, region->memory_size) ||
        !is_range(region->mmap_offset, region->memory_size)) {
        return "a region of memory of no sensible place or size";
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return "a region of memory that is no file";
    }
    /* Others may be somebody's who never answers, and hold us up for ever */
    if (fstatfs(fd, &fs) < 0 ||
        (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)) {
        return "a region of memory on a disk or elsewhere: "
               "memory-backend-memfd, /dev/shm and huge pages are good";
    }
    if (region->mmap_offset + region->memory_size > (uint64_t)st.st_size) {
        return "a region of memory beyond its file's end";
    }
    return NULL;
}

static const char *check_memory(const VhostUserMsg *message)
{
    VhostUserMemory memory = message->payload.memory;
    const VhostUserMemoryRegion *regions = memory.regions;

    if (message->size < offsetof(VhostUserMemory, regions) ||
        memory.nregions == 0 ||
        memory.nregions > VHOST_MEMORY_BASELINE_NREGIONS ||
        message->size != offsetof(VhostUserMemory, regions) +
                         memory.nregions * sizeof(*regions)) {
        return bad_size;
    }
    if ((unsigned)message->fd_num != memory.nregions) {
        return bad_fds;
    }
    for (unsigned i = 0; i < memory.nregions; i++) {
        const char *fault = check_region(&regions[i], message->fds[i]);

        if (fault) {
            return fault;
        }
        for (unsigned j = 0; j < i; j++) {
            if (overlap(regions[i].guest_phys_addr, regions[i].memory_size,
                        regions[j].guest_phys_addr, regions[j].memory_size) ||
                overlap(regions[i].userspace_addr, regions[i].memory_size,
                        regions[j].userspace_addr, regions[j].memory_size)) {
                return "regions of memory that overlap";
            }
        }
    }
    return NULL;
}

static const char *check_config(const VhostUserMsg *message)
{
    VhostUserConfig config = message->payload.config;

    if (message->size < VHOST_USER_CONFIG_HDR_SIZE ||
        config.size > VHOST_USER_MAX_CONFIG_SIZE ||
        message->size != VHOST_USER_CONFIG_HDR_SIZE + config.size) {
        return bad_size;
    }
    return message->fd_num != 0 ? bad_fds :
           config.offset != 0 ? "a part of the configuration space" : NULL;
}

const char *check_message(const VuDev *dev, const VhostUserMsg *message)
{
    unsigned request = message->request;
    const char *fault;

    if ((message->flags & VHOST_USER_VERSION_MASK) != 1 ||
        message->flags & VHOST_USER_REPLY_MASK ||
        message->flags & ~FLAGS_KNOWN) {
        return "flags that no request has";
    }
    switch (request < VHOST_USER_MAX ? kinds[request] : REFUSED) {
    case EMPTY:
        return check_plain(message, 0);
    case CHANNEL:
        return message->size != 0 ? bad_size :
               message->fd_num != 1 ? bad_fds :
               /* Each would be handed to the service manager. */
               dev->backend_fd >= 0 ? "a second channel" :
               socket_is_stream(message->fds[0]) ? NULL :
               "a channel that is no socket";
    case U64:
        fault = check_plain(message, sizeof(uint64_t));
        return fault ? fault :
               request == VHOST_USER_SET_FEATURES ?
               check_features(dev, message->payload.u64) :
               check_protocol_features(dev, message->payload.u64);
    case STATE: {
        struct vhost_vring_state state = message->payload.state;

        fault = check_plain(message, sizeof(state));
        return fault ? fault : check_state(dev, request, &state);
    }
    case ADDR: {
        struct vhost_vring_addr addr = message->payload.addr;

        fault = check_plain(message, sizeof(addr));
        return fault ? fault : check_addr(dev, &addr);
    }
    case FILE_OF_RING:
        return check_file(dev, message);
    case MEMORY:
        return check_memory(message);
    case CONFIG:
        return check_config(message);
    default:
        return "a request that this device has no use for";
    }
}
