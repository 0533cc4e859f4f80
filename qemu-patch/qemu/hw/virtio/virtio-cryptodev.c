/*
 * virtio cryptodev device: the host's /dev/crypto for guests
 *
 * A transport of the core in cryptodev/core, which does all that the device's
 * specification says. Here are the virtqueues, the bottom halves in which the
 * core runs, and what QEMU wants to know of a device.
 *
 * Everything that touches a virtqueue happens in a queue's turn. In the main
 * loop it is guarded against the device's being entered again through its own
 * registers (a guest may point an interrupt, a descriptor or a ring at them);
 * in an iothread interrupts are left to the main loop. What doesn't lie in
 * memory is refused.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "block/aio-wait.h"
#include "exec/memory.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/virtio/iothread-vq-mapping.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/virtio/virtio-cryptodev.h"
#include "migration/blocker.h"
#include "system/system.h"
#include "cryptodev/backends/backends.h"
#include "cryptodev/core/vcd.h"
#include "trace.h"

#define QUEUE_SIZE      1024

/* Work that is done in one turn, in ns; then others have theirs. */
#define TURN_NS         200000
/* What mapping and unmapping a descriptor's memory takes about, in ns */
#define DESCRIPTOR_NS   150

/*
 * Work of at most so many ns is done by whoever takes the request: the main
 * loop has others to serve, an iothread has less, and nothing at all when the
 * request is the only one.
 */
#define INLINE_MAIN_NS              20000
#define INLINE_IOTHREAD_NS          40000
#define INLINE_IOTHREAD_ALONE_NS    120000

static void queue_schedule(VirtIOCryptodevQueue *q)
{
    qemu_bh_schedule(qatomic_read(&q->in_iothread) ? q->io_bh : q->bh);
}

/*
 * What the core asks for
 */

static void chain_complete(void *opaque, void *cookie, size_t written)
{
    VirtIOCryptodevQueue *q = opaque;
    VirtQueueElement *elem = cookie;

    trace_virtio_cryptodev_done(q->s, elem->index, written);
    virtqueue_fill(q->vq, elem, written, q->filled++);
    g_free(elem);
}

static void chain_drop(void *opaque, void *cookie)
{
    VirtIOCryptodevQueue *q = opaque;

    virtqueue_detach_element(q->vq, cookie, 0);
    g_free(cookie);
}

static void queue_wake(void *opaque)
{
    queue_schedule(opaque);
}

static void device_hold(void *opaque)
{
    VirtIOCryptodev *s = opaque;

    qemu_bh_schedule(s->hold_bh);
}

static void device_release(void *opaque)
{
    VirtIOCryptodev *s = opaque;

    qemu_bh_schedule(s->release_bh);
}

static const struct vcd_ops core_ops = {
    .complete = chain_complete,
    .drop = chain_drop,
    .wake = queue_wake,
    .hold = device_hold,
    .release = device_release,
};

/*
 * Migration: open files have keys in the host's hands, and stay here.
 */

static void hold_bh(void *opaque)
{
    VirtIOCryptodev *s = opaque;
    Error *err = NULL;
    int error;

    error_setg(&s->migration_blocker,
               "virtio-cryptodev: the guest has crypto files open, "
               "whose keys are in the host's hands");
    error = migrate_add_blocker(&s->migration_blocker, &err);
    if (error < 0) {
        warn_report_once("virtio-cryptodev: a guest's open is refused: %s",
                         error_get_pretty(err));
        error_free(err);
    }
    vcd_device_held(s->core, error < 0 ? -EBUSY : 0);
}

static void release_bh(void *opaque)
{
    VirtIOCryptodev *s = opaque;

    if (vcd_device_release(s->core)) {
        migrate_del_blocker(&s->migration_blocker);
    }
}

/*
 * A queue's turns
 */

