/*
 * virtio cryptodev: files, from OPEN to CLOSE
 *
 * A file is doomed by CLOSE and by a reset: it has no number from then on,
 * and ends once nothing uses it [12]. It counts for the limits until it has
 * ended, so that what is being torn down can't pile up.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>

#include "internal.h"

/* What opening a file, and ending one or a session, take about, in ns */
#define OPEN_NS             500
#define END_NS              500
#define END_SESSION_NS      800

static void retry(struct vcd_job *job)
{
    struct vcd_device *dev = (struct vcd_device *)
        ((char *)job - offsetof(struct vcd_device, retry));

    pthread_mutex_lock(&dev->lock);
    dev->retrying = false;
    pthread_mutex_unlock(&dev->lock);
    vcd_retry_waiting(dev, 0);
}

void vcd_wake_waiting(struct vcd_device *dev)
{
    if (dev->waiting > 0 && !dev->retrying) {
        dev->retrying = true;
        dev->retry.run = retry;
        vcd_pool_add(&dev->pool, &dev->retry);
    }
}

static int admit_open(struct vcd_request *req)
{
    struct vcd_device *dev = req->queue->dev;
    int error = 0;

    pthread_mutex_lock(&dev->lock);
    if (dev->hold != VCD_HOLD_HELD) {
        if (dev->hold == VCD_HOLD_NOT) {
            dev->hold = VCD_HOLD_ASKED;
            dev->ops->hold(dev->opaque);
        }
        error = -EAGAIN;
    } else if (dev->files >= dev->config.max_files) {
        error = dev->files_ending > 0 ? -EAGAIN : -EMFILE;
    } else {
        dev->files++;
    }
    /* Now, so that no room that becomes free goes unnoticed */
    dev->waiting += error == -EAGAIN;
    pthread_mutex_unlock(&dev->lock);
    return error;
}

/* @ended of its sessions go with it; the file counts no more. */
static void file_gone(struct vcd_device *dev, struct vcd_file *file,
                      uint32_t ended)
{
    pthread_mutex_lock(&dev->lock);
    dev->sessions -= ended;
    if (file->doomed) {
        dev->sessions_ending -= ended;
        dev->files_ending--;
    }
    if (--dev->files == 0 && dev->ops->release && !dev->freed) {
        dev->ops->release(dev->opaque);
    }
    vcd_wake_waiting(dev);
    pthread_mutex_unlock(&dev->lock);
    vcd_table_destroy(&file->sessions);
}

/* Without a lock; nobody else knows the file any more. */
static void end_file(struct vcd_file *file)
{
    struct vcd_queue *queue = file->queue;
    struct vcd_device *dev = queue->dev;
    struct vcd_session *session;
    uint32_t ended = 0;

    while ((session = TAILQ_FIRST(&file->all))) {
        TAILQ_REMOVE(&file->all, session, link);
        dev->backend->session_free(file->backend_file,
                                   session->backend_session);
        free(session);
        ended++;
    }
    dev->backend->close(file->backend_file);
    /* Before the answer, so that who has it finds room for another file */
    file_gone(dev, file, ended);
    pthread_mutex_lock(&queue->lock);
    if (file->close) {
        vcd_request_done(file->close);
    }
    pthread_mutex_unlock(&queue->lock);
    free(file);
}

static void end_in_thread(struct vcd_job *job)
{
    end_file((struct vcd_file *)((char *)job -
                                 offsetof(struct vcd_file, end)));
}

/* Ends a doomed file once it is idle; @here: at once where that is cheap */
static void end_when_idle(struct vcd_file *file, bool here)
{
    struct vcd_queue *queue = file->queue;
    struct vcd_device *dev = queue->dev;
    uint64_t cost = END_NS + (uint64_t)file->session_count * END_SESSION_NS;

    if (!file->doomed || file->in_flight > 0) {
        return;
    }
    if (here && !dev->backend->may_block && cost <= dev->config.inline_ns) {
        pthread_mutex_unlock(&queue->lock);
        end_file(file);
        pthread_mutex_lock(&queue->lock);
    } else {
        file->end.run = end_in_thread;
        vcd_pool_add(&dev->pool, &file->end);
    }
}

static void set_doomed(struct vcd_file *file)
{
    struct vcd_device *dev = file->queue->dev;

    file->doomed = true;
    pthread_mutex_lock(&dev->lock);
    dev->files_ending++;
    dev->sessions_ending += file->session_count;
    /* What waits for room in this file must not keep it from ending. */
    vcd_wake_waiting(dev);
    pthread_mutex_unlock(&dev->lock);
}

void vcd_file_doom(struct vcd_file *file)
{
    vcd_table_remove(&file->queue->files, &file->node);
    set_doomed(file);
    end_when_idle(file, false);
}

void vcd_file_release(struct vcd_file *file)
{
    file->in_flight--;
    end_when_idle(file, false);
}

/*
 * OPEN
 */

static void open_work(struct vcd_request *req)
{
    struct vcd_device *dev = req->queue->dev;

    req->error = dev->backend->open(dev->backend_opaque,
                                    &req->subject->backend_file);
}

static void open_undo(struct vcd_request *req)
{
    if (req->admitted) {
        file_gone(req->queue->dev, req->subject, 0);
    } else {
        vcd_table_destroy(&req->subject->sessions);
    }
    free(req->subject);
}

static void open_book(struct vcd_request *req)
{
    struct vcd_file *file = req->subject;

    if (req->error) {
        open_undo(req);
    } else if (req->attached) {
        vcd_table_add(&req->queue->files, &file->node);
        req->value = file->node.number;
        vcd_count(req->queue->dev, VCD_STAT_OPENS, 1);
    } else {
        /* Nobody will ever close it. */
        set_doomed(file);
        end_when_idle(file, false);
    }
}

const struct vcd_kind vcd_open_kind = {
    .admit = admit_open,
    .work = open_work,
    .book = open_book,
    .undo = open_undo,
};

int vcd_do_open(struct vcd_request *req)
{
    struct vcd_file *file = calloc(1, sizeof(*file));

    if (!file || !vcd_table_init(&file->sessions)) {
        free(file);
        return -ENOMEM;
    }
    TAILQ_INIT(&file->all);
    file->queue = req->queue;
    req->subject = file;
    req->kind = &vcd_open_kind;
    req->cost = OPEN_NS;
    vcd_request_begin(req);
    return 0;
}

/*
 * CLOSE: waits for the file's end, which is no work of its own.
 */

static void close_undo(struct vcd_request *req)
{
    req->subject->close = NULL;
}

static const struct vcd_kind close_kind = {
    .undo = close_undo,
};

int vcd_do_close(struct vcd_request *req, struct vcd_file *file)
{
    req->kind = &close_kind;
    req->state = VCD_PARKED;
    req->cost = END_NS + (uint64_t)file->session_count * END_SESSION_NS;
    req->subject = file;
    file->close = req;
    vcd_table_remove(&req->queue->files, &file->node);
    set_doomed(file);
    end_when_idle(file, req->here);
    return 0;
}
