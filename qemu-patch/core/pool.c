/*
 * virtio cryptodev: threads of the device's own
 *
 * Slow work, and calls that may hang, are done here, so that neither whoever
 * submits nor other devices wait for them. There are as many threads as there
 * is work, up to a limit; the copies that they work on have a limit too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "internal.h"

/* A thread that finds nothing to do for so long ends, unless it is the last. */
#define IDLE_SECONDS    10

/*
 * The first job, or where there is no room for its copies the first that
 * needs none: those that need some keep their order and are not overtaken.
 */
static struct vcd_job *next_job(struct vcd_pool *pool)
{
    struct vcd_job *job = TAILQ_FIRST(&pool->jobs);
    uint64_t room = pool->max_buffered - pool->buffered;

    if (job && job->buffer_bytes > room) {
        while (job && job->buffer_bytes > 0) {
            job = TAILQ_NEXT(job, link);
        }
    }
    return job;
}

static void take(struct vcd_pool *pool, struct vcd_job *job)
{
    TAILQ_REMOVE(&pool->jobs, job, link);
    pool->queued--;
    job->queued = false;
}

/* Waits for something to do; false after a long while without */
static bool wait_for_more(struct vcd_pool *pool)
{
    struct timespec end;
    int error;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += IDLE_SECONDS;
    pool->idle++;
    error = pthread_cond_timedwait(&pool->more, &pool->lock, &end);
    pool->idle--;
    return error != ETIMEDOUT;
}

static void *thread(void *opaque)
{
    struct vcd_pool *pool = opaque;
    bool last;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct vcd_job *job = next_job(pool);

        if (job) {
            /* The job is not there any more when it has run. */
            size_t bytes = job->buffer_bytes;

            take(pool, job);
            pool->buffered += bytes;
            pthread_mutex_unlock(&pool->lock);
            job->run(job);
            pthread_mutex_lock(&pool->lock);
            pool->buffered -= bytes;
            if (bytes > 0 && pool->idle > 0) {
                pthread_cond_broadcast(&pool->more);
            }
        } else if (pool->stopping && TAILQ_EMPTY(&pool->jobs)) {
            break;
        } else if (!wait_for_more(pool) && pool->threads > 1 &&
                   !next_job(pool)) {
            break;
        }
    }
    last = --pool->threads == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) {
        pool->stopped(pool);
    }
    return NULL;
}

/* Signals are for the transport's threads. */
static bool start_thread(struct vcd_pool *pool)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t started;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&started, &attributes, thread, pool);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        return false;
    }
    pool->threads++;
    return true;
}

bool vcd_pool_init(struct vcd_pool *pool, uint32_t max_threads,
                   uint64_t max_buffered,
                   void (*stopped)(struct vcd_pool *pool))
{
    pthread_condattr_t attributes;
    bool started;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->more, &attributes);
    pthread_condattr_destroy(&attributes);
    TAILQ_INIT(&pool->jobs);
    pool->queued = 0;
    pool->threads = 0;
    pool->idle = 0;
    pool->max_threads = max_threads;
    pool->buffered = 0;
    pool->max_buffered = max_buffered;
    pool->stopping = false;
    pool->stopped = stopped;
    pthread_mutex_lock(&pool->lock);
    started = start_thread(pool);
    pthread_mutex_unlock(&pool->lock);
    if (!started) {
        pthread_cond_destroy(&pool->more);
        pthread_mutex_destroy(&pool->lock);
    }
    return started;
}

void vcd_pool_add(struct vcd_pool *pool, struct vcd_job *job)
{
    pthread_mutex_lock(&pool->lock);
    TAILQ_INSERT_TAIL(&pool->jobs, job, link);
    job->queued = true;
    if (pool->idle > 0) {
        pthread_cond_signal(&pool->more);
    }
    /* Idle ones that have been woken may not have come to their job yet. */
    if (++pool->queued > pool->idle && pool->threads < pool->max_threads) {
        /* Where that fails there is at least one that will come to it. */
        start_thread(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

bool vcd_pool_remove(struct vcd_pool *pool, struct vcd_job *job)
{
    bool queued;

    pthread_mutex_lock(&pool->lock);
    queued = job->queued;
    if (queued) {
        take(pool, job);
    }
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

void vcd_pool_stop(struct vcd_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
}
