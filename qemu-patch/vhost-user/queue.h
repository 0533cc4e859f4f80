/*
 * virtio-cryptodevd: a queue and its thread
 *
 * The thread works the ring alone, until the main thread holds the queue: then
 * all of it, and guest memory, is the main thread's. The functions below are
 * for the main thread, and but for queue_init() and queue_hold() for while it
 * holds the queue.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libvhost-user.h>

#include "../core/vcd.h"

enum queue_state {
    QUEUE_STOPPED,
    QUEUE_RUNNING,
    QUEUE_BROKEN,       /* until the guest resets the device */
    QUEUE_STALE,        /* so too: it is an earlier process's */
    QUEUE_STATES
};

struct queue {
    unsigned index;
    struct vcd_queue *core;
    pthread_t thread;

    /*
     * Who wants the lock goes through the gate first, so that the main thread
     * can keep the queue's own thread, which takes the lock again at once,
     * from overtaking it.
     */
    pthread_mutex_t gate, lock;

    int epoll_fd;
    int wake_fd;            /* an eventfd: the core's, and the main thread's */

    /* Of the connection; NULL while there is none */
    VuVirtq *vq;
    /*
     * The device as the thread sees it: a copy, so that what one queue's ring
     * breaks is not broken for the others, as VuDev.broken would be.
     */
    VuDev view;
    unsigned filled;        /* used elements the guest can't see yet */
    bool listening;         /* to kicks */

    /* What this process knows of the ring: see queue_start() */
    bool known;             /* its files are ours */
    bool may_be_old;        /* a base of 0 needn't mean a new ring */
    uint16_t returned;      /* what the last GET_VRING_BASE said */
    const char *ring_fault; /* what is wrong with what the guest asked for */

    bool stale, broken;
    bool closing;           /* the connection is to be closed for its faults */
    _Atomic enum queue_state state;
};

/* Makes the thread. @core's opaque becomes @queue. Returns 0, or an errno. */
int queue_init(struct queue *queue, unsigned index, struct vcd_queue *core);

/* Ends the process when the thread can't be held: it hangs in a descriptor */
void queue_hold(struct queue *queue);
/* Lets the thread go on, with @dev as it is now */
void queue_release(struct queue *queue, const VuDev *dev);

/* A connection begins; @taken_over: one of an earlier process's */
void queue_attach(struct queue *queue, VuDev *dev, bool taken_over);
/* It has ended, and with it all that was open */
void queue_detach(struct queue *queue);

/* The ring starts. False: it is stale, and the guest has to be told. */
bool queue_start(struct queue *queue, const VuDev *dev);
/* And stops, with what GET_VRING_BASE is going to return */
void queue_stop(struct queue *queue);

/* The ring has no place any more, or none that it can have: @fault */
void queue_forget_ring(struct queue *queue, const char *fault);

/* Has every chain answered, for at most @milliseconds */
void queue_settle(struct queue *queue, int milliseconds);

/* Marks it broken, and says why in one line, unless it is already */
void queue_break(struct queue *queue, const char *why);

/* For the core */
void queue_complete(void *opaque, void *cookie, size_t written);
void queue_drop(void *opaque, void *cookie);
void queue_wake(void *opaque);

#endif /* QUEUE_H */
