/*
 * virtio cryptodev: the way of a request, from its chain to its answer
 *
 * begin -> (behind others of its session) -> run, here or by a thread ->
 * done -> completed by the transport. On the way its chain may be taken from
 * it: then it ends without a word. All functions are called with the queue's
 * lock, which is let go while a backend works.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* What a thread does on guest memory itself; longer work is done on copies. */
#define DIRECT_NS       2000000

struct vcd_request *vcd_request_new(struct vcd_queue *queue)
{
    struct vcd_request *req = TAILQ_FIRST(&queue->spare);

    if (req) {
        TAILQ_REMOVE(&queue->spare, req, link);
        memset(req, 0, sizeof(*req));
    } else {
        req = calloc(1, sizeof(*req));
        if (!req) {
            return NULL;
        }
    }
    req->queue = queue;
    return req;
}

void vcd_request_free(struct vcd_request *req)
{
    free(req->info);
    TAILQ_INSERT_HEAD(&req->queue->spare, req, link);
}

void vcd_request_done(struct vcd_request *req)
{
    struct vcd_queue *queue = req->queue;
    struct virtio_cryptodev_response response = {
        .error = -req->error,
        .value = req->value,
        .iv_bytes = req->iv_bytes,
        .mac_bytes = req->mac_bytes,
    };

    if (req->error) {
        vcd_count(queue->dev, VCD_STAT_ERRORS, 1);
        response.value = 0;
        response.iv_bytes = 0;
        response.mac_bytes = 0;
        req->written = 0;
    }
    vcd_iov_write(req->in, req->in_num, 0, &response, sizeof(response));
    req->state = VCD_DONE;
    if (TAILQ_EMPTY(&queue->done) && !queue->submitting) {
        queue->dev->ops->wake(queue->opaque);
    }
    TAILQ_INSERT_TAIL(&queue->done, req, place);
    pthread_cond_broadcast(&queue->progress);
}

static void undo(struct vcd_request *req)
{
    if (req->kind->undo) {
        req->kind->undo(req);
    }
}

static void run(struct vcd_request *req);

/* Whether all that it has to wait for is done */
static bool has_turn(const struct vcd_request *req)
{
    return (!req->session || TAILQ_FIRST(&req->session->turns) == &req->turn) &&
           (!req->other || TAILQ_FIRST(&req->other->turns) == &req->other_turn);
}

static void leave_session(struct vcd_session *session, struct vcd_turn *turn)
{
    bool first = TAILQ_FIRST(&session->turns) == turn;
    struct vcd_turn *next;

    TAILQ_REMOVE(&session->turns, turn, link);
    next = TAILQ_FIRST(&session->turns);
    /* One that is the first here already may be parked in another session. */
    if (first && next && has_turn(next->req)) {
        run(next->req);
    }
}

/*
 * It uses its sessions and file no more: whoever waited for that goes on. All
 * of it is handed to threads, so that nothing changes between the two.
 */
static void leave(struct vcd_request *req)
{
    struct vcd_session *session = req->session, *other = req->other;
    struct vcd_file *file = req->file;

    req->session = NULL;
    req->other = NULL;
    req->file = NULL;
    if (session) {
        leave_session(session, &req->turn);
    }
    if (other) {
        leave_session(other, &req->other_turn);
    }
    if (file) {
        vcd_file_release(file);
    }
}

/* Frees the copy: a guest's data, which is not left lying about. */
static void drop_buffer(struct vcd_request *req)
{
    if (req->buffer) {
        explicit_bzero(req->buffer, req->buffer_bytes);
        free(req->buffer);
        req->buffer = NULL;
    }
}

/* From here to the end_touching() a reset waits for this request. */
static void begin_touching(struct vcd_request *req)
{
    req->touching = true;
    pthread_mutex_unlock(&req->queue->lock);
}

static void end_touching(struct vcd_request *req)
{
    pthread_mutex_lock(&req->queue->lock);
    req->touching = false;
    pthread_cond_broadcast(&req->queue->progress);
}

/*
 * Guest memory is touched before and after the work, not in it: a backend
 * that hangs holds nothing of the guest's.
 */
static void work_on_copy(struct vcd_request *req)
{
    struct vcd_queue *queue = req->queue;

    req->buffer = malloc(req->buffer_bytes + 1);
    if (!req->buffer) {
        req->error = -ENOMEM;
        return;
    }
    begin_touching(req);
    req->kind->load(req);
    end_touching(req);
    pthread_mutex_unlock(&queue->lock);
    req->kind->work(req);
    pthread_mutex_lock(&queue->lock);
    if (req->attached && !req->error) {
        begin_touching(req);
        req->kind->store(req);
        end_touching(req);
    }
    drop_buffer(req);
}

static void work(struct vcd_request *req)
{
    struct vcd_queue *queue = req->queue;

    req->state = VCD_RUNNING;
    if (!req->kind->moves_data) {
        pthread_mutex_unlock(&queue->lock);
        req->kind->work(req);
        pthread_mutex_lock(&queue->lock);
    } else if (req->on_copy) {
        work_on_copy(req);
    } else {
        begin_touching(req);
        req->kind->work(req);
        end_touching(req);
    }
    if (req->kind->book) {
        req->kind->book(req);
    }
    if (req->attached) {
        if (!req->error && req->kind->answer) {
            req->kind->answer(req);
        }
        vcd_request_done(req);
        leave(req);
    } else {
        leave(req);
        vcd_request_free(req);
        pthread_cond_broadcast(&queue->progress);
    }
}

