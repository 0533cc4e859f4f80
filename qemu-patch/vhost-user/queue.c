/*
 * virtio-cryptodevd: a queue and its thread
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lie.h"
#include "log.h"
#include "queue.h"
#include "ring.h"

/* After so many ns of work, what is done is pushed before more is popped */
#define TURN_NS 500000

/* A turn takes milliseconds; one that takes so long will never end */
#define HOLD_SECONDS 5

static void set_state(struct queue *queue)
{
    enum queue_state state = QUEUE_STOPPED;

    /* A connection that is about to be closed may have lost its memory. */
    if (queue->vq && queue->vq->started && !queue->closing) {
        state = queue->broken ? QUEUE_BROKEN : queue->stale ? QUEUE_STALE :
                queue->vq->enable ? QUEUE_RUNNING : QUEUE_STOPPED;
    }
    queue->state = state;
}

void queue_break(struct queue *queue, const char *why)
{
    if (queue->broken) {
        return;
    }
    queue->broken = true;
    queue->view.broken = true;
    log_line(LOG_WARNING, "queue %u: %s; it stands still until the guest "
             "resets the device", queue->index, why);
    if (queue->vq->err_fd >= 0) {
        eventfd_write(queue->vq->err_fd, 1);
    }
    set_state(queue);
}

/* libvhost-user, of a ring that makes no sense */
static void view_panic(VuDev *view, const char *why)
{
    struct queue *queue =
        (struct queue *)((char *)view - offsetof(struct queue, view));

    queue_break(queue, why ? why : "no memory");
}

/*
 * Completing
 */

void queue_complete(void *opaque, void *cookie, size_t written)
{
    struct queue *queue = opaque;
    VuVirtqElement *element = cookie;

    if (lie_complete(queue, element, written)) {
        return;
    }
    vu_queue_fill(&queue->view, queue->vq, element, written, queue->filled++);
    free(element);
}

void queue_drop(void *opaque, void *cookie)
{
    struct queue *queue = opaque;

    queue->vq->inuse--;
    free(cookie);
}

void queue_wake(void *opaque)
{
    struct queue *queue = opaque;

    eventfd_write(queue->wake_fd, 1);
}

/* Shows the guest what queue_complete() has been told of */
static void flush(struct queue *queue)
{
    if (queue->filled == 0) {
        return;
    }
    vu_queue_flush(&queue->view, queue->vq, queue->filled);
    queue->filled = 0;
    /* A driver that polls has no interrupt; libvhost-user would panic */
    if (queue->vq->call_fd >= 0) {
        vu_queue_notify(&queue->view, queue->vq);
    }
}

static void complete(struct queue *queue)
{
    vcd_queue_complete(queue->core);
    lie_fill_held(queue, false);
    flush(queue);
}

/*
 * Submitting
 */

/* Submits what there is, up to the end of the turn. Whether there is more. */
static bool submit(struct queue *queue)
{
    int64_t spent = 0;

    while (spent < TURN_NS) {
        VuVirtqElement *element =
            vu_queue_pop(&queue->view, queue->vq, sizeof(*element));
        int64_t ns;

        if (!element) {
            return false;
        }
        if (lie_submit(queue, element)) {
            continue;
        }
        ns = vcd_submit(queue->core, element->out_sg, element->out_num,
                        element->in_sg, element->in_num, element);
        if (ns < 0) {
            queue->vq->inuse--;
            free(element);
            queue_break(queue, "a chain has no room for request and response");
            return false;
        }
        spent += ns;
    }
    return true;
}

/* What is to be done at the moment. Whether to be called again at once. */
static bool turn(struct queue *queue)
{
    bool more;

    if (queue->state != QUEUE_RUNNING) {
        if (queue->vq) {
            complete(queue);
        }
        return false;
    }

    vu_queue_set_notification(&queue->view, queue->vq, 0);
    more = submit(queue);
    complete(queue);
    if (more || queue->state != QUEUE_RUNNING) {
        return more;
    }
    vu_queue_set_notification(&queue->view, queue->vq, 1);
    return !vu_queue_empty(&queue->view, queue->vq);
}

static void *run(void *opaque)
{
    struct queue *queue = opaque;
    struct epoll_event events[2];
    bool more = false;
    int wait_ms = -1;

    for (;;) {
        if (!more) {
            epoll_wait(queue->epoll_fd, events, 2, wait_ms);
        }
        pthread_mutex_lock(&queue->gate);
        pthread_mutex_lock(&queue->lock);
        pthread_mutex_unlock(&queue->gate);
        more = turn(queue);
        wait_ms = lie_wait_ms(queue);
        pthread_mutex_unlock(&queue->lock);
    }
    return NULL;
}

/*
 * For the main thread
 */

/*
 * Edges only, so that nobody has to read the eventfds: what comes in with a
 * connection is never waited for, whatever it is.
 */