/* Makes what has been filled in visible, as the last thing of all. */
static void queue_flush(VirtIOCryptodevQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->s);
    VirtQueue *vq = q->vq;
    unsigned filled = q->filled;
    bool in_iothread = q->in_iothread;

    if (filled == 0) {
        return;
    }
    q->filled = 0;
    virtqueue_flush(vq, filled);
    if (in_iothread) {
        virtio_notify_irqfd(vdev, vq);
    } else {
        virtio_notify(vdev, vq);
    }
}

/*
 * Whether all of it lies in memory: what lies in registers has been mapped as
 * a copy, which would be written to them when the chain is given back.
 */
static bool in_memory(const struct iovec *iov, unsigned num)
{
    ram_addr_t offset;

    for (unsigned i = 0; i < num; i++) {
        if (!memory_region_from_host(iov[i].iov_base, &offset)) {
            return false;
        }
    }
    return true;
}

static bool is_memory(VirtIODevice *vdev, hwaddr address, hwaddr bytes)
{
    while (bytes > 0) {
        hwaddr part = bytes, offset;
        MemoryRegion *mr = address_space_translate(vdev->dma_as, address,
                                                   &offset, &part, true,
                                                   MEMTXATTRS_UNSPECIFIED);

        if (!memory_access_is_direct(mr, true, MEMTXATTRS_UNSPECIFIED)) {
            return false;
        }
        address += part;
        bytes -= part;
    }
    return true;
}

/*
 * The same of the rings: writing to them must be nothing but that. A guest
 * could aim them at this device's registers, or at those of the port that it
 * is plugged into.
 */
static bool rings_in_memory(VirtIOCryptodevQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->s);
    int n = virtio_get_queue_index(q->vq);

    RCU_READ_LOCK_GUARD();
    return is_memory(vdev, virtio_queue_get_desc_addr(vdev, n),
                     virtio_queue_get_desc_size(vdev, n)) &&
           is_memory(vdev, virtio_queue_get_avail_addr(vdev, n),
                     virtio_queue_get_avail_size(vdev, n)) &&
           is_memory(vdev, virtio_queue_get_used_addr(vdev, n),
                     virtio_queue_get_used_size(vdev, n));
}

/* Returns about what it took, in ns; -1 when there was nothing to take */
static int64_t take_one(VirtIOCryptodevQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->s);
    VirtQueueElement *elem = virtqueue_pop(q->vq, sizeof(*elem));
    int64_t spent = -1;
    unsigned descriptors;
    bool good;

    if (!elem) {
        return -1;
    }
    descriptors = elem->out_num + elem->in_num;
    WITH_RCU_READ_LOCK_GUARD() {
        good = in_memory(elem->out_sg, elem->out_num) &&
               in_memory(elem->in_sg, elem->in_num);
    }
    trace_virtio_cryptodev_request(q->s, elem->index, elem->out_num,
                                   elem->in_num);
    if (good) {
        spent = vcd_submit(q->core, elem->out_sg, elem->out_num,
                           elem->in_sg, elem->in_num, elem);
    }
    if (spent >= 0) {
        spent += descriptors * DESCRIPTOR_NS;
    } else {
        virtqueue_detach_element(q->vq, elem, 0);
        g_free(elem);
        virtio_error(vdev, good ?
                     "virtio-cryptodev: a chain without room for request or "
                     "response" :
                     "virtio-cryptodev: a chain that is not in memory");
    }
    return spent;
}

/* Takes what there is, for the time of a turn; for the rest there's another. */
static void take_some(VirtIOCryptodevQueue *q)
{
    int64_t left = TURN_NS, spent;

    do {
        virtio_queue_set_notification(q->vq, 0);
        while (left > 0) {
            spent = take_one(q);
            if (spent < 0) {
                break;
            }
            left -= spent;
        }
        if (left <= 0) {
            queue_schedule(q);
            return;
        }
        virtio_queue_set_notification(q->vq, 1);
    } while (!virtio_queue_empty(q->vq) && !VIRTIO_DEVICE(q->s)->broken);
}