static void run_in_thread(struct vcd_job *job)
{
    struct vcd_request *req = (struct vcd_request *)job;
    struct vcd_queue *queue = req->queue;

    pthread_mutex_lock(&queue->lock);
    if (req->attached) {
        work(req);
    } else {
        /* Detached after a thread had taken it, and before it began */
        undo(req);
        leave(req);
        vcd_request_free(req);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* Does it at once where that is cheap and allowed, else a thread does. */
static void run(struct vcd_request *req)
{
    struct vcd_queue *queue = req->queue;
    struct vcd_device *dev = queue->dev;
    uint32_t enough = queue->in_flight > 1 ? dev->config.inline_ns :
                                             dev->config.inline_alone_ns;

    if (req->here && !dev->backend->may_block && req->cost <= enough) {
        work(req);
        return;
    }
    req->here = false;
    if (dev->backend->may_block || req->cost > DIRECT_NS) {
        req->on_copy = true;
    }
    req->job.buffer_bytes = req->on_copy ? req->buffer_bytes : 0;
    /* What is greater than all room takes all of it: it would wait for ever. */
    if (req->job.buffer_bytes > dev->config.max_buffered) {
        req->job.buffer_bytes = dev->config.max_buffered;
    }
    vcd_count(dev, VCD_STAT_IN_THREADS, 1);
    req->state = VCD_QUEUED;
    req->job.run = run_in_thread;
    vcd_pool_add(&dev->pool, &req->job);
}

void vcd_request_use(struct vcd_request *req, struct vcd_file *file,
                     struct vcd_session *session)
{
    req->file = file;
    file->in_flight++;
    if (session) {
        req->session = session;
        req->turn.req = req;
        TAILQ_INSERT_TAIL(&session->turns, &req->turn, link);
    }
}

/*
 * It gets both places at once, so that of any two requests the same is the
 * first in each session that both use: none waits for one that waits for it.
 */
void vcd_request_use_too(struct vcd_request *req, struct vcd_session *other)
{
    req->other = other;
    req->other_turn.req = req;
    TAILQ_INSERT_TAIL(&other->turns, &req->other_turn, link);
}

/* Its admission has been counted in dev->waiting already. */
static void wait_for_room(struct vcd_request *req)
{
    req->state = VCD_WAITING;
    req->here = false;
    TAILQ_INSERT_TAIL(&req->queue->waiting, req, place);
}

static void stop_waiting(struct vcd_request *req)
{
    struct vcd_device *dev = req->queue->dev;

    req->state = VCD_NEW;
    TAILQ_REMOVE(&req->queue->waiting, req, place);
    pthread_mutex_lock(&dev->lock);
    dev->waiting--;
    pthread_mutex_unlock(&dev->lock);
}

/* It was not done, and its answer says why. */
static void refuse(struct vcd_request *req, int error)
{
    undo(req);
    req->error = error;
    vcd_request_done(req);
    leave(req);
}

void vcd_request_begin(struct vcd_request *req)
{
    int error = req->kind->admit ? req->kind->admit(req) : 0;

    if (error == -EAGAIN) {
        wait_for_room(req);
        return;
    }
    if (error) {
        refuse(req, error);
        return;
    }
    req->admitted = true;
    if (!has_turn(req)) {
        req->state = VCD_PARKED;
        req->here = false;
    } else {
        run(req);
    }
}

static void retry_queue(struct vcd_queue *queue, int error)
{
    unsigned count = 0;
    struct vcd_request *req;

    TAILQ_FOREACH(req, &queue->waiting, place) {
        count++;
    }
    /* Who has to wait once more comes behind, so each is tried once. */
    for (; count > 0; count--) {
        req = TAILQ_FIRST(&queue->waiting);
        stop_waiting(req);
        if (error && req->kind == &vcd_open_kind) {
            refuse(req, error);
        } else {
            vcd_request_begin(req);
        }
    }
}

void vcd_retry_waiting(struct vcd_device *dev, int error)
{
    for (uint32_t i = 0; i < dev->config.num_queues; i++) {
        struct vcd_queue *queue = &dev->queues[i];

        pthread_mutex_lock(&queue->lock);
        retry_queue(queue, error);
        pthread_mutex_unlock(&queue->lock);
    }
}

void vcd_request_detach(struct vcd_request *req)
{
    struct vcd_queue *queue = req->queue;

    req->attached = false;
    TAILQ_REMOVE(&queue->requests, req, link);
    queue->in_flight--;
    switch (req->state) {
    case VCD_RUNNING:
        return;
    case VCD_QUEUED:
        if (!vcd_pool_remove(&queue->dev->pool, &req->job)) {
            /* A thread has it. */
            return;
        }
        break;
    case VCD_WAITING:
        stop_waiting(req);
        break;
    case VCD_DONE:
        TAILQ_REMOVE(&queue->done, req, place);
        vcd_request_free(req);
        return;
    default:
        break;
    }
    undo(req);
    leave(req);
    vcd_request_free(req);
}