static int watch(struct queue *queue, int fd)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    return epoll_ctl(queue->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void unwatch_kicks(struct queue *queue)
{
    /* By hand: QEMU's copy keeps it among those that epoll watches */
    if (queue->listening) {
        epoll_ctl(queue->epoll_fd, EPOLL_CTL_DEL, queue->vq->kick_fd, NULL);
        queue->listening = false;
    }
}

int queue_init(struct queue *queue, unsigned index, struct vcd_queue *core)
{
    *queue = (struct queue) {
        .index = index,
        .core = core,
        .view.panic = view_panic,
        .view.log_call_fd = -1,
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
        .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    if (queue->epoll_fd < 0 || queue->wake_fd < 0 ||
        watch(queue, queue->wake_fd) < 0) {
        return errno;
    }
    vcd_queue_set_opaque(core, queue);
    pthread_mutex_init(&queue->gate, NULL);
    pthread_mutex_init(&queue->lock, NULL);
    return pthread_create(&queue->thread, NULL, run, queue);
}

void queue_hold(struct queue *queue)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += HOLD_SECONDS;
    if (pthread_mutex_clocklock(&queue->gate, CLOCK_MONOTONIC, &end) ||
        pthread_mutex_clocklock(&queue->lock, CLOCK_MONOTONIC, &end)) {
        log_line(LOG_ERR, "queue %u hangs, in a descriptor that the front end "
                 "has made one to wait for; the daemon ends", queue->index);
        _exit(1);
    }
}

void queue_release(struct queue *queue, const VuDev *dev)
{
    if (queue->vq) {
        enum queue_state before = queue->state;

        queue->view.nregions = dev->nregions;
        queue->view.regions = dev->regions;
        queue->view.features = dev->features;
        queue->view.protocol_features = dev->protocol_features;
        queue->closing = dev->broken;
        queue->view.broken = queue->broken || queue->closing;
        set_state(queue);
        if (queue->state == QUEUE_RUNNING && before != QUEUE_RUNNING) {
            /* Its kicks may have come while it was not */
            queue_wake(queue);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    pthread_mutex_unlock(&queue->gate);
}

void queue_attach(struct queue *queue, VuDev *dev, bool taken_over)
{
    queue->vq = vu_get_queue(dev, queue->index);
    queue->view.vq = dev->vq;
    queue->view.max_queues = dev->max_queues;
    queue->view.broken = false;
    queue->known = false;
    queue->may_be_old = taken_over;
    queue->ring_fault = NULL;
    queue->stale = false;
    queue->broken = false;
    queue->closing = false;
}

void queue_detach(struct queue *queue)
{
    unwatch_kicks(queue);
    vcd_queue_reset(queue->core);
    queue->vq = NULL;
    set_state(queue);
}

/*
 * QEMU stops a ring both when the virtual machine is paused and when the guest
 * resets the device, and starts it alike. Only the base tells: after a pause it
 * is what was returned, after a reset 0. Both are 0 after 65,536 chains; then
 * the ring in guest memory tells. A base that was not returned is an earlier
 * process's, whose files are gone.
 */
bool queue_start(struct queue *queue, const VuDev *dev)
{
    VuVirtq *vq = queue->vq;
    uint16_t base = vq->last_avail_idx;
    const char *fault = queue->ring_fault;

    if (!fault) {
        fault = ring_fault(dev, vq->vring.num, &vq->vra);
    }
    if (base == 0 && !(queue->may_be_old && !fault && ring_is_old(vq))) {
        vcd_queue_reset(queue->core);
        queue->known = true;
        queue->stale = false;
        queue->broken = false;
    } else if (!queue->known || base != queue->returned) {
        queue->known = false;
        queue->stale = true;
    }

    /* libvhost-user keeps these from one start to the next */
    vq->inuse = 0;
    vq->notification = true;
    vq->signalled_used_valid = false;
    queue->view.broken = queue->broken;

    if (queue->stale) {
        log_line(LOG_NOTICE, "queue %u: goes on where an earlier process "
                 "stopped; the guest is told to reset the device",
                 queue->index);
    } else if (!(dev->features & (1ULL << VIRTIO_F_VERSION_1))) {
        queue_break(queue, "the guest's driver is a legacy one");
    } else if (fault) {
        queue_break(queue, fault);
    } else if (watch(queue, vq->kick_fd) < 0) {
        queue_break(queue, "its kicks can't be waited for");
    } else {
        queue->listening = true;
    }
    return !queue->stale;
}

/*
 * Else libvhost-user would look for it in the memory of whatever comes next,
 * and panic where it is not there any more.
 */
void queue_forget_ring(struct queue *queue, const char *fault)
{
    VuVirtq *vq = queue->vq;

    vq->vring.desc = NULL;
    vq->vring.avail = NULL;
    vq->vring.used = NULL;
    vq->vra = (struct vhost_vring_addr) { .index = queue->index };
    queue->ring_fault = fault;
}

void queue_stop(struct queue *queue)
{
    unwatch_kicks(queue);
    queue->returned = queue->vq->last_avail_idx;
    queue->may_be_old = queue->returned == 0;
    queue_forget_ring(queue, NULL);
}

void queue_settle(struct queue *queue, int milliseconds)
{
    vcd_queue_settle(queue->core, milliseconds);
    if (queue->vq) {
        lie_fill_held(queue, true);
        flush(queue);
    }
}