static void queue_turn(VirtIOCryptodevQueue *q)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(q->s);

    if (!virtio_queue_ready(q->vq) || vdev->broken || q->stopped) {
        return;
    }
    if (!rings_in_memory(q)) {
        virtio_error(vdev, "virtio-cryptodev: a ring that is not in memory");
        return;
    }
    /* A machine that is stopped gets answers, and asks for nothing new. */
    if (vdev->vm_running) {
        take_some(q);
    }
    vcd_queue_complete(q->core);
    queue_flush(q);
}

static void queue_main_bh(void *opaque)
{
    VirtIOCryptodevQueue *q = opaque;

    if (q->in_iothread) {
        queue_schedule(q);
    } else {
        queue_turn(q);
    }
}

static void queue_io_bh(void *opaque)
{
    VirtIOCryptodevQueue *q = opaque;

    if (q->in_iothread) {
        queue_turn(q);
    } else {
        queue_schedule(q);
    }
}

static void virtio_cryptodev_handle_queue(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    VirtIOCryptodevQueue *q = &s->queues[virtio_get_queue_index(vq)];
    MemReentrancyGuard *guard =
        &qdev_get_parent_bus(DEVICE(s))->parent->mem_reentrancy_guard;

    if (s->io_ctx && !s->ioeventfd_started) {
        /* Some guests kick before they set DRIVER_OK. */
        virtio_device_start_ioeventfd(vdev);
    }
    if (q->in_iothread && qemu_in_iothread()) {
        queue_turn(q);
    } else if (q->in_iothread || guard->engaged_in_io) {
        /* By a write to its registers, which has to end first */
        queue_schedule(q);
    } else {
        /* By its ioeventfd: at once, guarded as a bottom half would be */
        guard->engaged_in_io = true;
        queue_turn(q);
        guard->engaged_in_io = false;
    }
}

/* A machine that goes on may have asked before it was stopped. */
static void virtio_cryptodev_set_status(VirtIODevice *vdev, uint8_t status)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);

    if (virtio_device_started(vdev, status)) {
        for (unsigned i = 0; i < s->conf.num_queues; i++) {
            queue_schedule(&s->queues[i]);
        }
    }
}

/*
 * Iothreads, as virtio-blk has them
 */

static int (*parent_start_ioeventfd)(VirtIODevice *vdev);
static void (*parent_stop_ioeventfd)(VirtIODevice *vdev);

static int set_host_notifiers(VirtIOCryptodev *s, unsigned count, bool assign)
{
    VirtioBusState *bus = VIRTIO_BUS(qdev_get_parent_bus(DEVICE(s)));
    int ret = 0;
    unsigned i;

    memory_region_transaction_begin();
    for (i = 0; i < count && ret == 0; i++) {
        ret = virtio_bus_set_host_notifier(bus, i, assign);
    }
    memory_region_transaction_commit();
    if (ret != 0) {
        set_host_notifiers(s, i - 1, false);
    } else if (!assign) {
        for (i = 0; i < count; i++) {
            virtio_bus_cleanup_host_notifier(bus, i);
        }
    }
    return ret;
}

static int virtio_cryptodev_start_ioeventfd(VirtIODevice *vdev)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    BusState *bus = qdev_get_parent_bus(DEVICE(s));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);
    int ret;

    if (!s->io_ctx) {
        return parent_start_ioeventfd(vdev);
    }
    if (s->ioeventfd_started) {
        return 0;
    }
    ret = k->set_guest_notifiers(bus->parent, s->conf.num_queues, true);
    if (ret != 0) {
        goto fail;
    }
    ret = set_host_notifiers(s, s->conf.num_queues, true);
    if (ret != 0) {
        k->set_guest_notifiers(bus->parent, s->conf.num_queues, false);
        goto fail;
    }
    s->ioeventfd_started = true;
    for (unsigned i = 0; i < s->conf.num_queues; i++) {
        VirtIOCryptodevQueue *q = &s->queues[i];

        qatomic_set(&q->in_iothread, true);
        virtio_queue_aio_attach_host_notifier_no_poll(q->vq, q->io_ctx);
        queue_schedule(q);
    }
    return 0;

fail:
    warn_report_once("virtio-cryptodev: no notifiers for its iothread (%s): "
                     "its queues are served in the main loop", strerror(-ret));
    return ret;
}

/* In the iothread, while the main loop waits */
static void queue_leave_iothread(void *opaque)
{
    VirtIOCryptodevQueue *q = opaque;

    virtio_queue_aio_detach_host_notifier(q->vq, q->io_ctx);
    event_notifier_test_and_clear(virtio_queue_get_host_notifier(q->vq));
    qatomic_set(&q->in_iothread, false);
    queue_schedule(q);
}

static void virtio_cryptodev_stop_ioeventfd(VirtIODevice *vdev)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    BusState *bus = qdev_get_parent_bus(DEVICE(s));
    VirtioBusClass *k = VIRTIO_BUS_GET_CLASS(bus);

    if (!s->io_ctx) {
        parent_stop_ioeventfd(vdev);
        return;
    }
    if (!s->ioeventfd_started) {
        return;
    }
    s->ioeventfd_started = false;
    for (unsigned i = 0; i < s->conf.num_queues; i++) {
        aio_wait_bh_oneshot(s->io_ctx[i], queue_leave_iothread, &s->queues[i]);
    }
    set_host_notifiers(s, s->conf.num_queues, false);
    k->set_guest_notifiers(bus->parent, s->conf.num_queues, false);
}

static bool iothreads_init(VirtIOCryptodev *s, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    VirtIOCryptodevConf *conf = &s->conf;
    VirtioBusClass *k =
        VIRTIO_BUS_GET_CLASS(qdev_get_parent_bus(DEVICE(s)));

    if (!conf->iothread && !conf->iothread_vq_mapping_list) {
        return true;
    }
    if (conf->iothread && conf->iothread_vq_mapping_list) {
        error_setg(errp, "iothread and iothread-vq-mapping can't be set "
                   "both");
        return false;
    }
    if (!k->set_guest_notifiers || !k->ioeventfd_assign ||
        !virtio_device_ioeventfd_enabled(vdev)) {
        error_setg(errp, "an iothread needs ioeventfd=on, and a transport "
                   "that has it");
        return false;
    }
    s->io_ctx = g_new(AioContext *, conf->num_queues);
    if (conf->iothread) {
        object_ref(OBJECT(conf->iothread));
        for (unsigned i = 0; i < conf->num_queues; i++) {
            s->io_ctx[i] = iothread_get_aio_context(conf->iothread);
        }
    } else if (!iothread_vq_mapping_apply(conf->iothread_vq_mapping_list,
                                          s->io_ctx, conf->num_queues,
                                          errp)) {
        g_clear_pointer(&s->io_ctx, g_free);
        return false;
    }
    return true;
}

static void iothreads_cleanup(VirtIOCryptodev *s)
{
    if (!s->io_ctx) {
        return;
    }
    if (s->conf.iothread) {
        object_unref(OBJECT(s->conf.iothread));
    } else {
        iothread_vq_mapping_cleanup(s->conf.iothread_vq_mapping_list);
    }
    g_clear_pointer(&s->io_ctx, g_free);
}

/*
 * Reset: of the device, for which the queues have left their iothreads, and
 * of one queue
 */

static void queue_reset(void *opaque)
{
    VirtIOCryptodevQueue *q = opaque;

    /* It is QEMU's ring a while longer, which no turn is to take from. */
    q->stopped = true;
    vcd_queue_reset(q->core);
    q->filled = 0;
}

static void virtio_cryptodev_reset(VirtIODevice *vdev)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);

    for (unsigned i = 0; i < s->conf.num_queues; i++) {
        queue_reset(&s->queues[i]);
    }
}

static void queue_enable(void *opaque)
{
    VirtIOCryptodevQueue *q = opaque;

    q->stopped = false;
    queue_schedule(q);
}

static void virtio_cryptodev_queue_enable(VirtIODevice *vdev, uint32_t index)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);

    if (index >= s->conf.num_queues) {
        return;
    }
    if (s->queues[index].in_iothread) {
        aio_wait_bh_oneshot(s->io_ctx[index], queue_enable,
                            &s->queues[index]);
    } else {
        queue_enable(&s->queues[index]);
    }
}

static void virtio_cryptodev_queue_reset(VirtIODevice *vdev, uint32_t index)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);

    if (index >= s->conf.num_queues) {
        return;
    }
    if (s->queues[index].in_iothread) {
        aio_wait_bh_oneshot(s->io_ctx[index], queue_reset, &s->queues[index]);
    } else {
        queue_reset(&s->queues[index]);
    }
}

/*
 * The device
 */

static uint64_t virtio_cryptodev_get_features(VirtIODevice *vdev,
                                              uint64_t features, Error **errp)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);

    return features | vcd_device_features(s->core);
}

static void virtio_cryptodev_get_config(VirtIODevice *vdev, uint8_t *data)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    struct virtio_cryptodev_config config = {
        .magic = cpu_to_le32(VIRTIO_CRYPTODEV_MAGIC),
        .version = cpu_to_le32(VIRTIO_CRYPTODEV_VERSION),
        /* What is open is never lost without a reset here. */
        .instance = cpu_to_le32(1),
        .backend = cpu_to_le32(s->backend->id),
        .max_files = cpu_to_le32(s->conf.max_files),
        .max_sessions = cpu_to_le32(s->conf.max_sessions),
        .max_bytes = cpu_to_le32(s->conf.max_bytes),
        .num_queues = cpu_to_le16(s->conf.num_queues),
    };

    memcpy(data, &config, sizeof(config));
}

static bool choose_backend(VirtIOCryptodev *s, Error **errp)
{
    const char *wish = s->conf.backend;
    int error;

    if (!strcmp(wish, "builtin")) {
        s->backend = &cryptodev_backend_qcrypto;
        return true;
    }
    if (strcmp(wish, "cryptodev") && strcmp(wish, "auto")) {
        error_setg(errp, "backend '%s' is none of auto, cryptodev, builtin",
                   wish);
        return false;
    }
    error = vcd_cryptodev_probe(s->conf.path, &s->without);
    if (!error) {
        s->backend = &vcd_backend_cryptodev;
    } else if (!strcmp(wish, "cryptodev")) {
        error_setg_errno(errp, -error, "backend cryptodev: can't use %s",
                         s->conf.path);
        return false;
    } else {
        s->backend = &cryptodev_backend_qcrypto;
    }
    if (!strcmp(wish, "auto")) {
        info_report("virtio-cryptodev: backend %s, since %s: %s",
                    s->backend->name, s->conf.path,
                    error ? strerror(-error) : "it makes sessions");
    }
    return true;
}

static bool core_init(VirtIOCryptodev *s, Error **errp)
{
    const VirtIOCryptodevConf *conf = &s->conf;
    struct vcd_config config = {
        .num_queues = conf->num_queues,
        .max_files = conf->max_files,
        .max_sessions = conf->max_sessions,
        .max_device_sessions = conf->max_device_sessions,
        .max_bytes = conf->max_bytes,
        .max_threads = conf->max_threads,
        .max_buffered = conf->max_buffered,
        .inline_ns = s->io_ctx ? INLINE_IOTHREAD_NS : INLINE_MAIN_NS,
        .inline_alone_ns = s->io_ctx ? INLINE_IOTHREAD_ALONE_NS :
                                       INLINE_MAIN_NS,
        .without = s->without,
    };
    const char *wrong = vcd_config_error(&config);

    if (wrong) {
        error_setg(errp, "%s", wrong);
        return false;
    }
    s->core = vcd_device_new(&config, s->backend, g_strdup(conf->path),
                             &core_ops, s);
    if (!s->core) {
        error_setg(errp, "no memory or no thread for the device");
        return false;
    }
    return true;
}

static void queues_init(VirtIOCryptodev *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    s->queues = g_new0(VirtIOCryptodevQueue, s->conf.num_queues);
    for (unsigned i = 0; i < s->conf.num_queues; i++) {
        VirtIOCryptodevQueue *q = &s->queues[i];

        q->s = s;
        q->vq = virtio_add_queue(vdev, QUEUE_SIZE,
                                 virtio_cryptodev_handle_queue);
        q->core = vcd_device_queue(s->core, i);
        vcd_queue_set_opaque(q->core, q);
        q->bh = virtio_bh_new_guarded(DEVICE(s), queue_main_bh, q);
        if (s->io_ctx) {
            /*
             * Not guarded: the guest's accesses to registers go on beside it
             * and must not be refused.
             */
            q->io_ctx = s->io_ctx[i];
            q->io_bh = aio_bh_new(q->io_ctx, queue_io_bh, q);
        }
    }
}

static void virtio_cryptodev_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(dev);

    if (only_migratable) {
        error_setg(errp, "virtio-cryptodev can't be used with "
                   "-only-migratable: open files can't be migrated");
        return;
    }
    /* String properties have no defaults of their own. */
    if (!s->conf.backend) {
        s->conf.backend = g_strdup("auto");
    }
    if (!s->conf.path) {
        s->conf.path = g_strdup("/dev/crypto");
    }
    if (!choose_backend(s, errp) || !iothreads_init(s, errp)) {
        return;
    }
    if (!core_init(s, errp)) {
        iothreads_cleanup(s);
        return;
    }
    s->hold_bh = qemu_bh_new(hold_bh, s);
    s->release_bh = qemu_bh_new(release_bh, s);
    virtio_init(vdev, VIRTIO_ID_CRYPTODEV,
                sizeof(struct virtio_cryptodev_config));
    queues_init(s);
}

static void nothing(void *opaque)
{
}

/* Bottom halves may be under way yet in their iothreads: not after this. */
static void queues_cleanup(VirtIOCryptodev *s)
{
    for (unsigned i = 0; i < s->conf.num_queues; i++) {
        VirtIOCryptodevQueue *q = &s->queues[i];

        if (q->io_bh) {
            qemu_bh_delete(q->io_bh);
            aio_wait_bh_oneshot(q->io_ctx, nothing, NULL);
        }
        qemu_bh_delete(q->bh);
        virtio_delete_queue(q->vq);
    }
    g_free(s->queues);
}

static void virtio_cryptodev_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(dev);

    virtio_cryptodev_reset(vdev);
    /* Threads that hang in the backend end by themselves, some time. */
    vcd_device_free(s->core, g_free);
    s->core = NULL;
    queues_cleanup(s);
    qemu_bh_delete(s->hold_bh);
    qemu_bh_delete(s->release_bh);
    migrate_del_blocker(&s->migration_blocker);
    iothreads_cleanup(s);
    virtio_cleanup(vdev);
}

/*
 * Statistics, for qom-get
 */

static void get_stat(Object *obj, Visitor *v, const char *name, void *opaque,
                     Error **errp)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(obj);
    uint64_t value = s->core ?
        vcd_device_stat(s->core, GPOINTER_TO_UINT(opaque)) : 0;

    visit_type_uint64(v, name, &value, errp);
}

static void get_algorithm_stat(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(obj);
    uint64_t value = s->core ?
        vcd_device_stat_algorithm(s->core, GPOINTER_TO_UINT(opaque)) : 0;

    visit_type_uint64(v, name, &value, errp);
}

static char *get_backend(Object *obj, Error **errp)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(obj);

    return g_strdup(s->backend ? s->backend->name : "none");
}

static void add_stat(ObjectClass *klass, const char *what,
                     ObjectPropertyAccessor *get, size_t number)
{
    g_autofree char *name = g_strdup_printf("stat-%s", what);

    object_class_property_add(klass, name, "uint64", get, NULL, NULL,
                              GUINT_TO_POINTER(number));
}

static const VMStateDescription vmstate_virtio_cryptodev = {
    .name = "virtio-cryptodev",
    .minimum_version_id = 1,
    .version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_cryptodev_properties[] = {
    DEFINE_PROP_STRING("backend", VirtIOCryptodev, conf.backend),
    DEFINE_PROP_STRING("path", VirtIOCryptodev, conf.path),
    DEFINE_PROP_UINT16("num-queues", VirtIOCryptodev, conf.num_queues, 1),
    DEFINE_PROP_UINT32("max-files", VirtIOCryptodev, conf.max_files, 1024),
    DEFINE_PROP_UINT32("max-sessions", VirtIOCryptodev, conf.max_sessions,
                       1024),
    DEFINE_PROP_UINT32("max-device-sessions", VirtIOCryptodev,
                       conf.max_device_sessions, 65536),
    DEFINE_PROP_SIZE32("max-bytes", VirtIOCryptodev, conf.max_bytes,
                       VIRTIO_CRYPTODEV_MAX_BYTES),
    DEFINE_PROP_UINT32("max-threads", VirtIOCryptodev, conf.max_threads, 0),
    DEFINE_PROP_SIZE("max-buffered", VirtIOCryptodev, conf.max_buffered,
                     64 << 20),
    DEFINE_PROP_LINK("iothread", VirtIOCryptodev, conf.iothread,
                     TYPE_IOTHREAD, IOThread *),
    DEFINE_PROP_IOTHREAD_VQ_MAPPING_LIST("iothread-vq-mapping",
                                         VirtIOCryptodev,
                                         conf.iothread_vq_mapping_list),
};

static void virtio_cryptodev_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    device_class_set_props(dc, virtio_cryptodev_properties);
    dc->vmsd = &vmstate_virtio_cryptodev;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    vdc->realize = virtio_cryptodev_realize;
    vdc->unrealize = virtio_cryptodev_unrealize;
    vdc->get_config = virtio_cryptodev_get_config;
    vdc->get_features = virtio_cryptodev_get_features;
    vdc->set_status = virtio_cryptodev_set_status;
    vdc->reset = virtio_cryptodev_reset;
    vdc->queue_reset = virtio_cryptodev_queue_reset;
    vdc->queue_enable = virtio_cryptodev_queue_enable;
    parent_start_ioeventfd = vdc->start_ioeventfd;
    parent_stop_ioeventfd = vdc->stop_ioeventfd;
    vdc->start_ioeventfd = virtio_cryptodev_start_ioeventfd;
    vdc->stop_ioeventfd = virtio_cryptodev_stop_ioeventfd;

    object_class_property_add_str(klass, "stat-backend", get_backend, NULL);
    for (size_t i = 0; i < VCD_STATS; i++) {
        add_stat(klass, vcd_stat_name(i), get_stat, i);
    }
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        add_stat(klass, vcd_algorithms[i].name, get_algorithm_stat, i);
    }
}

static const TypeInfo virtio_cryptodev_info = {
    .name = TYPE_VIRTIO_CRYPTODEV,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOCryptodev),
    .class_init = virtio_cryptodev_class_init,
};

static void virtio_cryptodev_register_types(void)
{
    type_register_static(&virtio_cryptodev_info);
}

type_init(virtio_cryptodev_register_types)
